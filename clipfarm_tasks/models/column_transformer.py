"""The ``pre`` step of the scikit-learn pipelines, and the frame it reads.

``pre`` is a ColumnTransformer of exactly ``num`` and ``cat``, built from the functions of scikit-learn and NumPy alone,
so that a published pipeline unpickles without this package. It takes raw metadata: medians, log1p and scales are in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

from clipfarm_tasks.families import VECTOR_COLUMN, CategoryPreset
from clipfarm_tasks.models.inputs import F32, known_numbers


def vector_columns(prefix: str, width: int) -> list[str]:
    """Names of the vector columns, ``fused_0`` to ``fused_<width - 1>``, which no metadata column may have."""
    return [f"{prefix}_{position}" for position in range(width)]


def metadata_frame(
    metadata: pd.DataFrame, numeric_cols: Sequence[str], categorical_cols: Sequence[str]
) -> pd.DataFrame:
    """The named columns of N rows: numerics as `known_numbers`, and a missing category is NaN whatever it was."""
    numerics = pd.DataFrame(known_numbers(metadata, numeric_cols), columns=list(numeric_cols), index=metadata.index)
    categories = metadata[list(categorical_cols)].astype(object)
    return pd.concat([numerics, categories.where(categories.notna(), np.nan)], axis=1)


def with_vectors(metadata: pd.DataFrame, names: Sequence[str], vectors: F32) -> pd.DataFrame:
    """N rows of `metadata_frame`, then the named columns of (N, D) vectors: what a published pipeline reads."""
    return pd.concat([metadata, pd.DataFrame(vectors, columns=list(names), index=metadata.index)], axis=1)


def linear_columns(
    metadata: pd.DataFrame,
    numeric_cols: Sequence[str],
    log_cols: Sequence[str],
    categorical_cols: Sequence[str],
    vectors: Sequence[str],
    vector_scale: float,
    categories: CategoryPreset,
    *,
    is_held: bool,
) -> ColumnTransformer:
    """``pre`` for a linear model, fitted: numerics filled with the median, logged and scaled; categories one-hot.

    A missing category becomes the most frequent one. Vectors are multiplied by one number, not scaled by column:
    embeddings share one unit, and scaling every column to variance 1 gives noise directions the weight of signal (on
    2,800 real posts ridge then falls from R2 0.51 to 0.46, mean of four splits). So nothing is learnt from them here,
    and no frame of N rows of them is built.

    Args:
        metadata: `metadata_frame` of the N rows of the train part.
        numeric_cols: numeric columns.
        log_cols: those to take log1p of.
        categorical_cols: categorical columns.
        vectors: the D vector columns.
        vector_scale: what vectors are multiplied by.
        categories: which categories have a column of their own.
        is_held: whether numerics are held between the smallest and the largest value of these rows.
    """
    plain_cols = [name for name in numeric_cols if name not in log_cols]

    def scaled(columns: Sequence[str], *logged: FunctionTransformer) -> FrozenEstimator:
        held = [MinMaxScaler(clip=True)] if is_held else []
        return _frozen(make_pipeline(_median(), *logged, *held, StandardScaler()), metadata, columns)

    # np.dot with a number multiplies by it; np.multiply takes its second operand by position only.
    scaling = FunctionTransformer(np.dot, kw_args={"b": vector_scale}, feature_names_out="one-to-one")
    numbers = ColumnTransformer(
        [
            ("log", scaled(log_cols, *_log1p()), list(log_cols)),
            ("plain", scaled(plain_cols), plain_cols),
            ("vector", scaling, slice(vectors[0], vectors[-1])),
        ]
    )
    most_frequent = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
    one_hot = _frozen(make_pipeline(most_frequent, _one_hot(categories)), metadata, categorical_cols)
    pre = _num_and_cat(numbers, one_hot, (numeric_cols, categorical_cols, vectors))
    pre.fit(with_vectors(metadata[:1], vectors, np.zeros((1, len(vectors)), np.float32)))
    _thawed(pre)
    return pre


def tree_columns(
    numeric_cols: Sequence[str],
    log_cols: Sequence[str],
    empty_cols: Sequence[str],
    categorical_cols: Sequence[str],
    vectors: Sequence[str],
    categories: CategoryPreset,
) -> ColumnTransformer:
    """``pre`` for histogram trees: missing numerics stay NaN (trees split on them), nothing is scaled.

    ``empty_cols`` are the numerics without any value in the train part: no split can use them, and scikit-learn 1.9
    cannot bin them, so they are read and dropped. Categories, "missing" among them, are one-hot; with trees whose
    leaves hold at least ``categories.min_frequency`` rows, no split could use the column of a rarer one.
    """
    plain_cols = [name for name in numeric_cols if name not in {*log_cols, *empty_cols}]
    numbers = ColumnTransformer(
        [
            ("log", make_pipeline(*_log1p()), list(log_cols)),
            ("plain", "passthrough", plain_cols),
            ("vector", "passthrough", slice(vectors[0], vectors[-1])),
            ("empty", "drop", list(empty_cols)),
        ]
    )
    return _num_and_cat(numbers, _one_hot(categories), (numeric_cols, categorical_cols, vectors))


def columns_read(pre: ColumnTransformer) -> tuple[list[str], list[str], list[str]]:
    """The numeric, the categorical and the vector columns, in their order, that a fitted ``pre`` of here reads."""
    (_, numbers, _), (_, _, categorical_cols) = pre.transformers_
    names = numbers.feature_names_in_
    vectors = [name for name in names if VECTOR_COLUMN.fullmatch(name)]
    return list(names[: len(names) - len(vectors)]), categorical_cols, vectors


def _one_hot(categories: CategoryPreset) -> OneHotEncoder:
    # Rare and unseen categories share the last column; where no category is rare, an unseen one is all zeros.
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=categories.min_frequency,
        max_categories=categories.max_categories,
        sparse_output=False,
        dtype=np.float32,
    )


def _num_and_cat(
    numbers: ColumnTransformer,
    categories: FrozenEstimator | OneHotEncoder | Pipeline,
    columns: tuple[Sequence[str], Sequence[str], Sequence[str]],
) -> ColumnTransformer:
    """``pre`` of a frame of numeric, categorical and vector columns in this order.

    The numbers are told by a mask and their vectors by a slice: lists of thousands of names, of which a fitted
    ColumnTransformer holds three, are slow to write as skops.
    """
    numeric_cols, categorical_cols, vectors = columns
    is_number = np.repeat([True, False, True], [len(numeric_cols), len(categorical_cols), len(vectors)])
    # sparse_threshold 0: the models want dense input, and the default would decide by the share of zeros.
    return ColumnTransformer(
        [("num", numbers, is_number), ("cat", categories, list(categorical_cols))], sparse_threshold=0.0
    )


def _frozen(pipeline: Pipeline, metadata: pd.DataFrame, columns: Sequence[str]) -> FrozenEstimator | Pipeline:
    # A ColumnTransformer neither fits nor calls a step without columns.
    return FrozenEstimator(pipeline.fit(metadata[list(columns)])) if columns else pipeline


def _thawed(step: Any) -> Any:
    """With what was frozen as an ordinary fit leaves it: a clone of it would keep its statistics when fitted anew."""
    if isinstance(step, FrozenEstimator):
        return step.estimator
    if isinstance(step, ColumnTransformer):
        for attribute in {"transformers", "transformers_"} & vars(step).keys():
            steps = [(name, _thawed(inner), columns) for name, inner, columns in getattr(step, attribute)]
            setattr(step, attribute, steps)
    return step


def _median() -> SimpleImputer:
    # keep_empty_features: a column without any value in the train part becomes 0 and does not vanish.
    return SimpleImputer(strategy="median", keep_empty_features=True)


def _log1p() -> tuple[FunctionTransformer, FunctionTransformer]:
    # No train value of a logged column is negative, but a later row may hold one: log1p of it would be NaN.
    clip = FunctionTransformer(np.clip, kw_args={"a_min": 0.0, "a_max": None}, feature_names_out="one-to-one")
    return clip, FunctionTransformer(np.log1p, feature_names_out="one-to-one")
