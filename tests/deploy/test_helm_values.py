"""The values for the official chart: keys it has, settings that Airflow and clipfarm read, commands that exist."""

import json
import re
import shlex
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import airflow
import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from clipfarm_runtime import CONNECTION_ID

from clipfarm_tasks.deployment.backend import BACKEND, trains_in_pod
from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.deployment.scheduling import CPU_POOL, GPU_POOL, pool_sizes
from clipfarm_tasks.families import Family

ROOT = Path(__file__).parents[2]
VALUES = ROOT / "deploy" / "helm-values.yaml"

# Of the chart's values.yaml (apache/airflow, chart/values.yaml) and of the pages of its version 1.22.0: parameters
# reference, customizing workers, production guide. Below a key that ends in "*" the chart takes what Kubernetes or
# Airflow takes. No schema of the chart is on a package index.
KEYS = frozenset(
    {
        "airflowVersion",
        "apiSecretKeySecretName",
        "apiServer.args.*",
        "apiServer.extraVolumeMounts.*",
        "apiServer.extraVolumes.*",
        "apiServer.podDisruptionBudget.enabled",
        "apiServer.replicas",
        "apiServer.resources.*",
        "config.*",
        "createUserJob.enabled",
        "dagProcessor.enabled",
        "dagProcessor.livenessProbe.command.*",
        "dagProcessor.livenessProbe.timeoutSeconds",
        "dagProcessor.logGroomerSidecar.enabled",
        "dagProcessor.resources.*",
        "data.metadataSecretName",
        "databaseCleanup.enabled",
        "databaseCleanup.retentionDays",
        "defaultAirflowRepository",
        "defaultAirflowTag",
        "enableServiceLinks",
        "env.*",
        "executor",
        "fernetKeySecretName",
        "ingress.apiServer.enabled",
        "ingress.apiServer.hosts.*",
        "jwtSecretName",
        "logs.persistence.enabled",
        "migrateDatabaseJob.args.*",
        "pgbouncer.enabled",
        "postgresql.enabled",
        "redis.enabled",
        "scheduler.livenessProbe.command.*",
        "scheduler.livenessProbe.timeoutSeconds",
        "scheduler.logGroomerSidecar.enabled",
        "scheduler.podDisruptionBudget.enabled",
        "scheduler.replicas",
        "scheduler.resources.*",
        "scheduler.startupProbe.command.*",
        "scheduler.startupProbe.failureThreshold",
        "scheduler.startupProbe.timeoutSeconds",
        "secret.*",
        "securityContexts.containers.*",
        "securityContexts.pod.*",
        "statsd.enabled",
        "triggerer.livenessProbe.command.*",
        "triggerer.livenessProbe.timeoutSeconds",
        "triggerer.logGroomerSidecar.enabled",
        "triggerer.persistence.enabled",
        "triggerer.replicas",
        "triggerer.resources.*",
        "triggerer.serviceAccount.name",
        "workers.kubernetes.resources.*",
        "workers.kubernetes.serviceAccount.name",
    }
)


@pytest.fixture(scope="module")
def values():
    return yaml.safe_load(VALUES.read_text())


@pytest.fixture(scope="module")
def env(values):
    return {item["name"]: item["value"] for item in values["env"]}


def leaves(found, path=""):
    if isinstance(found, dict):
        for name, inner in found.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(found, list):
        yield f"{path}.*", found
    else:
        yield path, found


def test_every_key_is_one_of_the_chart_and_every_key_listed_is_used(values):
    open_ended = [key.removesuffix("*") for key in KEYS if key.endswith("*")]
    closed = {key for key in KEYS if not key.endswith("*")}
    paths = [path for path, _ in leaves(values)]
    assert len(paths) == 82
    assert [path for path in paths if path not in closed and not path.startswith(tuple(open_ended))] == []
    assert closed <= set(paths)
    assert all(any(path.startswith(key) for path in paths) for key in open_ended)


def test_every_setting_of_airflow_exists_in_the_version_named(values):
    assert values["airflowVersion"] == version("apache-airflow")
    known = yaml.safe_load((Path(airflow.__path__[0]) / "config_templates" / "config.yml").read_text())
    for section, options in values["config"].items():
        unknown = set(options) - set(known[section]["options"])
        assert not unknown, section
        assert all(isinstance(value, str) for value in options.values())  # written into airflow.cfg as they are


def test_folders_are_those_of_the_image(values):
    image = (ROOT / "docker" / "Dockerfile").read_text()
    for option in ("dags_folder", "plugins_folder"):
        [folder] = re.findall(rf"AIRFLOW__CORE__{option.upper()}=(\S+)", image)
        assert values["config"]["core"][option] == folder


def test_the_auth_manager_is_in_the_image(values):
    module, _, name = values["config"]["core"]["auth_manager"].rpartition(".")
    assert getattr(import_module(module), name)


def test_every_command_exists(values):
    commands = [
        values[server][probe]["command"]
        for server in ("scheduler", "dagProcessor", "triggerer")
        for probe in ("livenessProbe", "startupProbe")
        if probe in values[server]
    ]
    for owner in ("migrateDatabaseJob", "apiServer"):
        shell, option, line = values[owner]["args"]
        assert (shell, option) == ("bash", "-c")
        parts = [shlex.split(part) for part in re.sub(r"\bexec ", "", line).split("&&")]
        commands += [part for part in parts if part[0] == "airflow"]
    assert len(commands) == 8
    for program, *arguments in commands:
        assert program == "airflow"
        get_parser().parse_args([re.sub(r"^\$\w+$", "1", argument) for argument in arguments])


def test_pools_are_written_with_their_slots_and_count_deferred_tasks(values, env):
    lines = [shlex.split(part) for part in values["migrateDatabaseJob"]["args"][-1].split("&&")]
    written = {line[4]: env[line[5].removeprefix("$")] for line in lines if line[1:3] == ["pools", "set"]}
    assert {name: int(slots) for name, slots in written.items()} == pool_sizes(env)
    assert set(written) == {CPU_POOL, GPU_POOL}
    assert all("--include-deferred" in line for line in lines if line[1] == "pools")


def test_the_environment_makes_pods_of_every_family(env):
    for family in Family:
        assert trains_in_pod(family, env)
        assert PodSettings.from_environment(family, env).deferrable
    fields = {f"{PREFIX}{name.upper()}" for name in PodSettings.model_fields}
    fields |= {f"{PREFIX}{family.upper()}_{name.upper()}" for family in Family for name in PodSettings.model_fields}
    other = {BACKEND, "CLIPFARM_BUCKET", "AWS_REGION", "CLIPFARM_CPU_SLOTS", "CLIPFARM_GPU_SLOTS"}
    assert set(env) <= fields | other


def test_connections_come_from_a_secret(values, env):
    connections = {CONNECTION_ID, PodSettings.model_fields["connection_id"].default}
    assert {item["envName"] for item in values["secret"]} == {f"AIRFLOW_CONN_{name.upper()}" for name in connections}
    assert {item["secretKey"] for item in values["secret"]} == connections
    assert not any("KEY" in name or "CONN" in name for name in env)
    assert values["config"]["logging"]["remote_log_conn_id"] == CONNECTION_ID


def test_no_value_works_by_chance_and_no_tag_moves(values):
    assert values["defaultAirflowRepository"].startswith("registry.example/")
    assert values["defaultAirflowTag"] == "0.0.0"
    assert "latest" not in json.dumps(values)
    for address in re.findall(r"\w+://([^/:\"]+)", json.dumps(values["config"])):
        assert address.endswith((".example", ".svc.cluster.local")), address
    for server in ("workers", "scheduler", "dagProcessor", "triggerer", "apiServer"):
        found = values[server].get("kubernetes", values[server])
        assert found["resources"]["limits"]["memory"], server
