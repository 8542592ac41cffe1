"""The deployment on one machine by its compose file, without an engine."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import compose_spec
import pytest
import yaml

from clipfarm_tasks.config import Settings
from clipfarm_tasks.deployment.alerts import AlertSettings
from clipfarm_tasks.deployment.backend import BACKEND, trains_in_pod
from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.deployment.scheduling import pool_sizes
from clipfarm_tasks.families import Family
from clipfarm_tasks.stack.seaweed import _FIXED_FLAGS
from tests.docker.compose_file import MissingVariableError, example, load, variables

COMPONENTS = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
ONE_SHOT = {"airflow-init", "cli"}
SECRETS = {
    "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_PASSWORDS",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
}
# Read by compose and by Airflow itself, so that they stand in no brace.
OF_COMPOSE = {"COMPOSE_PROFILES"}


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "docker-compose.yaml").read_text()


@pytest.fixture(scope="module")
def env_example(repository):
    return example((repository / ".env.example").read_text())


@pytest.fixture(scope="module")
def environ(repository, tmp_path_factory):
    """What docker/new_env.sh writes."""
    path = tmp_path_factory.mktemp("env") / "env"
    new_env(repository, path)
    return example(path.read_text())[0]


def new_env(repository, path):
    command = [repository / "docker" / "new_env.sh", path]
    environment = os.environ | {"CLIPFARM_IMAGE_TAG": "0f3c"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def content(text, environ):
    return load(text, environ)


@pytest.fixture(scope="module")
def services(content):
    return content["services"]


def test_it_is_a_compose_file(content):
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(content)).validate()


def test_the_linter_has_nothing_to_say(repository):
    """Rights, read-only file systems, limits, addresses of ports, secrets: its rules, less those with a reason."""
    program = Path(sys.prefix) / "bin" / "compose-lint"
    config = repository / "tests" / "docker" / "compose-lint.yml"
    options = ["--fail-on", "low", "--strict-config", "--no-env", "--skip-suppressed", "--quiet", "--config", config]
    command = [program, "check", *options, repository / "docker-compose.yaml"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_stack_is_complete(services):
    assert set(services) == COMPONENTS | {"postgres", "redis", "s3", "cli"}
    assert {name for name, service in services.items() if "profiles" in service} == {"redis", "worker", "cli"}


def test_every_image_has_a_version(services, text):
    assert "latest" not in text
    for name, service in services.items():
        image, _, tag = service["image"].partition(":")
        if image.startswith("clipfarm-"):
            assert tag == "0f3c", name
            assert image.removeprefix("clipfarm-") in {"airflow", "worker", "trainer"}
        else:
            assert re.match(r"\d+\.\d+(\.\d+)?(-[a-z]+)?$", tag), name
    assert services["postgres"]["image"].startswith("postgres:17.")


def test_tasks_run_where_torch_is(services):
    images = {name: services[name]["image"].partition(":")[0] for name in COMPONENTS}
    assert {name for name, image in images.items() if image == "clipfarm-worker"} == {"scheduler", "worker"}


def test_every_variable_is_in_the_example_and_the_other_way_round(text, env_example):
    in_braces = {name for name, _, _ in variables(text)}
    passed_on = {name for service in yaml.safe_load(text)["services"].values() for name in unset(service)}
    given, commented = env_example
    assert in_braces | passed_on | OF_COMPOSE == set(given) | set(commented)
    assert not in_braces & passed_on


def unset(service):
    return [name for name, value in service.get("environment", {}).items() if value is None]


def test_the_example_shows_the_defaults(text, env_example):
    defaults = {name: rest for name, kind, rest in variables(text) if kind == "-"}
    for name, kind, rest in variables(text):
        assert kind != "-" or rest == defaults[name], f"two defaults of {name}"
    _, commented = env_example
    differing = {name for name in defaults if name in commented and commented[name] != defaults[name]}
    # What stands there is the other choice.
    assert differing == {"AIRFLOW_EXECUTOR", "CLIPFARM_KUBECONFIG"}
    assert set(defaults) <= set(commented)


def test_what_is_wanted_has_no_default_and_says_what_is_missing(text, environ, env_example):
    wanted = {name for name, kind, _ in variables(text) if kind == "?"}
    assert wanted == SECRETS | {"AIRFLOW_USERS", "CLIPFARM_IMAGE_TAG"}
    given, _ = env_example
    assert set(given) == wanted
    assert {name for name, value in given.items() if not value} == wanted - {"AIRFLOW_USERS"}
    for name in wanted:
        for without in ({**environ, name: ""}, {key: value for key, value in environ.items() if key != name}):
            with pytest.raises(MissingVariableError, match=rf"^{name}: expected {name} in .env, [a-z]"):
                load(text, without)


def test_every_secret_is_drawn_anew_and_is_for_the_owner_alone(repository, environ, tmp_path):
    again = tmp_path / "env"
    answer = new_env(repository, again)
    assert answer.returncode == 0, answer.stderr
    assert again.stat().st_mode & 0o777 == 0o600
    other, _ = example(again.read_text())
    assert {name for name in environ if environ[name] != other[name]} == SECRETS
    assert min(len(other[name]) for name in SECRETS) >= 24
    assert len({other[name] for name in SECRETS}) == len(SECRETS)
    for name in SECRETS - {"AIRFLOW_PASSWORDS"}:
        assert re.match(r"^[A-Za-z0-9_-]+=?$", other[name])

    from cryptography.fernet import Fernet

    Fernet(other["AIRFLOW_FERNET_KEY"])


def test_secrets_that_are_there_are_never_replaced(repository, tmp_path):
    path = tmp_path / "env"
    path.write_text("POSTGRES_PASSWORD=of-a-database\n")
    answer = new_env(repository, path)
    assert answer.returncode == 1
    assert "expected no file, got one" in answer.stderr
    assert path.read_text() == "POSTGRES_PASSWORD=of-a-database\n"


def test_the_file_with_the_secrets_is_in_no_commit_and_no_image(repository):
    ignored = (repository / ".gitignore").read_text().splitlines()
    assert "/.env" in ignored
    assert (repository / ".dockerignore").read_text().splitlines()[1:2] == ["*"]


def test_a_secret_goes_only_where_it_is_needed(services, environ):
    holders = {
        name: {service for service in services if environ[name] in json.dumps(services[service])} for name in SECRETS
    }
    servers = COMPONENTS - {"worker"}
    assert holders == {
        "AIRFLOW_API_SECRET_KEY": {"api-server"},
        "AIRFLOW_FERNET_KEY": servers,
        "AIRFLOW_JWT_SECRET": servers,
        "AIRFLOW_PASSWORDS": {"api-server"},
        "AWS_ACCESS_KEY_ID": COMPONENTS | {"s3", "cli"},
        "AWS_SECRET_ACCESS_KEY": COMPONENTS | {"s3", "cli"},
        "POSTGRES_PASSWORD": servers | {"postgres"},
        "REDIS_PASSWORD": COMPONENTS | {"redis"},
    }


def test_ports_are_published_on_loopback_unless_asked(text, environ, services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "api-server": ["127.0.0.1:8080:8080"],
        "redis": ["127.0.0.1:6379:6379"],
        "s3": ["127.0.0.1:8333:8333"],
    }
    asked = load(text, environ | {"AIRFLOW_BIND_ADDRESS": "192.0.2.1", "SERVICES_BIND_ADDRESS": "192.0.2.2"})
    assert [asked["services"][name]["ports"][0].partition(":")[0] for name in sorted(published)] == [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.2",
    ]


def test_every_container_is_checked_or_ends(services):
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ONE_SHOT:
            assert check == {"disable": True}
            assert service["restart"] == "no"
        else:
            assert check["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert check.keys() >= {"interval", "timeout", "retries"}, name
            assert check["start_period"] == "600s", name
            assert service["restart"] == "unless-stopped", name


def test_every_container_has_limits_and_keeps_little_log(services):
    for name, service in services.items():
        assert service["logging"]["driver"] == "json-file", name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert re.match(r"^\d+[mg]$", service["mem_limit"]), name
        assert re.match(r"^\d+$", service["cpus"]), name
        assert service["pids_limit"] > 0, name


def test_containers_start_in_order(services):
    waits = {
        name: {other: wait["condition"].removeprefix("service_") for other, wait in service["depends_on"].items()}
        for name, service in services.items()
        if "depends_on" in service
    }
    initialised = {"airflow-init": "completed_successfully"}
    assert waits == {
        "airflow-init": {"postgres": "healthy"},
        "api-server": initialised,
        "dag-processor": initialised,
        "triggerer": initialised,
        "s3": initialised,
        "scheduler": initialised | {"api-server": "healthy", "s3": "healthy"},
        "worker": {"api-server": "healthy", "redis": "healthy", "s3": "healthy"},
    }


def test_state_is_in_named_volumes(content, services):
    mounted = {
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if not volume.startswith("/")
    }
    assert mounted == set(content["volumes"])
    assert [name for name in ("postgres", "redis", "s3") if services[name]["volumes"][0].startswith(f"{name}:/")] == [
        "postgres",
        "redis",
        "s3",
    ]


def test_what_is_passed_on_is_what_the_project_reads(text, services):
    """Oracle: the settings themselves. All of them, and none of another name."""
    expected = {f"{PREFIX}{field.upper()}" for field in PodSettings.model_fields} | {BACKEND}
    own = ("CPUS", "GPUS", "MEMORY_MIB", "SCRATCH_MIB")  # of one family alone; the others need an override file
    assert {field.lower() for field in own} <= set(PodSettings.model_fields)
    expected |= {f"{PREFIX}{family.upper()}_{field}" for family in Family for field in own}
    expected |= set(re.findall(r"CLIPFARM_[A-Z0-9_]+", str(Settings.model_json_schema())))
    expected |= {f"CLIPFARM_ALERT_{field.upper()}" for field in AlertSettings.model_fields}
    expected -= {"CLIPFARM_ALERT_STALE_AFTER_HOURS"}
    expected |= {"CLIPFARM_STALE_AFTER_HOURS", "CLIPFARM_CPU_SLOTS", "CLIPFARM_GPU_SLOTS"}
    raw = yaml.safe_load(text)["services"]
    for name in [*COMPONENTS, "cli"]:
        passed = {variable for variable in raw[name]["environment"] if variable.startswith("CLIPFARM_")}
        assert passed == expected, name
        assert {v for v in services[name]["environment"] if v.startswith("CLIPFARM_")} == {"CLIPFARM_BUCKET"}


def test_settings_of_the_example_are_accepted(text, environ, env_example):
    """Every line with a value, without its #: what a scheduler then gets is what the project can read."""
    _, commented = env_example
    chosen = environ | {name: value.strip("'") for name, value in commented.items() if value}
    chosen |= {"CLIPFARM_POD_IMAGE": "clipfarm-trainer:0f3c"}
    given = load(text, chosen)["services"]["scheduler"]["environment"]
    assert Settings.from_environment(given).train_threads == 1
    assert AlertSettings.from_environment(given) == AlertSettings()
    for family in Family:
        assert PodSettings.from_environment(family, given) == PodSettings.from_environment(
            family, {"CLIPFARM_POD_IMAGE": "clipfarm-trainer:0f3c"}
        )
        assert not trains_in_pod(family, given)
    assert pool_sizes(given)["clipfarm_gpu"] == 1
    assert json.loads(given["AIRFLOW_CONN_KUBERNETES_DEFAULT"])["conn_type"] == "kubernetes"


def test_the_bucket_is_reached_with_the_key_pair(services, environ):
    connection = json.loads(services["scheduler"]["environment"]["AIRFLOW_CONN_CLIPFARM_S3"])
    assert connection == {
        "conn_type": "aws",
        "login": environ["AWS_ACCESS_KEY_ID"],
        "password": environ["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": "http://s3:8333", "region_name": "us-east-1"},
    }
    s3 = services["s3"]["environment"]
    assert s3["S3_BUCKET"] == services["scheduler"]["environment"]["CLIPFARM_BUCKET"]


def test_every_option_of_airflow_exists(services):
    """A mistyped one would be ignored without a word."""
    from airflow.configuration import retrieve_configuration_description

    known = retrieve_configuration_description(include_providers=True)
    names = {
        tuple(variable.lower().split("__")[1:])
        for service in services.values()
        for variable in service["environment"]
        if variable.startswith("AIRFLOW__")
    }
    assert len(names) > 15
    assert [name for name in sorted(names) if name[1] not in known.get(name[0], {"options": ()})["options"]] == []


def test_switches_are_off_and_can_be_turned_on(text, environ, services):
    switches = {
        "AIRFLOW_REMOTE_LOGGING": "AIRFLOW__LOGGING__REMOTE_LOGGING",
        "AIRFLOW_OTEL_METRICS": "AIRFLOW__METRICS__OTEL_ON",
    }
    on = load(text, environ | dict.fromkeys(switches, "True"))["services"]
    for name in COMPONENTS:
        assert {services[name]["environment"][option] for option in switches.values()} == {"False"}
        assert {on[name]["environment"][option] for option in switches.values()} == {"True"}


def test_the_executor_of_several_machines_can_be_imported():
    """The provider and its library are released apart: a pair that the lock allows may not work."""
    command = [sys.executable, "-c", "from airflow.providers.celery.executors.celery_executor import CeleryExecutor"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.fixture
def start(services, repository, tmp_path):
    """Runs a service's own script with a program ``airflow`` that only tells how it was called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "scratch").mkdir()
    told = tmp_path / "told"
    fake = '#!/bin/sh\n{ echo "$@"; env; } >>' + f'"{told}"\n'
    (programs / "airflow").write_text(fake)
    (programs / "airflow").chmod(0o755)

    def run(name, **environment):
        shell, option, script = services[name]["command"]
        script = script.replace("/tmp/", f"{tmp_path}/").replace("/opt/airflow/tmp", str(tmp_path / "scratch"))
        script = script.replace("/opt/airflow/s3-keys", str(tmp_path / "s3-keys"))
        path = f"{programs}:{Path(sys.prefix) / 'bin'}:/usr/bin:/bin"
        answer = subprocess.run(
            [shell, option, script],
            env={"PATH": path, "PYTHONPATH": str(repository), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer, told.read_text() if told.exists() else ""

    run.folder = tmp_path
    return run


def test_pools_are_made_after_the_database(start):
    answer, told = start("airflow-init", CLIPFARM_CPU_SLOTS="5")
    assert answer.returncode == 0, answer.stderr
    assert told.index("db migrate") < told.index("pools import")
    pools = json.loads((start.folder / "pools.json").read_text())
    assert {name: pool["slots"] for name, pool in pools.items()} == {"clipfarm_cpu": 5, "clipfarm_gpu": 1}
    assert all(pool["include_deferred"] for pool in pools.values())


def test_keys_of_the_s3_server_are_drawn_once_and_for_the_group_that_it_has(start, services):
    contents = []
    for _ in range(2):
        answer, _ = start("airflow-init")
        assert answer.returncode == 0, answer.stderr
        files = sorted((start.folder / "s3-keys").iterdir())
        assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o640, 0o640]
        contents.append([path.read_text() for path in files])
    assert contents[0] == contents[1]
    assert services["s3"]["group_add"] == ["0"]


def test_the_s3_server_is_as_closed_as_the_one_whose_ports_are_tried(services):
    """tests/stack/test_open_doors.py tries every port of a server with these flags and such keys."""
    s3 = services["s3"]
    own = ("-ip=", "-ip.bind=", "-volume.preStopSeconds=", "-idleTimeout=")
    assert {flag for flag in _FIXED_FLAGS if not flag.startswith(own)} <= set(s3["command"])
    assert "-config_dir=/opt/airflow/s3-keys" in s3["command"]
    assert "s3-keys:/opt/airflow/s3-keys:ro" in s3["volumes"]
    holders = {name for name, service in services.items() if "s3-keys:" in str(service.get("volumes"))}
    assert holders == {"s3", "airflow-init"}


def test_every_other_server_wants_a_password_or_serves_nothing(services):
    assert "--requirepass" in services["redis"]["command"][-1]
    assert services["postgres"]["environment"].keys() == {"POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_USER"}
    for name in ("scheduler", "triggerer", "worker"):
        assert "--skip-serve-logs" in str(services[name]["command"]), name


def test_the_scheduler_runs_as_many_tasks_as_pools_have_slots(start):
    cores = len(os.sched_getaffinity(0))
    for environment, slots in (({}, cores + 1), ({"CLIPFARM_CPU_SLOTS": "5", "CLIPFARM_GPU_SLOTS": "3"}, 8)):
        answer, told = start("scheduler", **environment)
        assert answer.returncode == 0, answer.stderr
        assert f"AIRFLOW__CORE__PARALLELISM={slots}\n" in told


def test_a_worker_takes_a_task_more_than_it_has_cores(start):
    cores = len(os.sched_getaffinity(0))
    for environment, slots in (({}, cores + 1), ({"WORKER_SLOTS": "7"}, 7)):
        _, told = start("worker", **environment)
        assert f"celery worker --skip-serve-logs --concurrency {slots}\n" in told


def test_the_api_server_knows_each_user_and_forgets_the_variable(start):
    answer, told = start("api-server", AIRFLOW_USERS="admin:admin,anna:user", AIRFLOW_PASSWORDS="anna:a:1,admin:b=")
    assert answer.returncode == 0, answer.stderr
    path = start.folder / "passwords.json"
    assert json.loads(path.read_text()) == {"admin": "b=", "anna": "a:1"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert told.startswith("api-server\n")
    assert "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin,anna:user\n" in told
    assert "AIRFLOW_PASSWORDS" not in told


@pytest.mark.parametrize("passwords", ["admin:b", "admin:b,anna:", "admin:b,anna"])
def test_a_user_without_a_password_stops_the_api_server(start, passwords):
    answer, told = start("api-server", AIRFLOW_USERS="admin:admin,anna:user", AIRFLOW_PASSWORDS=passwords)
    assert answer.returncode == 1
    assert "got none for anna, in AIRFLOW_PASSWORDS" in answer.stderr
    assert told == ""
