from clipfarm_tasks.evaluation.limits import judge
from clipfarm_tasks.slice_limits import parse_limit

GOOD = {"n": 30, "rmse_log": 2.0, "rmse_log_interval": [1.8, 2.2], "coverage": None}
SLICES = {
    "least_rows": 20,
    "models": {"ridge": {"val": {}, "test": {"text_present": {"1": GOOD, "0": {"n": 7}}, "query": {"cats": GOOD}}}},
}


def judged(*texts, document=SLICES):
    found = judge(document, "ridge", [parse_limit(text) for text in texts])
    return found.broken, found.unjudged


def test_only_what_is_beyond_its_limit_is_broken():
    assert judged("text_present=1:rmse_log<=2.0", "query=cats:rmse_log<=1.9") == (
        ["query=cats has rmse_log 2.000 (1.800 to 2.200, 30 rows), limit query=cats:rmse_log<=1.9"],
        [],
    )


def test_what_has_no_interval_is_told_without_one():
    narrow, unsure = GOOD | {"coverage": 0.7}, GOOD | {"rmse_log_interval": None}
    slices = {"models": {"ridge": {"test": {"query": {"cats": narrow, "dogs": unsure}}}}}
    assert judged("query=cats:coverage>=0.75", "query=dogs:rmse_log<=1.9", document=slices) == (
        [
            "query=cats has coverage 0.700 (30 rows), limit query=cats:coverage>=0.75",
            "query=dogs has rmse_log 2.000 (30 rows), limit query=dogs:rmse_log<=1.9",
        ],
        [],
    )
    _, unjudged = judged("query=birds:coverage>=0.75", document=slices)
    assert unjudged == ["query=birds:coverage>=0.75 (no such slice, only cats, dogs)"]


def test_what_cannot_be_judged_blocks_nothing_and_says_why():
    broken, unjudged = judged(
        "text_present=0:rmse_log<=0.1", "query=dogs:rmse_log<=1", "country=US:rmse_log<=1", "query=cats:coverage>=1"
    )
    assert broken == []
    assert unjudged == [
        "text_present=0:rmse_log<=0.1 (7 test rows, at least 20 needed)",
        "query=dogs:rmse_log<=1.0 (no such slice, only cats)",
        "country=US:rmse_log<=1.0 (the data are not sliced by country: its column is no feature)",
        "query=cats:coverage>=1.0 (undefined there)",
    ]
    assert judged("query=cats:rmse_log<=1", document={}) == (
        [],
        ["query=cats:rmse_log<=1.0 (its snapshot has no slices)"],
    )
