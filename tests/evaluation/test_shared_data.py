"""Jobs of a pair are compared only if they saw the same."""

import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.shared_data import require_shared_data
from clipfarm_tasks.families import Family


def digests(**changed):
    """Of all families: the fused vector for some of them, the modalities for the others, one target."""
    seen = {family: {"features": "fused", "target": "t"} for family in Family}
    for family in (Family.GATED_FUSION_MLP, Family.KERNEL):
        seen[family] = {"features": "modalities", "target": "t"}
    for family, change in changed.items():
        seen[Family(family)] = seen[Family(family)] | change
    return seen


def test_families_that_see_other_vectors_may_have_other_features():
    require_shared_data(digests(), "here")


def test_families_that_see_the_same_vectors_must_have_the_same_features():
    with pytest.raises(
        DataError, match=r"expected kernel to be trained on the same features as gated_fusion_mlp .*other"
    ):
        require_shared_data(digests(kernel={"features": "other"}), "here")
    with pytest.raises(DataError, match=r"expected gbdt to be trained on the same features as concat_mlp .* got other"):
        require_shared_data(digests(gbdt={"features": "other"}), "here")


def test_all_families_must_have_the_same_target():
    with pytest.raises(DataError, match=r"expected gated_fusion_mlp to be trained on the same target .*, here: start"):
        require_shared_data(digests(gated_fusion_mlp={"target": "u"}), "here")
