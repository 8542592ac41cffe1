"""One training job as the baseline does it: assemble its own data object by object, then train row by row."""

import io
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.baseline import FirstScript, stacked
from bench.buckets import DataSet
from bench.per_row import train_per_row
from clipfarm_tasks import keys
from clipfarm_tasks.families import PRESETS, Family, Horizon, NeuralPreset, Strategy
from clipfarm_tasks.models.concat_mlp import ConcatMlp
from clipfarm_tasks.models.gated_fusion_mlp import GatedFusionMlp
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.rows import Arrays, Labelled
from clipfarm_tasks.models.seeds import seed_torch

_NETWORKS: dict[Family, type[nn.Module]] = {Family.CONCAT_MLP: ConcatMlp, Family.GATED_FUSION_MLP: GatedFusionMlp}
_TRAIN, _VAL = 0.70, 0.15
_SEED = 42


@dataclass(frozen=True)
class BaselineJob:
    """Seconds of one job.

    Attributes:
        assembly_s: fetching the vectors the family sees, of all videos.
        training_s: as many epochs as the pipeline's same job took.
        epochs: that many.
    """

    assembly_s: float
    training_s: float
    epochs: int

    @property
    def seconds(self) -> float:
        """The whole job."""
        return self.assembly_s + self.training_s


@dataclass(frozen=True)
class Videos:
    """Of how many videos the assembly is measured, the first of the shards, and to how many it is scaled."""

    measured: int
    all: int

    def scaled(self, seconds: float) -> float:
        """Seconds of all, out of those of the measured ones."""
        return seconds * self.all / self.measured


def baseline_job(
    data_set: DataSet, client: Any, folder: Path, run_id: str, strategy: Strategy, family: Family, videos: Videos
) -> BaselineJob:
    """Assemble and train one neural job of a finished run over again.

    Taken from that run: the network's widths and the number of epochs. Only the assembly of the vectors and the
    training are measured; metadata, which any script would read once, are made up and cost nothing. Where the assembly
    is measured on a part of the videos, their vectors are repeated until there are as many rows as all would give.

    Args:
        data_set: the bucket.
        client: boto3 S3 client of its server.
        folder: where the downloads go.
        run_id: a finished run.
        strategy: which job of it; the horizon is 7 days.
        family: concat_mlp or gated_fusion_mlp.
        videos: of how many the assembly is measured.
    """
    snapshot = keys.job_snapshot(run_id, family, strategy, Horizon.D7)
    epochs = len(json.loads(data_set.store.get(f"{snapshot}curves/{family}_curve.json"))["train_loss"])
    artifact = io.BytesIO(data_set.store.get(f"{snapshot}models/{family}.pt"))
    config: dict[str, Any] = torch.load(artifact, map_location="cpu", weights_only=True)["model_config"]
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        began = time.perf_counter()
        script = FirstScript(client, data_set.store.bucket, Path(downloads), videos.measured)
        found = _vectors(script, strategy, family)
        assembly_s = videos.scaled(time.perf_counter() - began)
    rows = round(videos.scaled(len(found[0])))
    vectors = [np.resize(array, (rows, array.shape[1])) for array in found]
    train, val = _parts(vectors, config, gated=family is Family.GATED_FUSION_MLP)
    recipe = PRESETS[family].hyperparams
    if not isinstance(recipe, NeuralPreset):
        raise TypeError(f"expected a neural family, got {family}")
    seed_torch(_SEED)
    model = _NETWORKS[family](**config)
    threads = torch.get_num_threads()
    torch.set_num_threads(data_set.store.settings.train_threads)
    began = time.perf_counter()
    train_per_row(model, train, val, recipe, epochs)
    training_s = time.perf_counter() - began
    torch.set_num_threads(threads)
    return BaselineJob(assembly_s, training_s, epochs)


def _vectors(script: FirstScript, strategy: Strategy, family: Family) -> list[F32]:
    if family is Family.CONCAT_MLP:
        by_video = script.fused(strategy)
        return [stacked(by_video, sorted(by_video))]
    by_modality = script.modalities(strategy)
    return [stacked(by_video, sorted(by_video)) for by_video in by_modality.values()]


def _parts(vectors: list[F32], config: dict[str, Any], *, gated: bool) -> tuple[Labelled, Labelled]:
    rng = np.random.default_rng(_SEED)
    rows = len(vectors[0])
    numerics = rng.standard_normal((rows, config["numeric_dim"]), dtype=np.float32)
    cardinalities: list[int] = config["cat_cardinalities"]
    categories = rng.integers(0, cardinalities, (rows, len(cardinalities)))
    present = [np.ones(rows, np.float32)] if gated else []
    arrays: Arrays = (*vectors, *present, numerics, categories)
    target = rng.standard_normal(rows, dtype=np.float32)
    first, second = round(_TRAIN * rows), round((_TRAIN + _VAL) * rows)
    train, val = (
        Labelled(tuple(array[part] for array in arrays), target[part])
        for part in (slice(0, first), slice(first, second))
    )
    return train, val
