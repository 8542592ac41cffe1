"""What models cost, and which of them nobody beats."""

import pytest

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.cost import FIELDS, ensemble_cost, pareto


def rows(*pairs):
    return [{"error": error, "ms_per_1000_predictions": ms} for error, ms in pairs]


def test_an_ensemble_costs_all_its_members_and_needs_the_memory_of_the_largest():
    one = dict(zip(FIELDS, (1.0, 2.0, 300.0, 4.0, 5), strict=True))
    two = dict(zip(FIELDS, (10.0, 20.0, 200.0, 40.0, 50), strict=True))
    assert ensemble_cost([one, two]) == dict(zip(FIELDS, (11.0, 22.0, 300.0, 44.0, 55), strict=True))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1.0, 9.0), (2.0, 5.0), (3.0, 1.0)], [True, True, True]),
        ([(1.0, 5.0), (2.0, 6.0)], [True, False]),  # beaten at both
        ([(1.0, 5.0), (1.0, 6.0)], [True, False]),  # as good, dearer
        ([(1.0, 5.0), (2.0, 5.0)], [True, False]),  # as cheap, worse
        ([(1.0, 5.0), (1.0, 5.0)], [True, True]),  # the same in both: neither is better
        ([(1.0, 5.0), (None, 1.0), (0.5, None)], [True, None, None]),
        ([], []),
    ],
)
def test_a_job_is_on_the_front_unless_another_is_as_good_at_both_and_better_at_one(pairs, expected):
    assert pareto(rows(*pairs), "error", RankMetric.RMSE_LOG) == expected


def test_a_larger_r2_is_the_better_one():
    assert pareto(rows((0.5, 5.0), (0.4, 5.0)), "error", RankMetric.R2_LOG) == [True, False]
