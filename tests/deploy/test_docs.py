"""The guide: its tables are computed, its commands parse, and what it names exists."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from airflow.providers.cncf import kubernetes as provider

from clipfarm_tasks.deployment.backend import BACKEND
from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.families import Family
from tests.deploy.blocks import GUIDE, ROOT, blocks, written
from tests.deploy.figures import figures, limits, newest_result


@pytest.fixture(scope="module")
def guide():
    return GUIDE.read_text()


@pytest.fixture(scope="module")
def result():
    return newest_result(ROOT)[1]


def rows(result):
    return {row["name"]: row for row in result["rows"]}


def test_its_tables_are_those_computed_from_the_settings_and_the_newest_benchmark(guide):
    assert written(guide, blocks()) == guide, "python -m tests.deploy.blocks writes them"


def test_at_the_size_that_was_measured_the_figures_are_the_measured_ones(result):
    found, measured = figures(result), rows(result)
    assert found.videos == 50_000
    assert found.videos * found.cold_s == pytest.approx(measured["growth, time"]["values"]["at_50000_s"])
    assert found.videos * found.object_bytes == pytest.approx(measured["growth, bytes"]["values"]["at_50000_bytes_n"])
    assert found.videos * found.warm_s == pytest.approx(measured["warm, 50,000 videos"]["values"]["seconds_s"])
    assert found.videos * found.fit_s / 80 == pytest.approx(measured["epoch, concat_mlp"]["values"]["epoch_s"])
    peak = measured["peak memory"]
    assert found.base_bytes + found.videos * found.worker_bytes == pytest.approx(peak["measured"] * 1e6)
    assert f"{found.base_bytes / 1e6:.0f} MB before the assembly" in peak["note"]
    assert 4000 * found.core_s / 2 == pytest.approx(measured["matrix"]["values"]["pipeline_s"])


def test_the_benchmark_itself_finds_nearly_the_same_cost_per_video(result):
    slope = float(re.search(r"([\d.]+) ms x videos", rows(result)["growth, time"]["note"])[1])
    assert figures(result).cold_s * 1e3 == pytest.approx(slope, rel=0.02)


def test_the_widest_vectors_are_those_of_the_arrays_measured(result):
    widest = figures(result).widest_bytes / 4
    pooled = (widest - 1) / 3 + 1
    of_all_tables = widest + 2 * pooled + (widest - 1)
    arrays = rows(result)["peak memory"]["values"]["arrays_mb"] * 1e6
    assert 50_000 * 4 * of_all_tables == pytest.approx(arrays, rel=0.01)  # unusable videos have none


def test_limits_are_in_the_order_in_which_they_are_reached(result):
    reached = [videos for videos, _ in limits(figures(result), ROOT).values()]
    assert len(reached) == 6
    assert reached == sorted(reached)


def test_every_setting_it_names_is_read(guide):
    settings = {f"{PREFIX}{name.upper()}" for name in PodSettings.model_fields}
    families = [*Family.__members__, "<FAMILY>"]
    of_one_family = {f"{PREFIX}{name}_{field.removeprefix(PREFIX)}" for name in families for field in settings}
    named = variables(guide)
    assert settings <= named
    assert {BACKEND, "CLIPFARM_CPU_SLOTS", "CLIPFARM_GPU_SLOTS"} <= named
    modules = ("config", "deployment/alerts", "deployment/backend", "deployment/pods", "deployment/scheduling")
    files = [*(f"clipfarm_tasks/{name}.py" for name in modules), ".env.example"]
    assert named - settings - of_one_family <= set().union(*(variables((ROOT / file).read_text()) for file in files))


def variables(text):
    return set(re.findall(r"(?<!CONN_)CLIPFARM_[A-Z0-9_<>]+[A-Z0-9]", text))


def test_the_section_on_one_machine_names_what_the_stack_has(guide):
    section = guide.split("## One machine")[1].split("## A cluster")[0]
    variables_named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\S+)?`", section))
    assert len(variables_named) >= 8
    assert variables_named <= set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    named = set(re.findall(r"docker compose (?:run --rm|up -d --wait --no-deps|exec -T) (\w+)", guide))
    assert named == {"cli", "worker", "postgres"}
    assert named <= set(services)


def test_every_command_parses(guide):
    scripts = re.findall(r"```sh\n(.*?)```", guide, flags=re.DOTALL)
    assert len(scripts) >= 10
    assert guide.count("```") == 2 * len(scripts)
    for script in scripts:
        done = subprocess.run(["/bin/bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


def test_connections_are_json_that_the_hooks_take(guide):
    found = [json.loads(text) for text in re.findall(r"'(\{\"conn_type\".*?\})'", guide)]
    assert {one["conn_type"] for one in found} == {"aws", "kubernetes"}
    hook = (Path(provider.__path__[0]) / "hooks" / "kubernetes.py").read_text()
    extras = [one["extra"] for one in found if one["conn_type"] == "kubernetes"]
    assert len(extras) == 2
    for name in set().union(*extras):
        assert f'_get_field("{name}")' in hook


def test_every_file_it_names_exists(guide):
    named = set(re.findall(r"(?<![\w/.])((?:deploy|docker|clipfarm_tasks|docs|bench)/[\w./-]*\w)", guide))
    assert len(named) >= 6
    for path in named:
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\((?!http)([^)]+)\)", guide):
        assert (GUIDE.parent / path).exists(), path


def test_every_object_it_names_is_in_the_manifests(guide):
    texts = "".join(path.read_text() for path in (ROOT / "deploy").rglob("*.yaml"))
    table = guide.split("| object | what it does |")[1].split("\n\n")[0]
    named = re.findall(r"`(clipfarm[a-z-]*)`", table)
    assert len(named) >= 4
    for name in named:
        assert f"name: {name}\n" in texts


def test_every_secret_the_values_name_is_made(guide):
    made = dict(re.findall(r"--namespace airflow create secret generic (\S+) \\\n\s+--from-literal=([\w.-]+)=", guide))
    values = yaml.safe_load((ROOT / "deploy" / "helm-values.yaml").read_text())
    [passwords] = values["apiServer"]["extraVolumes"]
    assert made == {
        values["data"]["metadataSecretName"]: "connection",
        values["fernetKeySecretName"]: "fernet-key",
        values["apiSecretKeySecretName"]: "api-secret-key",
        values["jwtSecretName"]: "jwt-secret",
        passwords["secret"]["secretName"]: "passwords.json",
        **{item["secretName"]: values["secret"][0]["secretKey"] for item in values["secret"]},
    }
    for item in values["secret"]:
        assert f"--from-literal={item['secretKey']}=" in guide


def test_the_chart_has_one_version(guide):
    header = (ROOT / "deploy" / "helm-values.yaml").read_text().split("\n\n")[0]
    [chart] = re.findall(r"version (\d+\.\d+\.\d+) \(Airflow", header)
    assert set(re.findall(r"--version (\S+)|chart, version (\d+\.\d+\.\d+)", guide)) == {(chart, ""), ("", chart)}


@pytest.mark.parametrize(
    "symptom",
    [
        "Pod took too long to be scheduled",
        "Image cannot be pulled",
        "exceeded quota",
        "expected the cluster to accept pod",
        "until it ends, got none",
        "OOMKilled",
    ],
)
def test_a_symptom_is_worded_as_the_task_says_it(guide, symptom):
    folders = (ROOT / "plugins", Path(provider.__path__[0]))
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 40
    assert symptom in guide
    assert any(symptom in source for source in sources)
