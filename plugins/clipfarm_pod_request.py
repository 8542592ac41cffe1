"""The pod that trains one job, as a Kubernetes object. Pure: nothing is read and nothing is asked.

No plugin: imported where a pod is started only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from kubernetes.client import models as k8s

from clipfarm_tasks import keys
from clipfarm_tasks.deployment.pods import Toleration

if TYPE_CHECKING:
    from clipfarm_tasks.config import Settings
    from clipfarm_tasks.deployment.pods import PodSettings
    from clipfarm_tasks.families import Family, Horizon, Strategy

CONTAINER = "base"  # the name KubernetesPodOperator looks for
SCRATCH = "/tmp"
DEPLOYMENT_LABEL = "clipfarm.io/deployment"
RUN_LABEL = "clipfarm.io/run"
USER = 50000  # as in docker/Dockerfile

_NAME_BYTES = 63  # a pod's name is also its host name


@dataclass(frozen=True)
class Job:
    """One training job of a resolved run; ``digest`` is the run's config digest, sha256 hex."""

    run_id: str
    digest: str
    strategy: Strategy
    horizon: Horizon
    family: Family

    @property
    def task(self) -> str:
        """Task id, as records and the command line know it."""
        return keys.task_id("train", self.strategy, self.horizon, self.family)


def pod_name(job: Job, deployment: str) -> str:
    """The one name of a job's pod: whoever starts the job again meets the pod that is there already."""
    unique = hashlib.sha256(f"{deployment}\n{job.run_id}\n{job.digest}\n{job.task}".encode()).hexdigest()[:12]
    readable = f"clipfarm-{job.family}-{job.strategy}-{int(job.horizon)}d".replace("_", "-")
    return f"{readable[: _NAME_BYTES - len(unique) - 1]}-{unique}"


def deployment_labels(deployment: str) -> dict[str, str]:
    """Labels of every training pod of a deployment."""
    return {
        "app.kubernetes.io/name": "clipfarm",
        "app.kubernetes.io/component": "train",
        DEPLOYMENT_LABEL: deployment,
    }


def run_label(run_id: str) -> str:
    """A run id as a label: cut and hashed where it has characters that labels may not have."""
    label: str = make_safe_label_value(run_id)
    return label


def training_pod(job: Job, settings: PodSettings, store: Settings) -> k8s.V1Pod:
    """The pod of a job.

    Args:
        job: what it trains.
        settings: what the pods of the family are like.
        store: how the worker reaches the bucket. Credentials are no part of it: they come from the Secret
            ``settings.s3_secret`` or with the service account.
    """
    labels = deployment_labels(settings.deployment) | {
        RUN_LABEL: run_label(job.run_id),
        "clipfarm.io/job": make_safe_label_value(job.task),
        "clipfarm.io/digest": job.digest[:12],
    }
    return k8s.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=k8s.V1ObjectMeta(
            name=pod_name(job, settings.deployment),
            namespace=settings.namespace,
            labels=labels,
            # Evicting a pod to pack nodes tighter would throw hours of training away.
            annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        ),
        spec=k8s.V1PodSpec(
            containers=[_container(job, settings, store)],
            volumes=[
                k8s.V1Volume(
                    name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=f"{settings.scratch_mib}Mi")
                )
            ],
            # Never: a job that ended says so with its exit code, and Airflow decides about another try.
            restart_policy="Never",
            active_deadline_seconds=settings.active_deadline_s,
            termination_grace_period_seconds=settings.grace_period_s,
            service_account_name=settings.service_account,
            automount_service_account_token=False,  # a job talks to S3, never to Kubernetes
            enable_service_links=False,  # no addresses of other services in its environment
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=USER,
                run_as_group=0,
                fs_group=0,
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            image_pull_secrets=_pull_secrets(settings),
            node_selector=settings.node_selector or None,
            tolerations=_tolerations(settings) or None,
            priority_class_name=settings.priority_class,
            runtime_class_name=settings.runtime_class,
        ),
    )


def _container(job: Job, settings: PodSettings, store: Settings) -> k8s.V1Container:
    secret = k8s.V1SecretEnvSource(name=settings.s3_secret)
    return k8s.V1Container(
        name=CONTAINER,
        image=settings.image,
        image_pull_policy=settings.image_pull_policy,
        command=["python", "-m", "clipfarm_tasks"],
        args=[
            *("step", "train", "--run-id", job.run_id, "--strategy", str(job.strategy)),
            *("--horizon", str(int(job.horizon)), "--model", str(job.family)),
        ],
        env=[k8s.V1EnvVar(name=name, value=value) for name, value in _environment(settings, store).items()],
        env_from=[] if settings.s3_secret is None else [k8s.V1EnvFromSource(secret_ref=secret)],
        resources=_resources(settings),
        volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)],
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        # The sentence a job fails with is the last line of its log; so the task's log has it without the pod's.
        termination_message_policy="FallbackToLogsOnError",
    )


def _environment(settings: PodSettings, store: Settings) -> dict[str, str]:
    pod = store.model_copy(
        update={
            "endpoint_url": settings.s3_endpoint_url or store.endpoint_url,
            "train_threads": settings.cpus,
            # The rest is for rows on their way, for the model, and for the libraries themselves.
            "train_memory_mib": settings.memory_mib // 2,
        }
    )
    return pod.environment() | {"HOME": SCRATCH, "TMPDIR": SCRATCH}


def _resources(settings: PodSettings) -> k8s.V1ResourceRequirements:
    """Memory and GPU are limits as well; CPU is not, because throttling would only leave cores idle."""
    memory, gpus = f"{settings.memory_mib}Mi", {settings.gpu_resource: str(settings.gpus)} if settings.gpus else {}
    return k8s.V1ResourceRequirements(
        requests={"cpu": str(settings.cpus), "memory": memory, **gpus}, limits={"memory": memory, **gpus}
    )


def _pull_secrets(settings: PodSettings) -> list[k8s.V1LocalObjectReference] | None:
    name = settings.image_pull_secret
    return None if name is None else [k8s.V1LocalObjectReference(name=name)]


def _tolerations(settings: PodSettings) -> list[k8s.V1Toleration]:
    """GPU nodes are usually tainted with the name of their resource, so that nothing else takes their room."""
    gpu = (Toleration(key=settings.gpu_resource, effect="NoSchedule"),) if settings.gpus else ()
    return [k8s.V1Toleration(**toleration.model_dump()) for toleration in (*settings.tolerations, *gpu)]
