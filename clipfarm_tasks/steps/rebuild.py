"""Re-create the training matrices of a past run, and say whether they equal those its jobs were trained on.

Everything is read at the versions the run pinned: what upstream or other runs changed since makes no difference, and
neither does the code that is running now.
"""

import logging
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.data.training_digest import DataSha256
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.catalog import check_requested
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.snapshot_folder import CONFIG_USED
from clipfarm_tasks.steps.training_rows import TrainingRows, family_digests, training_rows
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document
from clipfarm_tasks.storage.success_marker import read_file, read_marker

log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What a rebuilt job's data are, compared with the recorded digests."""

    EQUAL = "equal"
    FEATURES_DIFFER = "features differ"
    TARGET_DIFFERS = "target differs"
    BOTH_DIFFER = "features and target differ"
    NO_SNAPSHOT = "no snapshot"
    IMPOSSIBLE = "cannot be rebuilt"

    @classmethod
    def of(cls, recorded: DataSha256, rebuilt: DataSha256) -> "Verdict":
        """Compare two pairs of digests."""
        if recorded.features != rebuilt.features:
            return cls.FEATURES_DIFFER if recorded.target == rebuilt.target else cls.BOTH_DIFFER
        return cls.EQUAL if recorded.target == rebuilt.target else cls.TARGET_DIFFERS


@dataclass(frozen=True)
class Rebuilt:
    """One training job's verdict; ``detail`` is the reason why it cannot be rebuilt."""

    strategy: Strategy
    horizon: Horizon
    family: Family
    verdict: Verdict
    detail: str = ""


class ConfigUsed(BaseModel):
    """The part of config_used.json that is compared; the other fields do not matter here."""

    training_data_sha256: dict[Family, DataSha256] = {}


def rebuild(
    store: Store,
    settings: Settings,
    run_id: str,
    strategy: Strategy | None = None,
    horizon: Horizon | None = None,
    family: Family | None = None,
    output: Path | None = None,
) -> list[Rebuilt]:
    """Rebuild every job of a run, or those selected; the vectors of a pair are read once for all its families.

    Args:
        store: the bucket.
        settings: how much of the vectors may be in memory.
        run_id: id of the run.
        strategy: only this one.
        horizon: only this one.
        family: only this one.
        output: new or empty folder that gets the matrices, one folder for each pair, rows in training order.

    Returns:
        One verdict for each job, in the order of the graph. What breaks one pair does not hide the others.

    Raises:
        MissingObjectError: no run of this id was resolved.
        ConfigError: a selection that the run does not request, or ``output`` has files or cannot be written to.
        TransientError: the server cannot be reached.
    """
    context = StepContext(store, settings, load_config(store, run_id))
    check_requested(context, strategy, horizon, family)
    if output is not None:
        _create(output)
    params = context.params
    families = params.models if family is None else (family,)
    return [
        result
        for one in (params.strategies if strategy is None else (strategy,))
        for days in (params.horizons if horizon is None else (horizon,))
        for result in _pair(context, one, days, families, output)
    ]


def _pair(
    context: StepContext, strategy: Strategy, horizon: Horizon, families: tuple[Family, ...], output: Path | None
) -> list[Rebuilt]:
    recorded: dict[Family, DataSha256] = {}
    results: dict[Family, Rebuilt] = {}
    for family in families:
        try:
            found = _recorded(context, strategy, horizon, family)
        except DataError as error:
            results[family] = Rebuilt(strategy, horizon, family, Verdict.IMPOSSIBLE, str(error))
            continue
        if found is None:
            results[family] = Rebuilt(strategy, horizon, family, Verdict.NO_SNAPSHOT)
        else:
            recorded[family] = found
    if recorded:
        try:
            rows = training_rows(context, strategy, horizon, *recorded)
        except DataError as error:
            for family in recorded:
                results[family] = Rebuilt(strategy, horizon, family, Verdict.IMPOSSIBLE, str(error))
        else:
            digests = rows.digests()
            for family, sha256 in recorded.items():
                verdict = Verdict.of(sha256, family_digests(rows, digests, family))
                results[family] = Rebuilt(strategy, horizon, family, verdict)
            log.info("rebuild %s %dd of run %s: %d rows", strategy, horizon, context.run_id, len(rows.target))
            if output is not None:
                _write(rows, output / f"{strategy}_{int(horizon)}d")
    return [results[family] for family in families]


def _recorded(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> DataSha256 | None:
    """Digests that a finished job recorded; None where there is no finished snapshot.

    Raises:
        DataError: the snapshot is another config's or damaged, or has no digests of this family.
    """
    prefix = keys.job_snapshot(context.run_id, family, strategy, horizon)
    marker = read_marker(context.store, prefix, context.config.digest)
    if marker is None:
        return None
    where = context.store.uri(f"{prefix}{CONFIG_USED}")
    body = read_file(context.store, prefix, marker, CONFIG_USED)
    digests = parse_document(ConfigUsed, body, where).training_data_sha256
    if family not in digests:
        others = ", ".join(digests) or "none"
        raise DataError(f"expected recorded digests of the training data of {family}, got {others}, in {where}")
    return digests[family]


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
        if taken is None:
            with tempfile.TemporaryFile(dir=folder):  # better told now than after the vectors were read
                pass
    except OSError as error:
        raise ConfigError(f"expected a new or empty folder for the matrices, got {folder}: {error}") from error
    if taken is not None:
        raise ConfigError(f"expected a new or empty folder for the matrices, got {folder}, which holds {taken.name}")


def _write(rows: TrainingRows, folder: Path) -> None:
    """Write the matrices, rows in training order: row i of every file is the same video."""
    arrays = {"text_present": rows.inputs.text_present, "target": rows.target, **rows.vectors()}
    try:
        folder.mkdir()
        rows.data.rows.to_parquet(folder / "split.parquet", index=False)
        rows.inputs.metadata.to_parquet(folder / "metadata.parquet", index=False)
        if rows.inputs.provenance is not None:
            rows.inputs.provenance.to_parquet(folder / "provenance.parquet", index=False)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    except OSError as error:
        raise ConfigError(f"expected room for the matrices, got none in {folder}: {error}") from error
