"""``freshness``: what a monitor outside of Airflow sees."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams

pytestmark = pytest.mark.integration


@pytest.fixture
def freshness(command, bucket):
    def call(*options, **environment):
        return command("freshness", *options, CLIPFARM_BUCKET=bucket.bucket, **environment)

    return call


@pytest.fixture
def complete(store):
    """A complete run, resolved 20 h ago."""
    resolved = (datetime.now(UTC) - timedelta(hours=20)).isoformat()
    store.put(
        keys.run_config("nightly"),
        json.dumps({"resolved_at": resolved, "params": RunParams().model_dump(mode="json")}).encode(),
    )
    store.put(keys.run_record("nightly", "gate"), b"{}")


def test_says_which_run_it_is_and_exits_0_while_it_is_fresh(freshness, complete):
    done = freshness()
    assert (done.returncode, done.stdout) == (0, "run nightly was resolved 20.0 h ago, the limit is 36 h\n"), (
        done.stderr
    )
    assert freshness("--max-age-hours", "20.5").returncode == 0


def test_exits_2_when_it_is_stale_and_the_option_goes_before_the_variable(freshness, complete):
    stale = freshness(CLIPFARM_STALE_AFTER_HOURS="12")
    assert stale.returncode == 2
    assert stale.stderr.startswith("DataError: expected a complete run of the last 12 h, got nightly")
    assert "Traceback" not in stale.stderr
    assert freshness("--max-age-hours", "24", CLIPFARM_STALE_AFTER_HOURS="12").returncode == 0


def test_exits_2_when_there_is_no_complete_run(freshness):
    none = freshness()
    assert none.returncode == 2
    assert none.stderr.startswith(
        "DataError: expected a complete run of all strategies, horizons and models, got none, in"
    )


def test_a_wrong_limit_is_refused_wherever_it_stands(freshness):
    for done in (freshness("--max-age-hours", "nan"), freshness(CLIPFARM_STALE_AFTER_HOURS="-1")):
        assert done.returncode == 2
        assert done.stderr.startswith("ConfigError: ")


def test_without_an_answer_of_the_server_the_exit_is_another(freshness):
    done = freshness(AWS_ENDPOINT_URL="http://127.0.0.1:9", CLIPFARM_S3_RETRY_TIMEOUT="0")
    assert done.returncode == 1
    assert done.stderr.startswith("TransientError: ")
