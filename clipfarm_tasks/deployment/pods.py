"""What a pod that runs a training job asks of its cluster: read from the environment.

Part of what DAG files read at parse time: it knows neither Airflow nor Kubernetes.
"""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import PRESETS, Family

PREFIX = "CLIPFARM_POD_"

_MARGIN = timedelta(minutes=10)
_MAY_BE_EMPTY = frozenset({"s3_secret"})  # and means none then; of the others, empty is as good as not set
_LABEL = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


class Toleration(Frozen):
    """A taint a pod accepts; the fields are Kubernetes' own."""

    key: str | None = Field(default=None, description="Taint key; none: every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="Exists, or Equal to `value`")
    value: str | None = Field(default=None, description="Value of the taint, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; none: every effect"
    )


class PodSettings(Frozen):
    """What the pods of one family are like.

    Each field is read from ``CLIPFARM_POD_<FIELD>``, or for one family alone from ``CLIPFARM_POD_<FAMILY>_<FIELD>``,
    which goes before; e.g. ``CLIPFARM_POD_GBDT_MEMORY_MIB=16384``.
    """

    image: str = Field(description="Trainer image with a tag other than latest, or with a digest")
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When the node pulls the image; its tag never moves, so once is enough"
    )
    image_pull_secret: str | None = Field(
        default=None, pattern=_NAME, description="Secret with the credentials of the image registry, if it wants any"
    )
    connection_id: str = Field(default="kubernetes_default", description="Airflow connection of the cluster")
    namespace: str = Field(default="clipfarm", pattern=_NAME, description="Namespace of the pods")
    deployment: str = Field(
        default="clipfarm",
        pattern=_LABEL,
        description="Label that tells the pods of several Airflows in one namespace apart",
    )
    service_account: str = Field(default="clipfarm-trainer", pattern=_NAME, description="Service account of the pods")
    s3_secret: str | None = Field(
        default="clipfarm-s3",
        pattern=_NAME,
        description="Secret whose keys become the pod's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; empty: the "
        "service account has the right to the bucket",
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+",
        description="S3 server as pods reach it, where that is another address than the workers'",
    )
    cpus: int = Field(ge=1, description="CPU cores requested; also the job's threads")
    memory_mib: int = Field(ge=256, description="MiB of memory requested, and the limit")
    gpus: int = Field(ge=0, description="GPUs requested; 0 trains on the CPU")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Name of the GPU resource in the cluster")
    scratch_mib: int = Field(default=16384, ge=64, description="MiB of disk at /tmp, the only place a job writes to")
    node_selector: dict[str, str] = Field(default={}, description="Labels a node must have, JSON object")
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Taints accepted beside that of the GPU resource, JSON list"
    )
    priority_class: str | None = Field(default=None, pattern=_NAME, description="Priority class")
    runtime_class: str | None = Field(default=None, pattern=_NAME, description="Runtime class, e.g. nvidia")
    schedule_timeout_s: int = Field(
        default=1200, ge=1, description="Seconds until a node has room; a GPU node may have to be bought first"
    )
    startup_timeout_s: int = Field(
        default=600,
        ge=1,
        description="Seconds from then on until the image runs; a registry that is down has as long to come back",
    )
    active_deadline_s: int = Field(
        default=9000, ge=1, description="Seconds after which Kubernetes ends the pod, whatever became of Airflow"
    )
    grace_period_s: int = Field(default=30, ge=0, description="Seconds between SIGTERM and SIGKILL")
    deferrable: bool = Field(default=False, description="Wait in the triggerer instead of in a worker slot")
    poll_interval_s: float = Field(default=10.0, gt=0, lt=60, description="Seconds between two looks at the pod")

    @property
    def longest_life(self) -> timedelta:
        """From the creation of a pod to its end at the latest, with a margin for what lies between its limits."""
        limits_s = self.schedule_timeout_s + self.startup_timeout_s + self.active_deadline_s + self.grace_period_s
        return timedelta(seconds=limits_s) + _MARGIN

    @field_validator("image")
    @classmethod
    def _image_is_pinned(cls, image: str) -> str:
        """A tag that moves would let one run train with two codes."""
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if not digest and tag in ("", "latest"):
            raise ValueError("expected an image with a digest or with a tag other than latest")
        return image

    @field_validator("node_selector", "tolerations", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        """Accept the JSON text of an environment variable."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected JSON ({error})") from error

    @classmethod
    def from_environment(cls, family: Family, environ: Mapping[str, str] | None = None) -> "PodSettings":
        """Read the settings of a family's pods; what is not set follows from what the family needs.

        Raises:
            ConfigError: a variable is missing or malformed; one message that lists every problem.
        """
        env = os.environ if environ is None else environ
        needs = PRESETS[family].needs
        values: dict[str, Any] = {"cpus": needs.cpus, "memory_mib": needs.memory_mib, "gpus": int(needs.gpu)}
        variables: dict[str, str] = {}
        for field in cls.model_fields:
            general, own = f"{PREFIX}{field.upper()}", f"{PREFIX}{family.upper()}_{field.upper()}"
            is_own = bool(env.get(own)) or (own in env and field in _MAY_BE_EMPTY)
            variables[field] = own if is_own else general
            text = env.get(variables[field])
            if text:
                values[field] = text
            elif text is not None and field in _MAY_BE_EMPTY:
                values[field] = None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [_problem(variables[str(item["loc"][0])], item) for item in error.errors()]
            raise ConfigError(f"pods of {family}: " + "; ".join(problems)) from error


def _problem(variable: str, item: Any) -> str:
    if item["type"] == "missing":
        return f"expected {variable}, got nothing: it is not set"
    return f"{variable}: {item['msg']}, got {item['input']!r}"
