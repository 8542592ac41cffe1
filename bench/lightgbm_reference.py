"""What a user would pick instead: LightGBM on the rows of a finished run, beside the run's own models.

``python -m bench.lightgbm_reference RUN_ID`` needs ``pip install lightgbm``, which is no dependency of the project, and
the bucket of the environment. LightGBM sees log counts, the categories and all raw vectors, learns from the train part
of the run's own split manifest, stops early on the val part, and is the mean of three seeds.
"""

import sys
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.errors import ClipfarmError, ConfigError
from clipfarm_tasks.evaluation.bootstrap import interval, resampled_metrics
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.log_counts import with_logs
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.snapshot_folder import predictions_of
from clipfarm_tasks.steps.training_rows import TrainingRows, training_rows
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.storage.success_marker import read_marker

SEEDS = (0, 1, 2)
NAME = "lightgbm"


def features(rows: TrainingRows) -> F32:
    """(N, F) float32 in training order: numerics with counts as log1p, categories as numbers, raw vectors."""
    spec, metadata = rows.data.spec, rows.inputs.metadata
    numeric_cols = [name for name in spec.numeric_cols if name not in COMPUTED_NAMES]
    numbers = with_logs(metadata, numeric_cols, (rows.data.rows["split"] == "train").to_numpy())
    codes = [metadata[name].astype("category").cat.codes.replace(-1, np.nan) for name in spec.categorical_cols]
    vectors = [part for part in (rows.inputs.video, rows.inputs.audio, rows.inputs.text) if part is not None]
    return np.column_stack([numbers, *codes, *vectors]).astype(np.float32)


def predict_test(rows: TrainingRows) -> F64:
    """Predictions of ``target_log`` for the test part, the mean over `SEEDS`.

    Raises:
        ConfigError: lightgbm is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError("expected the package lightgbm, got none: .venv/bin/pip install lightgbm") from error
    split = rows.data.rows["split"].to_numpy()
    train, val, test = (split == part for part in ("train", "val", "test"))
    matrix, target = features(rows), rows.target
    predicted = np.zeros(int(test.sum()))
    for seed in SEEDS:
        model = lightgbm.LGBMRegressor(
            n_estimators=2000, learning_rate=0.03, subsample=0.8, subsample_freq=1, colsample_bytree=0.5,
            random_state=seed, n_jobs=1, verbose=-1,
        )  # fmt: skip
        stop = lightgbm.early_stopping(50, verbose=False)
        model.fit(matrix[train], target[train], eval_set=[(matrix[val], target[val])], callbacks=[stop])
        predicted += model.predict(matrix[test]) / len(SEEDS)
    return predicted


def compare(context: StepContext, strategy: Strategy, horizon: Horizon) -> Table:
    """Test RMSE of LightGBM and of the pair's finished jobs, and each job's ratio to it with its 95 % interval."""
    rows = training_rows(context, strategy, horizon, Family.CONCAT_MLP, Family.GATED_FUSION_MLP)
    test = rows.manifest_of("test")
    predicted: dict[str, F64] = {NAME: predict_test(rows)}
    for model in context.config.models:
        prefix = keys.job_snapshot(context.run_id, model, strategy, horizon)
        marker = read_marker(context.store, prefix, context.config.digest)
        if marker is not None:
            frame = predictions_of(context.store, prefix, marker)["test"].set_index("video_id")
            predicted[model] = frame.loc[test["video_id"], f"pred_{model}_log"].to_numpy(np.float64)
    truth = test["target_log"].to_numpy(np.float64)
    samples = resampled_metrics(truth, predicted, test["creator"], context.params.seed)
    errors = {name: float(np.sqrt(np.mean((values - truth) ** 2))) for name, values in predicted.items()}
    table = Table("model", "test rmse_log", "ratio", "95 %", title=f"{strategy}, {int(horizon)} days", box=None)
    for name in sorted(errors, key=errors.__getitem__):
        within = interval(samples[name]["rmse_log"] / samples[NAME]["rmse_log"])
        ends = "-" if within is None else f"{within.low:.3f}-{within.high:.3f}"
        table.add_row(name, f"{errors[name]:.3f}", f"{errors[name] / errors[NAME]:.3f}", ends)
    return table


def main(
    run_id: Annotated[str, typer.Argument(help="Id of a finished run")],
    strategy: Annotated[Strategy, typer.Option(help="Fusion strategy of the pair")] = Strategy.CONCAT,
    horizon: Annotated[int, typer.Option(help="Horizon of the pair, days")] = int(Horizon.D7),
) -> None:
    """Compare a finished pair with LightGBM on the same rows."""
    settings = Settings.from_environment()
    store = open_store(settings)
    try:
        context = StepContext(store, settings, load_config(store, run_id))
        Console().print(compare(context, strategy, Horizon(horizon)))
    except ClipfarmError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    typer.run(main)
