"""What a user would pick instead of the families: LightGBM on the same rows; see `bench.pooled_quality`.

It sees log counts, the categories and all raw vectors, learns from the train part, stops early on the val part, and is
the mean of three seeds.
"""

import numpy as np

from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.log_counts import with_logs
from clipfarm_tasks.steps.training_rows import TrainingRows

SEEDS = (0, 1, 2)


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
