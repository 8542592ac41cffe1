"""How good the models are on many splits of one run's videos, beside LightGBM: the table of docs/quality.md.

``python -m bench.pooled_quality RUN_ID FOLDER`` needs ``pip install lightgbm``, which is no dependency of the project,
the bucket of the environment, and a run that went as far as ``build_split``. The run's videos are dealt anew: at random
and by creator with several seeds, and chronologically in windows whose test parts follow each other. On every split the
families, their ensemble and LightGBM learn from the same rows and predict the same test part; errors are pooled over
the splits of a kind. FOLDER keeps the predictions of each split: what is there is not fitted again, and several
processes may share the work by ``--kind``.
"""

import dataclasses
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import lightgbm_reference
from clipfarm_tasks.code_version import source_sha256
from clipfarm_tasks.config import Settings, SplitStrategy
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.split import Part, split_rows
from clipfarm_tasks.errors import ClipfarmError, ConfigError, DataError
from clipfarm_tasks.evaluation.bootstrap import Interval, interval, resampled_metrics, spearman
from clipfarm_tasks.evaluation.conformal import fit_intervals
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.families import ENSEMBLE, PRESETS, Baseline, Family, Horizon, Strategy
from clipfarm_tasks.models.baselines import BaselineRows, baseline_predictions
from clipfarm_tasks.models.ensemble import blend, blend_weights
from clipfarm_tasks.models.inputs import taken
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.train import fit_and_predict
from clipfarm_tasks.steps.training_rows import TrainingRows, may_be_learnt, training_rows
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.memory_or_disk import MemoryOrDisk

log = logging.getLogger(__name__)

SEEDS = {SplitStrategy.RANDOM: 5, SplitStrategy.CHRONOLOGICAL: 3, SplitStrategy.CREATOR: 3}
REFERENCE = "lightgbm"
_ROW_COLUMNS = ("video_id", "split", "creator", "target_log")


@dataclasses.dataclass(frozen=True)
class Split:
    """One way to deal the videos: by seed, or chronologically by window: 0 has all, the next what 0 does not test."""

    kind: SplitStrategy
    number: int

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.kind}_{self.number}"


def splits(kind: SplitStrategy) -> list[Split]:
    """All splits of this kind."""
    return [Split(kind, number) for number in range(SEEDS[kind])]


def dealt(context: StepContext, rows: TrainingRows, split: Split, horizon: Horizon) -> tuple[StepContext, TrainingRows]:
    """The run's rows in the parts of another split, and the run as if it had asked for it.

    Raises:
        DataError: nobody knows when the rows were captured, or they are too few to be split.
    """
    seed = context.params.seed if split.kind is SplitStrategy.CHRONOLOGICAL else split.number
    params = context.params.model_copy(update={"split_strategy": split.kind, "seed": seed})
    manifest = rows.data.rows
    provenance = rows.inputs.provenance
    if provenance is None:
        raise DataError("expected a run of feature set v3, whose rows know their capture times, got one of another")
    times = provenance["captured_at"]
    frame = manifest.assign(captured_at=times.astype(str).to_numpy(object))
    inside = np.arange(len(manifest))
    parts = split_rows(frame, params, horizon, split.name)
    for _ in range(split.number if split.kind is SplitStrategy.CHRONOLOGICAL else 0):
        inside = inside[parts != Part.TEST]  # of the window before
        parts = split_rows(frame.iloc[inside], params, horizon, split.name)
    chosen = np.concatenate([np.sort(inside[parts == part]) for part in Part])
    sizes = [int((parts == part).sum()) for part in Part]
    data = dataclasses.replace(
        rows.data,
        rows=manifest.iloc[chosen].assign(split=np.repeat(list(map(str, Part)), sizes)).reset_index(drop=True),
    )
    inputs = taken(rows.inputs, chosen, MemoryOrDisk(context.settings.train_memory_mib))
    config = context.config.model_copy(update={"params": params})
    return dataclasses.replace(context, config=config), TrainingRows(
        inputs, rows.target[chosen], data, rows.learnt_cols
    )


def judge(
    context: StepContext, rows: TrainingRows, horizon: Horizon, families: list[Family], known: pd.DataFrame
) -> pd.DataFrame:
    """Predictions of val and test by every model, one row each: part, creator, target, and a column by model.

    Args:
        context: the run.
        rows: dealt.
        horizon: days.
        families: to fit.
        known: what an earlier call returned for the same rows; empty: nothing. Its columns are not fitted again.

    Raises:
        DataError: ``known`` is about other rows.
        ConfigError: lightgbm is not installed.
    """
    held_out = pd.concat([rows.manifest_of("val"), rows.manifest_of("test")], ignore_index=True)
    found = held_out[list(_ROW_COLUMNS)].copy()
    if len(known) and not known[["video_id", "split"]].equals(found[["video_id", "split"]]):
        raise DataError(
            "expected predictions of the videos of this split, got those of other videos: they were dealt by another "
            "run or another version; delete the file"
        )
    is_test = (found["split"] == Part.TEST).to_numpy()
    for name in known.columns.difference(found.columns):
        found[name] = known[name].to_numpy()
    if REFERENCE not in found:
        found[REFERENCE] = np.nan
        found.loc[is_test, REFERENCE] = lightgbm_reference.predict_test(rows)
    if Baseline.TRAIN_MEAN not in found:
        for name, values in _baselines(context, rows, horizon).items():
            found[str(name)] = values[rows.data.rows["split"] != Part.TRAIN]
    for family in families:
        if family not in found:
            start = time.perf_counter()
            fitted = fit_and_predict(context, rows, horizon, family)
            found[str(family)] = np.concatenate([fitted.val, fitted.test]).astype(np.float64)
            log.info("%s in %.1f s", family, time.perf_counter() - start)
    return found


def _baselines(context: StepContext, rows: TrainingRows, horizon: Horizon) -> dict[Baseline, F64]:
    inputs, spec = rows.inputs, rows.data.spec
    known = BaselineRows(
        split=rows.data.rows["split"].to_numpy(dtype=object),
        target=rows.target.astype(np.float64),
        provenance=inputs.provenance,
        metadata=inputs.metadata,
        vectors=tuple(vectors for vectors in (inputs.video, inputs.audio, inputs.text) if vectors is not None),
        learnable=may_be_learnt(context, horizon, rows.data.rows),
    )
    numeric_cols = tuple(name for name in spec.numeric_cols if name not in COMPUTED_NAMES)
    settings = context.settings
    return baseline_predictions(known, numeric_cols, spec.categorical_cols, context.params.seed, settings.train_threads)


def blended(predictions: pd.DataFrame, members: Sequence[Family]) -> F64:
    """(N,) the ensemble of these members, with weights from the val part; its own val part is of no use here."""
    values, is_val = predictions[list(map(str, members))].to_numpy(), (predictions["split"] == Part.VAL).to_numpy()
    return blend(values.T, blend_weights(values[is_val], predictions["target_log"].to_numpy()[is_val]))


def pooled_table(
    kind: SplitStrategy, found: Sequence[pd.DataFrame], ensembles: Mapping[str, Sequence[Family]]
) -> Table:
    """Every model on the test parts of all splits of a kind together, beside LightGBM, with 95 % intervals.

    Videos of one creator are one cluster of the bootstrap, in whatever split they were tested.
    """
    found = [each.assign(**{name: blended(each, members) for name, members in ensembles.items()}) for each in found]
    names = [name for name in found[0].columns if name not in _ROW_COLUMNS]
    tests = [each[each["split"] == Part.TEST] for each in found]
    test = pd.concat(tests, ignore_index=True)
    truth = test["target_log"].to_numpy()
    samples = resampled_metrics(truth, {name: test[name] for name in names}, test["creator"], seed=0)
    errors = {name: float(np.sqrt(np.mean((test[name] - truth) ** 2))) for name in names}
    title = f"{kind}: {len(found)} splits, {len(test)} test rows"
    table = Table(
        "model", "rmse_log", "ratio to LightGBM", "r2_log", "spearman", "coverage of 80 %", title=title, box=None
    )
    for name in sorted(names, key=errors.__getitem__):
        ratio = interval(samples[name]["rmse_log"] / samples[REFERENCE]["rmse_log"])
        inside = [within for each in found if (within := _inside(each, name)) is not None]
        table.add_row(
            name,
            _told(errors[name], interval(samples[name]["rmse_log"])),
            _told(errors[name] / errors[REFERENCE], ratio),
            _told(1 - errors[name] ** 2 / float(np.var(truth)), interval(samples[name]["r2_log"])),
            _told(spearman(truth, test[name]), interval(samples[name]["spearman"])),
            f"{np.concatenate(inside).mean():.3f}" if inside else "-",
        )
    return table


def _inside(predictions: pd.DataFrame, name: str) -> NDArray[np.bool_] | None:
    """Which test labels are inside their intervals; None for a model that did not predict the val part."""
    val, test = (predictions[predictions["split"] == part] for part in (Part.VAL, Part.TEST))
    if val[name].isna().any():
        return None
    model = fit_intervals(val["target_log"].to_numpy(), val[name].to_numpy())
    low, high = model.bounds_log(test[name].to_numpy())
    inside: NDArray[np.bool_] = ((low <= test["target_log"]) & (test["target_log"] <= high)).to_numpy()
    return inside


def _told(value: float, within: Interval | None) -> str:
    return f"{value:.3f}" + ("" if within is None else f" [{within.low:.3f}, {within.high:.3f}]")


def _known(path: Path, made_by: Mapping[str, str]) -> pd.DataFrame:
    """What an earlier call kept.

    Raises:
        ConfigError: it was made of another run, or by other code.
    """
    known = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    if path.exists() and known.attrs != made_by:
        raise ConfigError(f"expected predictions of this run by this code, got others, in {path}: take another folder")
    return known


def main(
    run_id: Annotated[str, typer.Argument(help="Id of a run that went as far as build_split")],
    folder: Annotated[Path, typer.Argument(help="Where the predictions of each split are kept")],
    strategy: Annotated[Strategy, typer.Option(help="Fusion strategy of the pair")] = Strategy.CONCAT,
    horizon: Annotated[int, typer.Option(help="Horizon of the pair, days")] = int(Horizon.D7),
    kind: Annotated[list[SplitStrategy], typer.Option(help="Kinds of split")] = list(SplitStrategy),
    model: Annotated[list[Family], typer.Option(help="Families to fit")] = list(Family),
) -> None:
    """Fit what is missing in FOLDER, and print the pooled table of each kind of split."""
    logging.basicConfig()
    log.setLevel(logging.INFO)  # of this module alone: a split takes minutes
    settings = Settings.from_environment()
    store, days = open_store(settings), Horizon(horizon)
    folder.mkdir(parents=True, exist_ok=True)
    defaults = [family for family in model if PRESETS[family].is_default]
    ensembles = {ENSEMBLE: defaults, f"{ENSEMBLE} of {len(model)}": model if model != defaults else []}
    ensembles = {name: members for name, members in ensembles.items() if len(members) > 1}
    try:
        context = StepContext(store, settings, load_config(store, run_id))
        rows = training_rows(context, strategy, days, *Family)
        made_by = {"config": context.config.digest, "source": source_sha256()}
        for each in kind:
            found = []
            for split in splits(each):
                path = folder / f"{split.name}.parquet"
                found.append(judge(*dealt(context, rows, split, days), days, model, _known(path, made_by)))
                found[-1].attrs = made_by
                found[-1].to_parquet(path)
            Console(width=160).print(pooled_table(each, found, ensembles))
    except ClipfarmError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
