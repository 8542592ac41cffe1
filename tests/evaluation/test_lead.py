"""Which job leads a horizon."""

import pytest

from clipfarm_tasks.config import LeadAmongTies
from clipfarm_tasks.evaluation.lead import lead


def row(model, standing, ms):
    return {"fusion_strategy": "concat", "model": model, "against_best": standing, "ms_per_1000_predictions": ms}


ROWS = [
    row("ensemble", "best", 50.0),
    row("gbdt", "tie", 30.0),
    row("concat_mlp", "tie", 9.0),
    row("gated_fusion_mlp", "better", 2.0),
    row("ridge", "worse", 1.0),
]


@pytest.mark.parametrize(
    ("policy", "model", "why"),
    [
        (LeadAmongTies.BEST, "ensemble", "best by the rank metric"),
        # Neither what is surely worse nor what only the test part puts first, cheap as they are.
        (LeadAmongTies.CHEAPEST, "concat_mlp", "cheapest to serve"),
    ],
)
def test_the_param_says_who_leads_among_ties(policy, model, why):
    assert lead(ROWS, policy) == {"fusion_strategy": "concat", "model": model, "ties": 2, "why": why}


def test_without_ties_the_best_leads_whatever_it_costs():
    found = lead([ROWS[0], ROWS[4]], LeadAmongTies.CHEAPEST)
    assert (found["model"], found["ties"], found["why"]) == ("ensemble", 0, "best by the rank metric")


def test_of_equal_costs_the_best_leads():
    assert lead([row("gbdt", "best", 9.0), ROWS[2]], LeadAmongTies.CHEAPEST)["model"] == "gbdt"


def test_a_cost_that_nobody_knows_leaves_the_best_in_the_lead():
    found = lead([ROWS[0], row("gbdt", "tie", None), ROWS[2]], LeadAmongTies.CHEAPEST)
    assert (found["model"], found["why"]) == ("ensemble", "cost of serving unknown")


def test_nobody_leads_where_nobody_is_best():
    assert lead([row("ridge", None, 1.0)], LeadAmongTies.BEST) is None
