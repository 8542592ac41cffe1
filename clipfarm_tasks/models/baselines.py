"""What a reader would guess without this project: naive means, and two models that take twenty lines.

They stand beside the families on the leaderboard, so that a metric says what it is worth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from clipfarm_tasks.families import Baseline
from clipfarm_tasks.models.column_transformer import metadata_frame
from clipfarm_tasks.models.creator_history import CreatorHistory
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32, F64
from clipfarm_tasks.models.log_counts import with_logs

_MOST_ROWS = 10_000  # of a part: each value takes scikit-learn about 24 bytes, three vectors of 768 0.6 GB in all
_MOST_TREES = 500
# A third of the time of scikit-learn's 255 where there are thousands of columns, for the same error on real posts.
_BINS = 63
_MOST_CATEGORIES = _BINS  # what the trees can tell apart; rarer ones share the last


@dataclass(frozen=True)
class BaselineRows:
    """N videos of one horizon, all parts together.

    Attributes:
        split: (N,) object: train, val or test.
        target: (N,) float64 target_log.
        provenance: N rows as `ModelInputs.provenance`.
        metadata: N rows of the feature columns.
        vectors: (N, D) float32 of each modality; they are read in blocks of rows.
        learnable: (N,) whether naive guesses of the test part may learn a label: what refitted models learn from.
    """

    split: NDArray[np.object_]
    target: F64
    provenance: pd.DataFrame
    metadata: pd.DataFrame
    vectors: tuple[F32, ...]
    learnable: NDArray[np.bool_]


def baseline_predictions(
    rows: BaselineRows, numeric_cols: tuple[str, ...], categorical_cols: tuple[str, ...], seed: int, threads: int
) -> dict[Baseline, F64]:
    """(N,) predictions of target_log by every baseline; all that is learnt comes from the train part.

    Naive guesses of the test part learn from what refitted models learn from, so that skill compares like with like.
    Plain trees predict val and test alone (NaN for train): to read all vectors again would take long, and nobody asks.

    Args:
        rows: the videos.
        numeric_cols: numeric columns of the metadata.
        categorical_cols: categorical columns of the metadata.
        seed: of the trees.
        threads: CPU threads.
    """
    with threadpool_limits(threads):
        return {
            **cheap_predictions(rows, numeric_cols),
            Baseline.PLAIN_TREES: _trees(rows, numeric_cols, categorical_cols, seed),
        }


def cheap_predictions(rows: BaselineRows, numeric_cols: tuple[str, ...]) -> dict[Baseline, F64]:
    """(N,) predictions of target_log by the baselines that read no vectors; see `baseline_predictions`."""
    return {
        Baseline.TRAIN_MEAN: _naive(rows, lambda learnt: np.full(len(rows.target), rows.target[learnt].mean())),
        Baseline.CREATOR_MEAN: _naive(rows, lambda learnt: creator_means(rows, learnt)),
        Baseline.RIDGE_LOG_COUNTS: _ridge(rows, numeric_cols),
    }


def _naive(rows: BaselineRows, guess: Callable[[NDArray[np.bool_]], F64]) -> F64:
    """(N,) a guess from the train part; of the test part, from all that may be learnt."""
    return np.where(rows.split == "test", guess(rows.learnable), guess(rows.split == "train"))


def creator_means(rows: BaselineRows, learnt: NDArray[np.bool_]) -> F64:
    """(N,) smoothed mean of the creator's labels, among those learnt from, that were known; see `CreatorHistory`."""
    means: F64 = CreatorHistory.fit(rows.provenance[learnt], rows.target[learnt])(rows.provenance)[:, 1]
    return means


def _ridge(rows: BaselineRows, numeric_cols: tuple[str, ...]) -> F64:
    """RidgeCV on the numeric columns alone, counts as log1p."""
    is_train = rows.split == "train"
    if not numeric_cols:
        return np.full(len(rows.target), rows.target[is_train].mean())
    values = with_logs(rows.metadata, numeric_cols, is_train)
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))
    )
    predicted: F64 = model.fit(values[is_train], rows.target[is_train]).predict(values)
    return predicted


def _trees(rows: BaselineRows, numeric_cols: tuple[str, ...], categorical_cols: tuple[str, ...], seed: int) -> F64:
    """HistGradientBoosting on metadata and raw vectors, as scikit-learn sets it but for fewer bins, and val stops it.

    Beyond 10,000 rows of a part it learns from some of them: it is a measure, not a model to be served.
    """
    is_train = rows.split == "train"
    frame = metadata_frame(rows.metadata, numeric_cols, categorical_cols)
    texts = frame[list(categorical_cols)]
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=_MOST_CATEGORIES,
    )
    categories = encoder.fit(texts[is_train]).transform(texts) if categorical_cols else np.empty((len(texts), 0))
    metadata = np.hstack([frame[list(numeric_cols)].to_numpy(), categories]).astype(np.float32)
    usable = ~np.isnan(metadata[is_train]).all(axis=0)  # scikit-learn 1.9 cannot bin a column without any value
    metadata, is_category = metadata[:, usable], (np.arange(len(usable)) >= len(numeric_cols))[usable]

    def features(chosen: NDArray[np.int64]) -> F32:
        return np.hstack([metadata[chosen], *(vectors[chosen] for vectors in rows.vectors)])

    rng = np.random.default_rng(seed)
    train, val = (_some(np.flatnonzero(part), rng) for part in (is_train, rows.split == "val"))
    width = sum(vectors.shape[1] for vectors in rows.vectors)
    model = HistGradientBoostingRegressor(
        categorical_features=np.append(is_category, np.zeros(width, np.bool_)),
        early_stopping=True,
        max_bins=_BINS,
        max_iter=_MOST_TREES,
        random_state=seed,
    ).fit(features(train), rows.target[train], X_val=features(val), y_val=rows.target[val])
    predicted = np.full(len(rows.target), np.nan)
    asked = np.flatnonzero(~is_train)
    for start in range(0, len(asked), BLOCK_ROWS):
        block = asked[start : start + BLOCK_ROWS]
        predicted[block] = model.predict(features(block))
    return predicted


def _some(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """At most so many rows that trees of raw vectors fit into memory, in their order."""
    return rows if len(rows) <= _MOST_ROWS else np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
