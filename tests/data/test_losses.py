"""What a run may lose, and what it is told when it lost more."""

import pytest

from clipfarm_tasks.data.losses import check_lost, check_text
from clipfarm_tasks.errors import DataError


def test_as_many_as_the_limit_may_be_lost():
    check_lost({"no_fused_vector": 15, "no_modality_vectors": 5}, 100, 0.2, "here")
    with pytest.raises(
        DataError,
        match=r"expected at most max_lost_fraction = 0.2 of the rows or labelled videos lost, got 21 of 100 "
        r"\(no_fused_vector 15, no_modality_vectors 6\), in here",
    ):
        check_lost({"no_modality_vectors": 6, "no_fused_vector": 15}, 100, 0.2, "here")


def test_nothing_lost_passes_whatever_the_limit():
    check_lost({}, 100, 0, "here")


@pytest.mark.parametrize("before", [None, 0.0, 0.5])
def test_text_vectors_that_the_manifests_name_may_be_missing_up_to_the_limit(before):
    check_text(40, 50, 80, before, 0.2, "modalities")
    with pytest.raises(DataError, match="that the manifests name to be missing, got 11 of 50 missing, in modalities"):
        check_text(39, 50, 80, before, 0.2, "modalities")


def test_text_of_the_last_complete_run_may_be_lost_up_to_the_limit():
    check_text(64, 64, 100, 0.8, 0.2, "modalities")
    with pytest.raises(DataError, match=r"80.0% of the videos had a text vector, got 63 of 100 \(63.0%\), in m"):
        check_text(63, 63, 100, 0.8, 0.2, "modalities")


def test_without_any_text_there_is_nothing_to_lose():
    check_text(0, 0, 50, None, 0.2, "modalities")
    check_text(0, 0, 50, 0.0, 0.0, "modalities")
