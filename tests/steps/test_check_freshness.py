"""The newest complete run, its age, and what passes for neither."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.steps.check_freshness import check_freshness
from clipfarm_tasks.steps.complete_runs import complete_runs

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


ALL = RunParams().model_dump(mode="json")


def leave(store, run_id, hours, *, task="gate", config=None, **asked):
    """A run as the records tell of it, resolved that many hours ago; it asked for everything but what is given."""
    when = (NOW - timedelta(hours=hours)).isoformat()
    as_of = (NOW - timedelta(hours=1000 - hours)).isoformat()  # the other way round: it decides nothing
    content = json.dumps({"resolved_at": when, "as_of": as_of, "params": ALL | asked}) if config is None else config
    store.put(keys.run_config(run_id), content.encode())
    store.put(keys.run_record(run_id, task), b"{}")


def test_the_newest_complete_run_is_found_whatever_it_is_called(store):
    for run_id, hours in (("z", 30), ("scheduled__2026-03-10", 7.5), ("a", 8)):
        leave(store, run_id, hours)
    record = check_freshness(store, 12, NOW)
    assert record.model_dump() == {"run_id": "scheduled__2026-03-10", "age_hours": 7.5, "limit_hours": 12}


def test_a_run_as_old_as_the_limit_passes_and_an_older_one_does_not(store):
    leave(store, "r", 36)
    assert check_freshness(store, 36, NOW).age_hours == 36
    with pytest.raises(DataError, match="complete run of the last 36 h, got r as the newest, resolved 36.1 h ago, in"):
        check_freshness(store, 36, NOW + timedelta(minutes=6))


def test_an_unfinished_run_proves_nothing(store):
    leave(store, "old", 40)
    leave(store, "new", 1, task="leaderboard")
    with pytest.raises(DataError, match="got old as the newest, resolved 40.0 h ago"):
        check_freshness(store, 36, NOW)


def test_clearing_the_gate_of_an_old_run_makes_nothing_fresh(store):
    leave(store, "old", 40)
    store.put(keys.run_record("old", "gate"), b"{}")  # its LastModified is now
    with pytest.raises(DataError, match="got old as the newest"):
        check_freshness(store, 36, NOW)


def test_an_empty_bucket_is_stale(store):
    with pytest.raises(
        DataError,
        match=r"expected a complete run of all strategies, horizons and models, got none, in s3://.*/clipfarm/runs/",
    ):
        check_freshness(store, 36, NOW)


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"resolved_at": 7}', '{"resolved_at": "yesterday"}'])
def test_a_run_whose_config_cannot_be_read_is_not_counted_and_hides_no_other(store, config, caplog):
    leave(store, "broken", 0, config=config)
    with pytest.raises(DataError, match="got none"):
        check_freshness(store, 36, NOW)
    assert f"got none, in {store.uri(keys.run_config('broken'))}" in caplog.text
    leave(store, "good", 2)
    assert check_freshness(store, 36, NOW).run_id == "good"


def test_a_run_whose_config_is_gone_is_not_counted(store):
    leave(store, "gone", 0)
    store.delete([keys.run_config("gone")])
    with pytest.raises(DataError, match="got none"):
        check_freshness(store, 36, NOW)


@pytest.mark.parametrize("asked", [{"strategies": ["concat"]}, {"horizons": [7]}, {"models": ["ridge", "gbdt"]}])
def test_a_run_that_asked_for_less_does_not_make_missing_nights_fresh(store, asked):
    leave(store, "by-hand", 1, **asked)
    with pytest.raises(DataError, match="of all strategies, horizons and models, got none, .*1 complete runs asked"):
        check_freshness(store, 36, NOW)
    leave(store, "nightly", 40)
    with pytest.raises(DataError, match="got nightly as the newest, resolved 40.0 h ago"):
        check_freshness(store, 36, NOW)


def test_a_run_of_the_future_is_an_error_that_names_the_clock(store):
    leave(store, "nightly", 2)
    leave(store, "ahead", -24)
    with pytest.raises(
        DataError, match=r"got ahead as the newest, resolved at 2026-03-11T12:00:00\+00:00, which is 24"
    ):
        check_freshness(store, 36, NOW)
    store.delete([keys.run_record("ahead", "gate")])
    leave(store, "now", -0.05)  # clocks of two machines are never quite the same
    assert check_freshness(store, 36, NOW).age_hours == 0


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_means_nothing_is_refused(store, limit):
    with pytest.raises(ConfigError, match=f"expected a limit of more than 0 hours, got {limit}"):
        check_freshness(store, limit)


def test_a_real_run_is_as_old_as_its_config_says(finished):
    resolved = datetime.fromisoformat(finished.context.config.resolved_at)
    (run,) = complete_runs(finished.store)
    assert (run.run_id, run.resolved_at) == (finished.id, resolved)
    assert not run.is_whole  # two strategies of three


def test_the_clock_is_asked_when_no_time_is_given(store):
    leave(store, "r", (NOW - datetime.now(UTC)).total_seconds() / 3600)
    assert 0 <= check_freshness(store, 1).age_hours < 1
