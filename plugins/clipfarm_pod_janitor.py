"""Deletes the pods that training runs have left behind. No plugin: imported by the task that calls it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from clipfarm_runtime import raise_for_airflow

from clipfarm_tasks.contracts import RunRecord
from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


def delete_pods(run: Mapping[str, Any] | None) -> dict[str, int]:
    """Delete every pod of a run, which has nothing left to train, and those of other runs that have ended.

    Pods of other runs that are alive are left to those runs, until they are older than all limits of a pod together:
    Kubernetes counts a deadline from the start, so one that finds no node would wait for ever.

    Args:
        run: JSON form of the `RunRecord`; None or empty when ``resolve_run`` left none.

    Returns:
        ``deleted``: how many there were.

    Raises:
        AirflowSkipException: this deployment trains in no pods.
        AirflowFailException: the settings of the pods are wrong.
    """
    try:
        settings = [PodSettings.from_environment(family) for family in Family if trains_in_pod(family)]
    except ConfigError as error:
        raise_for_airflow(error)
    if not settings:
        raise AirflowSkipException("this deployment trains in no pods")

    from clipfarm_pod_answer import PatientHook
    from clipfarm_pod_lifecycle import delete, find_all, is_alive
    from clipfarm_pod_request import RUN_LABEL, deployment_labels, run_label

    ours = run_label(RunRecord.model_validate(run).run_id) if run else None
    deleted = 0
    oldest = datetime.now(tz=UTC) - max(one.longest_life for one in settings)
    places = {(one.connection_id, one.namespace, one.deployment) for one in settings}
    for connection_id, namespace, deployment in sorted(places):
        client = PatientHook(conn_id=connection_id).core_v1_client
        for pod in find_all(client, namespace, deployment_labels(deployment)):
            is_left = not is_alive(pod) or pod.metadata.creation_timestamp < oldest
            if is_left or pod.metadata.labels.get(RUN_LABEL) == ours:
                log.info("deleting pod %s (%s)", pod.metadata.name, pod.status.phase)
                delete(client, pod)
                deleted += 1
    return {"deleted": deleted}
