"""importance.json: how much worse a model predicts when a part of what it sees belongs to other videos.

Permutation importance (Breiman 2001, section 10; Fisher et al. 2019), by blocks: features that say the same thing
replace each other, so that each of them alone seems to be worth nothing. It tells what this model uses, not what the
views depend on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.data.computed_features import BLOCKS, LEARNT
from clipfarm_tasks.data.feature_blocks import Block, block_of
from clipfarm_tasks.data.features import FeatureSpec
from clipfarm_tasks.families import Modality
from clipfarm_tasks.models.inputs import F32, I64, ModelInputs, taken

TOP = 20
FUSED = "fused"
TEXT_NEIGHBOURS, CREATOR_HISTORY = LEARNT


class Effort(NamedTuple):
    """How many test rows are looked at, at most, how often they are permuted, and how many parts a call predicts."""

    rows: int
    repeats: int
    together: int


BLOCK_EFFORT = Effort(rows=256, repeats=3, together=1)
FEATURE_EFFORT = Effort(rows=128, repeats=2, together=8)
"""There are many single features, and of most of them nobody wants to know more than that they are not large.

A call of a pipeline of 2,305 columns takes 25 ms beside 0.05 ms for each row, so that several features share one.
"""


@dataclass(frozen=True)
class Permuted:
    """What is permuted together.

    Attributes:
        name: of the block or the feature.
        columns: metadata columns.
        vectors: columns of each vector array, by its name.
        text_present: whether the flag goes along.
        provenance: whether creator and times are permuted, from which a history follows.
    """

    name: str
    columns: Sequence[str] = ()
    vectors: Mapping[str, slice] = field(default_factory=dict)
    text_present: bool = False
    provenance: bool = False


def blocks_of(inputs: ModelInputs, spec: FeatureSpec, widths: Mapping[Modality, int] | None) -> list[Permuted]:
    """The blocks of what a family sees: its vectors, the numeric features by `Block`, each category.

    Args:
        inputs: the rows, with the vectors that the family sees.
        spec: the feature columns.
        widths: of each modality in the fused vector, where they lie in it one after the other; None where they are
            mixed, as in sum and max pooling, or unknown: then the fused vector is one block.
    """
    numeric: dict[str, list[str]] = {block: [] for block in Block}
    for name in spec.numeric_cols:
        numeric[block_of(name, BLOCKS)].append(name)
    return [
        *_vector_blocks(inputs, widths),
        *(Permuted(name, columns) for name, columns in numeric.items() if columns),
        *(Permuted(name, [name]) for name in spec.categorical_cols),
        *([Permuted(CREATOR_HISTORY, provenance=True)] if inputs.provenance is not None else []),
    ]


def importance(
    predict: Callable[[ModelInputs], F32], inputs: ModelInputs, target: F32, blocks: Sequence[Permuted], seed: int
) -> dict[str, Any]:
    """How much each block and each single metadata feature is worth to a fitted model.

    Args:
        predict: of the model; (n,) for n rows.
        inputs: N rows that the model has not learnt from.
        target: (N,) their labels.
        blocks: see `blocks_of`.
        seed: of the sample of rows and of the permutations.

    Returns:
        JSON-safe: ``blocks`` and ``features`` (the `TOP` metadata columns by mean), largest first, each with ``name``,
        ``mean`` and ``std`` (over the repeats) of the rise of the RMSE in log space; and of how many rows and repeats.
    """
    singles = [Permuted(name, [name]) for name in inputs.metadata.columns]
    features = _rises(predict, inputs, target, singles, FEATURE_EFFORT, seed)
    return {
        "metric": "rmse_log",
        "blocks": _rises(predict, inputs, target, blocks, BLOCK_EFFORT, seed),
        "block_rows": min(len(inputs), BLOCK_EFFORT.rows),
        "block_repeats": BLOCK_EFFORT.repeats,
        "features": features[:TOP],
        "feature_rows": min(len(inputs), FEATURE_EFFORT.rows),
        "feature_repeats": FEATURE_EFFORT.repeats,
    }


def _vector_blocks(inputs: ModelInputs, widths: Mapping[Modality, int] | None) -> list[Permuted]:
    vectors = {str(name): {str(name): slice(None)} for name in Modality if getattr(inputs, name) is not None}
    if inputs.fused is not None:
        # Of the modalities such a family sees the text alone, for the columns that are learnt from it.
        if widths is None or sum(widths.values()) > inputs.fused.shape[1]:
            vectors = dict(zip((TEXT_NEIGHBOURS,), vectors.values(), strict=False)) | {FUSED: {FUSED: slice(None)}}
        else:
            ends = np.cumsum([widths[modality] for modality in Modality])
            # What follows the text is the mask, which says whether there is one.
            bounds = zip(Modality, (0, *ends[:-1]), (*ends[:-1], inputs.fused.shape[1]), strict=True)
            vectors = {str(name): vectors.get(name, {}) | {FUSED: slice(start, stop)} for name, start, stop in bounds}
    text = str(Modality.TEXT)
    return [Permuted(name, vectors=columns, text_present=text in columns) for name, columns in vectors.items()]


def _rises(
    predict: Callable[[ModelInputs], F32],
    inputs: ModelInputs,
    target: F32,
    permuted: Sequence[Permuted],
    effort: Effort,
    seed: int,
) -> list[dict[str, Any]]:
    """Of each, name, mean and std; largest mean first. All are permuted by the same orders of the same rows."""
    rng = np.random.default_rng(seed)
    n = min(len(inputs), effort.rows)
    chosen: I64 = np.sort(rng.choice(len(inputs), n, replace=False))
    order = np.concatenate([start + rng.permutation(n) for start in range(0, n * effort.repeats, n)])
    copies = effort.repeats * min(effort.together, max(1, len(permuted)))
    stacked = taken(inputs, np.tile(chosen, copies), lambda _, shape: np.empty(shape, np.float32))
    labels = target[chosen].astype(np.float64)
    base = _rmse(predict(stacked.slice(0, n)), labels)
    found = []
    for first in range(0, len(permuted), effort.together):
        group = permuted[first : first + effort.together]
        rows = _with_permuted(stacked.slice(0, len(group) * len(order)), group, order)
        for one, predicted in zip(group, predict(rows).reshape(len(group), effort.repeats, n), strict=True):
            rises = np.array([_rmse(values, labels) for values in predicted]) - base
            found.append({"name": str(one.name), "mean": float(rises.mean()), "std": float(rises.std(ddof=1))})
    return sorted(found, key=lambda one: (-one["mean"], one["name"]))


def _with_permuted(rows: ModelInputs, group: Sequence[Permuted], order: NDArray[np.int64]) -> ModelInputs:
    """A copy of G times the rows of an order, the g-th of them with the g-th part of the group permuted."""
    arrays: dict[str, F32] = {}
    metadata: dict[str, NDArray[Any]] = {}
    creators = np.arange(len(rows))
    for start, one in zip(range(0, len(rows), len(order)), group, strict=True):
        part = slice(start, start + len(order))
        for name, columns in one.vectors.items():
            array = arrays.setdefault(name, getattr(rows, name).copy())
            array[part, columns] = getattr(rows, name)[part][order, columns]
        if one.text_present:
            arrays.setdefault("text_present", rows.text_present.copy())[part] = rows.text_present[part][order]
        if one.provenance:
            creators[part] = start + order
        for name in one.columns:
            values = rows.metadata[name].to_numpy()
            metadata.setdefault(name, values.copy())[part] = values[part][order]
    provenance = None if rows.provenance is None else rows.provenance.iloc[creators].reset_index(drop=True)
    return replace(rows, metadata=rows.metadata.assign(**metadata), provenance=provenance, **arrays)


def _rmse(predicted: F32, labels: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((predicted - labels) ** 2)))
