"""What a night costs at any size, from one result of the benchmark and the settings' own limits."""

import json
import re
from dataclasses import dataclass

import yaml

from clipfarm_tasks.config import RunParams
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.deployment.scheduling import slot_of
from clipfarm_tasks.families import DEFAULT_FAMILIES, PRESETS, Family, Horizon, Modality, Strategy
from clipfarm_tasks.models.rows import DEVICE_SHARE

SIZES = {"10 thousand": 10_000, "1 million": 1_000_000, "100 million": 100_000_000}
NEW = 0.01  # share of the videos that are new in a night
NIGHT_H = 6
GPU_BYTES = 80e9
LISTED_AT_ONCE = 1000
GETS_PER_PREFIX = 5500

_FLOAT_BYTES = 4
_SEE_FUSED = sum(PRESETS[family].sees_fused for family in DEFAULT_FAMILIES)
_MIB = 2**20


@dataclass(frozen=True)
class Figures:
    """Costs per video, unless their name says otherwise; bytes, seconds."""

    videos: int  # that were measured
    cores: int
    objects: float
    object_bytes: float
    objects_per_second: float
    cold_s: float
    warm_s: float
    base_bytes: float
    worker_bytes: float
    widest_bytes: float  # of a row that a network sees
    scratch_bytes: float  # of the vectors of a job, those included that only features are learnt from
    jobs_bytes: float  # read from the tables by the jobs of a run, at most
    epoch_s: float
    fit_s: float
    core_s: float
    airflow_s: float  # of a run


def newest_result(root):
    """The newest result: its path in the repository, and what it says."""
    path = max((root / "bench" / "results").glob("*.json"))
    return path.relative_to(root).as_posix(), json.loads(path.read_text())


def figures(result):
    """The costs, from a result of the benchmark."""
    rows = {row["name"]: row for row in result["rows"]}
    growth, epoch = rows["growth, time"]["values"], rows["epoch, concat_mlp"]
    videos = max(int(name.removeprefix("at_").removesuffix("_s")) for name in growth)
    real, matrix, peak = rows["cold assembly, floor"], rows["matrix"], rows["peak memory"]
    base_bytes = _number(peak["note"], " MB before the assembly") * 1e6
    real_videos, matrix_videos = _number(real["what"], " real videos"), _number(matrix["what"], " videos")
    overhead, warm = rows["airflow overhead"], rows["warm, 50,000 videos"]
    at_once = _number(matrix["what"], " processes")
    width = _number(epoch["what"], " wide")
    text_bytes = _FLOAT_BYTES * width
    assert _number(epoch["what"], " videos") == _number(warm["what"], " synthetic videos") == videos
    return Figures(
        videos=videos,
        cores=_number(epoch["what"], " threads"),
        objects=real["values"]["objects_n"] / real_videos,
        object_bytes=rows["growth, bytes"]["values"][f"at_{videos}_bytes_n"] / videos,
        objects_per_second=real["values"]["objects_n"] / real["values"]["cold_s"],
        cold_s=growth[f"at_{videos}_s"] / videos,
        warm_s=warm["values"]["seconds_s"] / videos,
        base_bytes=base_bytes,
        worker_bytes=(peak["measured"] * 1e6 - base_bytes) / videos,
        widest_bytes=_FLOAT_BYTES * (len(Modality) * width + 1),
        scratch_bytes=_FLOAT_BYTES * (len(Modality) * width + 1) + text_bytes,
        # Of a table of fused vectors by the families that see it, of the modalities by the other one: for each horizon.
        # The families that see fused vectors read the texts beside them, for the features of similar texts.
        jobs_bytes=len(Horizon)
        * _SEE_FUSED
        * (peak["values"]["arrays_mb"] * 1e6 / videos + len(Strategy) * text_bytes),
        epoch_s=epoch["values"]["epoch_s"] / videos,
        fit_s=most_epochs() * epoch["values"]["epoch_s"] / videos,
        core_s=matrix["values"]["pipeline_s"] * at_once / matrix_videos,
        airflow_s=overhead["measured"] * overhead["values"]["tasks_n"],
    )


def most_epochs():
    """Epochs of a job with the default params, those of its refit included."""
    params = RunParams()
    return params.max_epochs * (2 if params.refit else 1)


def gpu_jobs():
    """How many jobs a run trains on a GPU: the gated family is trained once for all strategies."""
    return len(Strategy) * len(Horizon) + len(Horizon)


def limits(found, root):
    """By name: how many videos reach it, and what to do then; the lowest comes first."""
    pod = PodSettings.from_environment(Family.CONCAT_MLP, {"CLIPFARM_POD_IMAGE": "trainer:1"})
    worker = yaml.safe_load((root / "deploy" / "helm-values.yaml").read_text())["workers"]["kubernetes"]
    memory = int(worker["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    epochs = most_epochs()
    step_s = slot_of("reconstruct_modalities")["execution_timeout"].total_seconds()
    reached = {
        f"memory of a worker pod, {memory // 2**30} GiB in `deploy/helm-values.yaml`": (
            (memory - found.base_bytes) / found.worker_bytes,
            "raise `workers.kubernetes.resources`",
        ),
        f"`/tmp` of a `concat` job, {pod.scratch_mib:,} MiB": (
            pod.scratch_mib * _MIB / found.scratch_bytes,
            "raise `CLIPFARM_POD_SCRATCH_MIB`",
        ),
        f"{pod.active_deadline_s:,} s of a pod, {epochs} epochs of `concat_mlp` on {found.cores} cores": (
            pod.active_deadline_s / found.fit_s,
            "a GPU, or raise `CLIPFARM_POD_ACTIVE_DEADLINE_S`",
        ),
        f"rows in the memory of a GPU of {GPU_BYTES / 1e9:.0f} GB": (
            DEVICE_SHARE * GPU_BYTES / found.widest_bytes,
            "nothing: rows stay on the host, which is slower",
        ),
        f"{step_s / 3600:.0f} h of a step, first night": (
            step_s / found.cold_s,
            "raise the limit in `clipfarm_tasks/deployment/scheduling.py`",
        ),
        f"{step_s / 3600:.0f} h of a step, nothing new": (
            step_s / found.warm_s,
            "as above",
        ),
    }
    return dict(sorted(reached.items(), key=lambda item: item[1][0]))


def _number(text, unit):
    found = re.search(r"([\d,]+)" + re.escape(unit), text)
    assert found, (text, unit)
    return int(found[1].replace(",", ""))
