"""A training as a Kubernetes Job: one pod, one container, and no more rights than it needs.

The pod sees of the project's volume the folder of the job, that of the checkpoints, that of its logs and, where it lies
in the project, the base model; each at the path that it has here, so that no path has to be translated. It keeps to
Kubernetes' Pod Security Standard "restricted".
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ftzard.config import LauncherConfig
from ftzard.config.kubernetes import Toleration, num_cores
from ftzard.errors import ConfigError
from ftzard.resources.launcher import OWN_INTERFACE, TRAINING_MODULE, torchrun_command

# As Dagster's own launcher for Kubernetes names them.
RUN_LABEL: Final = "dagster/run-id"
ASSET_LABEL: Final = "dagster/asset"
_CONTAINER = "training"
_PROJECT = "project"
_SCRATCH = "scratch"
_SHARED_MEMORY = "shared-memory"
# All that a program may write to beside the project, and a home for users that the image does not know.
_TMP = "/tmp"  # noqa: S108 - of the pod, where nobody else is
_GPU = "nvidia.com/gpu"
_MAX_LABEL = 63
_ROOT = 0


@dataclass(frozen=True)
class Mount:
    """A file or folder of the project that a pod sees.

    Attributes:
        path: Where it is, here and in the pod.
        read_only: Whether the pod may not write there.
    """

    path: Path
    read_only: bool = False


@dataclass(frozen=True)
class PodTask:
    """What a pod is to do.

    Attributes:
        name: Of the job; no other in the namespace has it.
        options: Of `ftzard.training_process`.
        mounts: What it sees of the project.
        environment: Variables that it needs; nothing secret.
        labels: By which people find it, as Kubernetes takes them.
        working_dir: Where a base model given by a relative path is to be found from; None: it is no matter.
    """

    name: str
    options: Sequence[str]
    mounts: Sequence[Mount]
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    working_dir: Path | None = None


def render_job(config: LauncherConfig, task: PodTask, project_dir: Path) -> dict[str, Any]:
    """The manifest of a Job, `batch/v1`.

    Args:
        config: Its kind is `k8s`.
        task: What the pod is to do.
        project_dir: Where the project folder, which lies on the volume, is here.

    Raises:
        ConfigError: The pod would be root, or needs what is not on the volume.
    """
    labels = {
        "app.kubernetes.io/name": "ftzard",
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/managed-by": "ftzard",
        **task.labels,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": task.name, "namespace": config.namespace, "labels": dict(labels)},
        "spec": {
            # A training goes on where it was, in the next run: it is Dagster that tries again.
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": config.ttl_seconds_after_finished,
            **({"activeDeadlineSeconds": math.ceil(config.timeout_s)} if config.timeout_s else {}),
            "template": {"metadata": {"labels": labels}, "spec": _pod(config, task, project_dir.resolve())},
        },
    }


def label_value(text: str) -> str:
    """A text as the value of a label: at most 63 letters, digits, '-', '_' and '.', with none of these at its ends."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_MAX_LABEL].strip("-._")


def _pod(config: LauncherConfig, task: PodTask, project_dir: Path) -> dict[str, Any]:
    user = pod_user(config)
    given = {
        "serviceAccountName": config.service_account_name,
        "nodeSelector": dict(config.node_selector),
        "tolerations": [_toleration(each) for each in config.tolerations],
        "imagePullSecrets": [{"name": name} for name in config.image_pull_secrets],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(config.grace_s),
        # The training talks to no cluster, and is told of no other service there.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            # As groups of one person are numbered, where ours is not to be had.
            "runAsGroup": user if config.run_as_user else os.getgid() or user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(config, task, project_dir)],
        "volumes": _volumes(config),
        **{key: value for key, value in given.items() if value},
    }


def _container(config: LauncherConfig, task: PodTask, project_dir: Path) -> dict[str, Any]:
    limits = {"cpu": config.cpu, "memory": config.memory, _GPU: str(config.gpus) if config.gpus else None}
    asked = {name: amount for name, amount in limits.items() if amount is not None}
    shared = [{"name": _SHARED_MEMORY, "mountPath": "/dev/shm"}] if config.num_processes > 1 else []  # noqa: S108 - as above
    return {
        "name": _CONTAINER,
        "image": config.image,
        **({"imagePullPolicy": config.image_pull_policy} if config.image_pull_policy else {}),
        "command": _command(config, task.options),
        **({"workingDir": str(task.working_dir)} if task.working_dir else {}),
        "env": _environment(config, task),
        **({"resources": {"requests": dict(asked), "limits": asked}} if asked else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The status of a container that failed then holds the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *(_volume_mount(mount, config.volume_sub_path, project_dir) for mount in task.mounts),
            {"name": _SCRATCH, "mountPath": _TMP},
            *shared,
        ],
    }


def _command(config: LauncherConfig, options: Sequence[str]) -> list[str]:
    if config.num_processes == 1:
        return ["python", "-m", TRAINING_MODULE, *options]
    shutdown_s = math.ceil(config.grace_s)
    return torchrun_command("python", config.num_processes, options, shutdown_s=shutdown_s)


def _environment(config: LauncherConfig, task: PodTask) -> list[dict[str, Any]]:
    threads = config.num_threads
    if threads is None and config.cpu is not None:
        threads = max(1, num_cores(config.cpu) // config.num_processes)
    values = {
        "HOME": _TMP,
        "USER": "ftzard",
        "PYTHONUNBUFFERED": "1",
        **OWN_INTERFACE,
        **({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
        **task.environment,
        **config.env,
    }
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    if config.hf_token_secret is not None:
        key = {"name": config.hf_token_secret, "key": config.hf_token_secret_key}
        variables.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    return variables


def _volumes(config: LauncherConfig) -> list[dict[str, Any]]:
    project = {"name": _PROJECT, "persistentVolumeClaim": {"claimName": config.volume_claim}}
    # Container runtimes give 64 MiB, too little for what nccl hands from one process to another.
    shared = [{"name": _SHARED_MEMORY, "emptyDir": {"medium": "Memory"}}] if config.num_processes > 1 else []
    return [project, {"name": _SCRATCH, "emptyDir": {}}, *shared]


def _volume_mount(mount: Mount, volume_sub_path: str, project_dir: Path) -> dict[str, Any]:
    path = mount.path.resolve()
    if not path.is_relative_to(project_dir):
        raise ConfigError(
            f"{path} is not in the project folder {project_dir}, which is what launcher.volume_claim holds",
            fix="let no link lead out of the project folder",
        )
    inside = Path(volume_sub_path) / path.relative_to(project_dir)
    read_only = {"readOnly": True} if mount.read_only else {}
    return {"name": _PROJECT, "mountPath": str(path), "subPath": inside.as_posix(), **read_only}


def _toleration(toleration: Toleration) -> dict[str, str]:
    values = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
    }
    return {name: value for name, value in values.items() if value}


def pod_user(config: LauncherConfig) -> int:
    """The user of the pod.

    Raises:
        ConfigError: It would be root.
    """
    user = config.run_as_user or os.getuid()
    if user == _ROOT:
        raise ConfigError(
            "launcher.run_as_user is not given, and this process runs as root, which a pod must not",
            fix="run as the owner of the project folder, or set launcher.run_as_user to a user that may write there",
        )
    return user
