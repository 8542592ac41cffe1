"""Where training jobs run: in the workers or in pods of their own. Read from the environment when DAGs are parsed."""

import os
from collections.abc import Mapping
from enum import StrEnum

from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import PRESETS, Family

BACKEND = "CLIPFARM_TRAIN_BACKEND"


class TrainBackend(StrEnum):
    """Where training jobs run: ``auto`` sends the families that want a GPU into pods where there is a cluster."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"
    AUTO = "auto"


def trains_in_pod(family: Family, environ: Mapping[str, str] | None = None) -> bool:
    """Whether the jobs of a family run in pods of their own.

    ``auto`` looks for a cluster where it can without asking anybody: at Airflow's connection in the environment
    (``AIRFLOW_CONN_KUBERNETES_DEFAULT``, or that of CLIPFARM_POD_CONNECTION_ID), or at being in a cluster itself.

    Raises:
        ConfigError: CLIPFARM_TRAIN_BACKEND is none of local, kubernetes, auto.
    """
    env = os.environ if environ is None else environ
    given = env.get(BACKEND) or TrainBackend.LOCAL
    if given not in list(TrainBackend):
        raise ConfigError(f"expected {BACKEND} to be one of {', '.join(TrainBackend)}, got {given!r}")
    if given == TrainBackend.AUTO:
        connection = env.get(f"{PREFIX}CONNECTION_ID") or PodSettings.model_fields["connection_id"].default
        has_cluster = bool(env.get(f"AIRFLOW_CONN_{connection.upper()}") or env.get("KUBERNETES_SERVICE_HOST"))
        return has_cluster and PRESETS[family].needs.gpu
    return given == TrainBackend.KUBERNETES
