"""How many unusable rows a run accepts."""

import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason, check_fraction, count_by_reason, quarantine_all


def some(count, reason=Reason.MISSING_OBJECT):
    return quarantine_all(
        [f"v{i}" for i in range(count)], "key.npz", BadVectorError(reason, "expected a shard, got none")
    )


@pytest.mark.parametrize(("count", "total", "limit"), [(0, 0, 0.0), (5, 100, 0.05), (100, 100, 1.0)])
def test_up_to_the_limit_is_accepted(count, total, limit):
    check_fraction(some(count), total, limit, "fused_concat")


@pytest.mark.parametrize(("count", "total", "limit"), [(6, 100, 0.05), (1, 1000, 0.0)])
def test_above_the_limit_fails_naming_counts_reasons_and_an_example(count, total, limit):
    message = (
        f"max_quarantined_fraction = {limit:g} .* got {count} of {total} .missing_object {count}; first: v0, key.npz"
    )
    with pytest.raises(DataError, match=message):
        check_fraction(some(count), total, limit, "fused_concat")


def test_counts_by_reason():
    mixed = some(2, Reason.NOT_FINITE) + some(1, Reason.EMPTY_OBJECT)
    assert count_by_reason(mixed) == {"empty_object": 1, "not_finite": 2}
