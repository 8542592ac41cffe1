"""What a task body does around a step: skip, settings and session, errors, record."""

import json
import sys
import types
from datetime import UTC, datetime

import clipfarm_runtime
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, DownstreamTasksSkipped
from pydantic import ValidationError

from clipfarm_tasks import errors
from clipfarm_tasks.config import Frozen, Settings
from clipfarm_tasks.contracts import (
    RECORD_LIMIT_BYTES,
    FreshnessRecord,
    GateRecord,
    MaintenanceParams,
    MaintenanceRecord,
    PresetRecord,
    RunRecord,
    StudyRecord,
    TuningJob,
    TuningParams,
)
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy

RUN = RunRecord(
    run_id="a-run",
    config_key="clipfarm/runs/run_id=a-run/config.json",
    digest="0" * 64,
    strategies=(Strategy.CONCAT,),
    horizons=(Horizon.D7,),
    models=(Family.RIDGE,),
)
RUN_JSON = json.loads(json.dumps(RUN.model_dump(mode="json")))
TASKS_OF_A_PAIR = ("build_split", *(f"train_{family}" for family in Family), "ensemble", "publish_snapshot")
PAIRS = [f"{strategy}_{int(horizon)}d" for strategy in Strategy for horizon in Horizon]
RECORD = GateRecord(jobs=1, leaderboard_key="clipfarm/models/snapshots/run_id=a-run/comparison/")


class Calls(list):
    """Arguments of each call of a step."""


@pytest.fixture
def steps(monkeypatch):
    """Steps that answer or raise what `outcome` says, and a store that is only a name."""
    calls = Calls()
    calls.outcome = RECORD

    def answer(*arguments):
        calls.append(arguments)
        if isinstance(calls.outcome, Exception):
            raise calls.outcome
        return calls.outcome

    for module, name in (("catalog", "execute"), ("resolve_run", "resolve_run")):
        fake = types.ModuleType(module)
        setattr(fake, name, answer)
        monkeypatch.setitem(sys.modules, f"clipfarm_tasks.steps.{module}", fake)
    monkeypatch.setattr(clipfarm_runtime, "open_bucket", lambda: ("the store", "the settings"))
    return calls


def context(**changes):
    dag_run = types.SimpleNamespace(run_after=datetime(2026, 3, 2, 1, tzinfo=UTC))
    return {"params": {"seed": 7}, "run_id": "manual__1", "dag_run": dag_run, "ti": TaskInstance()} | changes


class TaskInstance(dict):
    """What was pushed as XCom, by key."""

    def xcom_push(self, key, value):
        self[key] = value


def test_passes_the_combination_as_the_closed_sets(steps):
    answer = clipfarm_runtime.run_step("train", RUN_JSON, "concat", 7, "ridge")
    assert steps == [("train", "the store", "the settings", "a-run", Strategy.CONCAT, Horizon.D7, Family.RIDGE)]
    assert [type(part) for part in steps[0][4:]] == [Strategy, Horizon, Family]
    assert answer == {"jobs": 1, "leaderboard_key": RECORD.leaderboard_key}


def test_record_survives_json(steps):
    steps.outcome = RUN
    answer = clipfarm_runtime.run_step("gate", RUN_JSON)
    assert RunRecord.model_validate(json.loads(json.dumps(answer))) == RUN
    assert type(answer) is dict


@pytest.mark.parametrize(
    "combination", [("sum_pool",), ("concat", 30), ("concat", 7, "gbdt"), (None, 30), (None, None, "concat_mlp")]
)
def test_skips_what_the_run_does_not_ask_for(steps, combination):
    with pytest.raises(AirflowSkipException, match="run a-run does not ask for strategy="):
        clipfarm_runtime.run_step("train", RUN_JSON, *combination)
    assert steps == []


@pytest.mark.parametrize("combination", [(), ("concat",), (None, 7), ("concat", 7), ("concat", 7, "ridge")])
def test_runs_what_the_run_asks_for(steps, combination):
    clipfarm_runtime.run_step("any", RUN_JSON, *combination)
    assert len(steps) == 1


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_without_a_resolved_run_fails_at_once_with_a_sentence(steps, nothing):
    with pytest.raises(AirflowFailException, match="leaderboard: expected the record of a resolved run, got none"):
        clipfarm_runtime.run_step("leaderboard", nothing)
    assert steps == []


@pytest.mark.parametrize(
    "kind", [errors.ConfigError, errors.DataError, errors.MissingObjectError, errors.ChangedObjectError]
)
@pytest.mark.parametrize("call", ["step", "resolve"])
def test_errors_that_need_a_person_are_never_retried(steps, kind, call):
    steps.outcome = kind("expected 12 rows, got 3, in s3://bucket/key")
    with pytest.raises(AirflowFailException, match=r"^expected 12 rows, got 3, in s3://bucket/key$") as caught:
        clipfarm_runtime.resolve(context()) if call == "resolve" else clipfarm_runtime.run_step("gate", RUN_JSON)
    assert caught.value.__cause__ is steps.outcome


@pytest.mark.parametrize("call", ["step", "resolve"])
def test_transient_errors_are_retried(steps, call):
    steps.outcome = errors.TransientError("503 SlowDown, in s3://bucket/key")
    with pytest.raises(AirflowException, match="503 SlowDown") as caught:
        clipfarm_runtime.resolve(context()) if call == "resolve" else clipfarm_runtime.run_step("gate", RUN_JSON)
    assert not isinstance(caught.value, AirflowFailException | AirflowSkipException)


def test_unexpected_errors_pass_through_untouched(steps):
    steps.outcome = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        clipfarm_runtime.run_step("gate", RUN_JSON)


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_record_limit(steps, extra, fits):
    class Wide(Frozen):
        text: str

    steps.outcome = Wide(text="x" * (RECORD_LIMIT_BYTES - len('{"text": ""}') + extra))
    if fits:
        assert clipfarm_runtime.run_step("gate", RUN_JSON)["text"]
        return
    with pytest.raises(AirflowFailException, match="at most 2048 bytes, got 2049, in Wide"):
        clipfarm_runtime.run_step("gate", RUN_JSON)


def everything():
    return RUN.model_copy(update={"strategies": tuple(Strategy), "horizons": tuple(Horizon), "models": tuple(Family)})


def test_resolve_takes_the_logical_date(steps):
    steps.outcome = everything()
    day = datetime(2026, 3, 1, tzinfo=UTC)
    assert clipfarm_runtime.resolve(context(logical_date=day)) == steps.outcome.model_dump(mode="json")
    assert steps == [("the store", {"seed": 7}, "manual__1", "2026-03-01T00:00:00+00:00")]


@pytest.mark.parametrize("changes", [{}, {"logical_date": None}])
def test_resolve_takes_run_after_where_there_is_no_logical_date(steps, changes):
    steps.outcome = everything()
    clipfarm_runtime.resolve(context(**changes))
    assert steps[0][3] == "2026-03-02T01:00:00+00:00"


def test_resolve_hears_an_emptied_text_field_as_not_given(steps):
    steps.outcome = everything()
    clipfarm_runtime.resolve(context(params={"run_label": None, "seed": None, "other": None}))
    assert steps[0][1] == {"seed": None, "other": None}


@pytest.mark.parametrize(
    ("changes", "skipped"),
    [
        ({"models": DEFAULT_FAMILIES}, {f"{pair}.train_{family}" for pair in PAIRS for family in ("tabm", "kernel")}),
        (
            {"horizons": (Horizon.D30,)},
            {f"{step}_7d" for step in ("filter_metadata", "split_videos", "baselines")}
            | {f"{strategy}_7d.{task}" for strategy in Strategy for task in TASKS_OF_A_PAIR},
        ),
        (
            {"models": (Family.GBDT,)},
            {f"{pair}.{task}" for pair in PAIRS for task in TASKS_OF_A_PAIR if task.startswith(("train_", "ensemble"))}
            - {f"{pair}.train_gbdt" for pair in PAIRS},
        ),
        (
            {"strategies": (Strategy.CONCAT, Strategy.MAX_POOL)},
            {"resolve_manifest_sum_pool", "reconstruct_fused_sum_pool"}
            | {f"sum_pool_{int(horizon)}d.{task}" for horizon in Horizon for task in TASKS_OF_A_PAIR},
        ),
    ],
)
def test_resolve_skips_exactly_what_is_not_asked_for_and_hands_the_record_on(steps, changes, skipped):
    steps.outcome = everything().model_copy(update=changes)
    asked = context()
    with pytest.raises(DownstreamTasksSkipped) as caught:
        clipfarm_runtime.resolve(asked)
    assert len(set(caught.value.tasks)) == len(caught.value.tasks)
    assert set(caught.value.tasks) == skipped
    assert asked["ti"] == {"return_value": steps.outcome.model_dump(mode="json")}


def test_a_broken_record_of_the_run_is_an_error(steps):
    with pytest.raises(ValidationError, match="digest"):
        clipfarm_runtime.run_step("gate", {name: value for name, value in RUN_JSON.items() if name != "digest"})


# The connection.


@pytest.fixture
def opened(monkeypatch):
    """Arguments that the store was opened with."""
    calls = []

    def open_store(settings, session=None):
        calls.append((settings, session))
        return types.SimpleNamespace(settings=settings)

    fake = types.ModuleType("storage")
    fake.open_store = open_store
    monkeypatch.setitem(sys.modules, "clipfarm_tasks.storage", fake)
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIPFARM_BUCKET", "a-bucket")
    return calls


def connection(**parts):
    return json.dumps({"conn_type": "aws"} | parts)


def test_session_endpoint_and_region_come_from_the_connection(opened, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_CLIPFARM_S3",
        connection(
            login="a-key", password="a-secret", extra={"endpoint_url": "http://s3.test:1", "region_name": "eu-north-1"}
        ),
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.test")
    store, settings = clipfarm_runtime.open_bucket()
    assert store.settings is settings
    assert settings == Settings(bucket="a-bucket", endpoint_url="http://s3.test:1", region="eu-north-1")
    ((seen, session),) = opened
    assert seen == settings
    assert session.get_credentials().access_key == "a-key"
    assert session.get_credentials().secret_key == "a-secret"


def test_endpoint_of_the_connection_is_checked_like_the_variable(opened, monkeypatch):
    extra = {"endpoint_url": "s3.test:1"}
    monkeypatch.setenv("AIRFLOW_CONN_CLIPFARM_S3", connection(login="a-key", password="a-secret", extra=extra))
    with pytest.raises(errors.ConfigError, match=r"connection 'clipfarm_s3' .*AWS_ENDPOINT_URL: .*got 's3.test:1'"):
        clipfarm_runtime.open_bucket()
    assert opened == []


def test_environment_fills_what_the_connection_leaves_out(opened, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CLIPFARM_S3", connection(login="a-key", password="a-secret"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.test")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    _, settings = clipfarm_runtime.open_bucket()
    assert (settings.endpoint_url, settings.region) == ("http://elsewhere.test", "eu-west-3")


def test_a_missing_connection_is_a_clear_sentence_and_never_retried(opened, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_CLIPFARM_S3", raising=False)
    with pytest.raises(errors.ConfigError, match="expected an Airflow connection 'clipfarm_s3' of type aws, got none"):
        clipfarm_runtime.open_bucket()
    assert opened == []


def test_a_missing_bucket_setting_names_the_variable(opened, monkeypatch):
    monkeypatch.delenv("CLIPFARM_BUCKET")
    with pytest.raises(errors.ConfigError, match="CLIPFARM_BUCKET"):
        clipfarm_runtime.open_bucket()


# The maintenance.


@pytest.fixture
def maintenance(monkeypatch):
    """A maintenance that answers or raises what ``outcome`` says."""
    calls = Calls()
    calls.outcome = MaintenanceRecord(params=MaintenanceParams(), runs=3, tables={})

    def answer(*arguments):
        calls.append(arguments)
        if isinstance(calls.outcome, Exception):
            raise calls.outcome
        return calls.outcome

    fake = types.ModuleType("maintain")
    fake.maintain = answer
    monkeypatch.setitem(sys.modules, "clipfarm_tasks.steps.maintain", fake)
    monkeypatch.setattr(clipfarm_runtime, "open_bucket", lambda: ("the store", "the settings"))
    return calls


def test_maintain_takes_the_params_and_hands_on_the_record(maintenance):
    answer = clipfarm_runtime.run_maintenance(context(params={"keep_days": 7, "dry_run": True}))
    assert maintenance == [("the store", {"keep_days": 7, "dry_run": True})]
    assert MaintenanceRecord.model_validate(json.loads(json.dumps(answer))) == maintenance.outcome


@pytest.mark.parametrize(
    ("kind", "never"), [(errors.ConfigError, True), (errors.DataError, True), (errors.TransientError, False)]
)
def test_errors_of_the_maintenance_are_told_apart(maintenance, kind, never):
    maintenance.outcome = kind("expected a record, got none")
    with pytest.raises(AirflowException, match="expected a record, got none") as caught:
        clipfarm_runtime.run_maintenance(context(params={}))
    assert isinstance(caught.value, AirflowFailException) is never


@pytest.fixture
def freshness(monkeypatch):
    """A check that answers or raises what `outcome` says."""
    calls = Calls()
    calls.outcome = FreshnessRecord(run_id="a-run", age_hours=3.5, limit_hours=30)

    def answer(*arguments):
        calls.append(arguments)
        if isinstance(calls.outcome, Exception):
            raise calls.outcome
        return calls.outcome

    fake = types.ModuleType("check_freshness")
    fake.check_freshness = answer
    monkeypatch.setitem(sys.modules, "clipfarm_tasks.steps.check_freshness", fake)
    monkeypatch.setattr(clipfarm_runtime, "open_bucket", lambda: ("the store", "the settings"))
    return calls


def test_freshness_takes_the_limit_of_the_deployment_and_hands_on_the_record(freshness, monkeypatch):
    answer = clipfarm_runtime.run_freshness_check()
    monkeypatch.setenv("CLIPFARM_STALE_AFTER_HOURS", "30")
    clipfarm_runtime.run_freshness_check()
    assert freshness == [("the store", 36), ("the store", 30)]
    assert FreshnessRecord.model_validate(json.loads(json.dumps(answer))) == freshness.outcome


@pytest.mark.parametrize(
    ("kind", "never"), [(errors.ConfigError, True), (errors.DataError, True), (errors.TransientError, False)]
)
def test_errors_of_the_freshness_check_are_told_apart(freshness, kind, never):
    freshness.outcome = kind("expected a complete run, got none")
    with pytest.raises(AirflowException, match="expected a complete run, got none") as caught:
        clipfarm_runtime.run_freshness_check()
    assert isinstance(caught.value, AirflowFailException) is never


def test_a_wrong_limit_of_the_deployment_is_never_retried(freshness, monkeypatch):
    monkeypatch.setenv("CLIPFARM_STALE_AFTER_HOURS", "soon")
    with pytest.raises(AirflowFailException, match="CLIPFARM_STALE_AFTER_HOURS"):
        clipfarm_runtime.run_freshness_check()


# The tuning.

JOBS = [TuningJob(run_id="a-run", family=family) for family in (Family.GBDT, Family.RIDGE, Family.GBDT)]
JOBS_JSON = [job.model_dump(mode="json") for job in JOBS]
TUNING = {"trials": 5, "workers": 2}
TUNED = {
    "plan_study": (JOBS, ()),
    "run_trials": (StudyRecord(study="s", ended_here=1, trials={"complete": 1}), (JOBS_JSON[0],)),
    "publish_preset": (PresetRecord(version=1, key="k", differences={"gbdt": -0.1}), (JOBS_JSON,)),
}


@pytest.fixture(params=TUNED)
def tuning(request, monkeypatch):
    """A step of the tuning DAG that answers or raises what ``outcome`` says."""
    calls = Calls()
    calls.name = request.param
    calls.outcome, calls.arguments = TUNED[request.param]

    def answer(*arguments):
        calls.append(arguments)
        if isinstance(calls.outcome, Exception):
            raise calls.outcome
        return calls.outcome

    fake = types.ModuleType(calls.name)
    setattr(fake, calls.name, answer)
    monkeypatch.setitem(sys.modules, f"clipfarm_tasks.steps.{calls.name}", fake)
    monkeypatch.setattr(clipfarm_runtime, "open_bucket", lambda: ("the store", "the settings"))
    calls.run = lambda: getattr(clipfarm_runtime, calls.name)(context(params=TUNING), *calls.arguments)
    return calls


def test_tuning_takes_the_params_and_hands_on_the_records(tuning):
    answer = json.loads(json.dumps(tuning.run()))
    params = TuningParams(**TUNING)
    assert tuning == [
        {
            "plan_study": ("the store", TUNING),
            "run_trials": ("the store", "the settings", params, "a-run", Family.GBDT),
            "publish_preset": ("the store", "the settings", params, "a-run", [Family.GBDT, Family.RIDGE, Family.GBDT]),
        }[tuning.name]
    ]
    if tuning.name == "plan_study":
        assert answer == JOBS_JSON
    else:
        assert type(tuning.outcome).model_validate(answer) == tuning.outcome


@pytest.mark.parametrize(
    ("kind", "never"), [(errors.ConfigError, True), (errors.DataError, True), (errors.TransientError, False)]
)
def test_errors_of_tuning_are_told_apart(tuning, kind, never):
    tuning.outcome = kind("expected a complete run, got none")
    with pytest.raises(AirflowException, match="expected a complete run, got none") as caught:
        tuning.run()
    assert isinstance(caught.value, AirflowFailException) is never
