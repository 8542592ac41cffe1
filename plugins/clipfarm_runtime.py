"""Runs one step, or what needs no run, inside an Airflow task: settings and session in, record out, errors told apart.

Airflow puts this folder on ``sys.path`` of every process, so a task body imports it by its bare name. It is no plugin
and is listed in ``.airflowignore``.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from clipfarm_tasks.config import RunParams, Settings
from clipfarm_tasks.contracts import RECORD_LIMIT_BYTES, RunRecord, TuningJob, TuningParams
from clipfarm_tasks.deployment.form import from_form
from clipfarm_tasks.errors import ClipfarmError, ConfigError, TransientError
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy, model_names
from clipfarm_tasks.graph import all_tasks, tasks_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clipfarm_tasks.config import Frozen
    from clipfarm_tasks.storage import Store

CONNECTION_ID = "clipfarm_s3"

log = logging.getLogger(__name__)


def resolve(context: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``resolve_run`` from a task's context.

    Returns:
        The JSON form of the `RunRecord`.

    Raises:
        AirflowFailException: the params, the settings or the inputs are wrong; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
        DownstreamTasksSkipped: all is well, and some of the drawn tasks are not asked for.
    """
    from clipfarm_tasks.steps.resolve_run import resolve_run

    # A run triggered by hand or by an asset may have no logical date, and then the context has no such key at all.
    as_of = context.get("logical_date") or context["dag_run"].run_after
    try:
        store, _ = open_bucket()
        record = resolve_run(store, from_form(context["params"]), context["run_id"], as_of.isoformat())
        resolved = as_xcom("resolve_run", record)
    except ClipfarmError as error:
        raise_for_airflow(error)
    left_out = _left_out(record)
    if left_out:
        # What this raises ends the task well, but before Airflow would hand on what it returns.
        context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, resolved)
        raise DownstreamTasksSkipped(tasks=left_out)
    return resolved


def _left_out(record: RunRecord) -> list[str]:
    """Ids of the drawn tasks that the run does not ask for; each alone would take a process to find that out."""
    params = RunParams(strategies=record.strategies, horizons=record.horizons, models=record.models)
    asked = {task.id for task in tasks_of(params)}
    return [task.id for task in all_tasks() if task.id not in asked]


def run_step(
    name: str,
    run: Mapping[str, Any] | None,
    strategy: str | None = None,
    horizon: int | None = None,
    family: str | None = None,
) -> dict[str, Any]:
    """Run any step but ``resolve_run``.

    Args:
        name: step, e.g. ``train``.
        run: JSON form of the `RunRecord`; None or empty when ``resolve_run`` left none.
        strategy: fusion strategy the task is for, if any.
        horizon: days the task is for, if any.
        family: model family the task is for, if any.

    Returns:
        The JSON form of the step's record, below `RECORD_LIMIT_BYTES`.

    Raises:
        AirflowSkipException: the run does not ask for this combination.
        AirflowFailException: a setting or the input is wrong; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    record, *wanted = requested(name, run, strategy, horizon, family)
    from clipfarm_tasks.steps.catalog import execute

    try:
        store, settings = open_bucket()
        return as_xcom(name, execute(name, store, settings, record.run_id, *wanted))
    except ClipfarmError as error:
        raise_for_airflow(error)


def requested(
    name: str, run: Mapping[str, Any] | None, strategy: str | None, horizon: int | None, family: str | None
) -> tuple[RunRecord, Strategy | None, Horizon | None, Family | None]:
    """The run and the typed selectors of a task; the arguments are those of `run_step`.

    Raises:
        AirflowSkipException: the run does not ask for this combination.
        AirflowFailException: ``resolve_run`` left no record.
    """
    if not run:
        raise AirflowFailException(
            f"{name}: expected the record of a resolved run, got none: resolve_run did not finish. "
            "Fix what its log says and clear it; everything after it runs again"
        )
    record = RunRecord.model_validate(run)
    wanted = (
        Strategy(strategy) if strategy is not None else None,
        Horizon(horizon) if horizon is not None else None,
        Family(family) if family is not None else None,
    )
    if not record.requests(*wanted) or (name == ENSEMBLE and name not in model_names(record.models)):
        asked = f"strategy={strategy} horizon={horizon} family={family}"
        raise AirflowSkipException(f"run {record.run_id} does not ask for {asked}")
    return record, *wanted


def run_maintenance(context: Mapping[str, Any]) -> dict[str, Any]:
    """Maintain the vector tables with the params of a task's context.

    Returns:
        The JSON form of the `MaintenanceRecord`.

    Raises:
        AirflowFailException: the params, the settings or a record of a kept run are wrong; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    from clipfarm_tasks.steps.maintain import maintain

    try:
        store, _ = open_bucket()
        return as_xcom("maintain", maintain(store, context["params"]))
    except ClipfarmError as error:
        raise_for_airflow(error)


def run_freshness_check() -> dict[str, Any]:
    """Find the newest complete run; it may be `AlertSettings.stale_after_hours` old.

    Returns:
        The JSON form of the `FreshnessRecord`.

    Raises:
        AirflowFailException: it is older, there is none, or the settings are wrong; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    from clipfarm_tasks.deployment.alerts import AlertSettings
    from clipfarm_tasks.steps.check_freshness import check_freshness

    try:
        store, _ = open_bucket()
        return as_xcom("check_freshness", check_freshness(store, AlertSettings.from_environment().stale_after_hours))
    except ClipfarmError as error:
        raise_for_airflow(error)


def plan_study(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Choose what is tuned by the params of a task's context.

    Returns:
        The JSON form of a `TuningJob` for each worker of each study.

    Raises:
        AirflowFailException: the params or the settings are wrong, or there is no run; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    from clipfarm_tasks.steps.plan_study import plan_study as plan

    try:
        store, _ = open_bucket()
        return [as_xcom("plan_study", job) for job in plan(store, context["params"])]
    except ClipfarmError as error:
        raise_for_airflow(error)


def run_trials(context: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Take part in the study of a `TuningJob`, in its JSON form.

    Returns:
        The JSON form of the `StudyRecord`.

    Raises:
        AirflowFailException: the run or the journal cannot be used; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    from clipfarm_tasks.steps.run_trials import run_trials as run

    try:
        store, settings = open_bucket()
        chosen, params = TuningJob.model_validate(job), TuningParams.parse(context["params"])
        return as_xcom("run_trials", run(store, settings, params, chosen.run_id, chosen.family))
    except ClipfarmError as error:
        raise_for_airflow(error)


def publish_preset(context: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Publish what the studies of these `TuningJob`s, all of one run, have found.

    Returns:
        The JSON form of the `PresetRecord`.

    Raises:
        AirflowFailException: a study is not that far; retrying cannot help.
        AirflowException: the store did not answer; a retry may help.
    """
    from clipfarm_tasks.steps.publish_preset import publish_preset as publish

    try:
        store, settings = open_bucket()
        chosen, params = [TuningJob.model_validate(job) for job in jobs], TuningParams.parse(context["params"])
        families = [job.family for job in chosen]
        return as_xcom("publish_preset", publish(store, settings, params, chosen[0].run_id, families))
    except ClipfarmError as error:
        raise_for_airflow(error)


def open_bucket() -> tuple[Store, Settings]:
    """Open the bucket with the credentials, endpoint and region of the connection.

    The session keeps its credentials fresh (roles, web identity), so it travels on instead of a key pair.

    Raises:
        ConfigError: there is no such connection, or a setting is wrong.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from clipfarm_tasks.storage import open_store

    Settings.from_environment()  # before the connection is looked at: what is wrong here is not its fault
    hook = AwsBaseHook(aws_conn_id=CONNECTION_ID, client_type="s3")
    try:
        # The hook itself would only warn, and go on with whatever credentials the machine has.
        hook.get_connection(CONNECTION_ID)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"expected an Airflow connection {CONNECTION_ID!r} of type aws, got none. Create it under Admin > "
            f"Connections or set AIRFLOW_CONN_{CONNECTION_ID.upper()}; without key pair it uses the machine's own role"
        ) from error
    session = hook.get_session()
    given = {}
    if endpoint := hook.conn_config.get_service_endpoint_url("s3"):
        given |= {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": ""}
    if region := hook.conn_config.region_name:
        given |= {"AWS_REGION": region}
    try:
        settings = Settings.from_environment({**os.environ, **given})
    except ConfigError as error:
        raise ConfigError(f"connection {CONNECTION_ID!r} over the environment: {error}") from error
    store = open_store(settings, session)
    return store, store.settings  # with what the session's profile adds


def as_xcom(name: str, record: Frozen) -> dict[str, Any]:
    """The JSON form of a record.

    Raises:
        AirflowFailException: it is larger than `RECORD_LIMIT_BYTES`.
    """
    content = record.model_dump(mode="json")
    size = len(json.dumps(content).encode())
    if size > RECORD_LIMIT_BYTES:
        raise AirflowFailException(
            f"{name}: expected a record of at most {RECORD_LIMIT_BYTES} bytes, got {size}, in {type(record).__name__}"
        )
    log.info("%s: record of %d bytes handed on", name, size)
    return content


def raise_for_airflow(error: ClipfarmError) -> NoReturn:
    """Tell Airflow whether to retry; any other exception is unexpected, keeps its traceback and is retried."""
    if isinstance(error, TransientError):
        raise AirflowException(str(error)) from error
    raise AirflowFailException(str(error)) from error
