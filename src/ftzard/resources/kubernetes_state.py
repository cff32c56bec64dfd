"""What the status of a Job and of its pod says: whether it runs, how it ended, and what keeps it from running.

The objects are those of Kubernetes' API, as JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ftzard.errors import TrainingProcessError

Status = Mapping[str, Any]

# The phases of a pod.
PENDING: Final = "Pending"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"

_LATER = "run again: it goes on from its last checkpoint"
_IMAGE = "look at launcher.image and launcher.image_pull_secrets"
# Why a container waits where it will not begin before somebody changes something. A first `ErrImagePull` may be a
# registry that did not answer once.
_HOPELESS: Mapping[str, str] = {
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
    "ErrImageNeverPull": "set launcher.image_pull_policy=IfNotPresent, or bring the image to the node",
    "CreateContainerConfigError": "look at launcher.hf_token_secret, launcher.hf_token_secret_key and "
    "launcher.run_as_user",
    "CreateContainerError": "look at launcher.image",
    "RunContainerError": "look at launcher.image, which has to have `python` in its path",
    "StartError": "look at launcher.image, which has to have `python` in its path",
}
_REMEDIES: Mapping[str, str] = {
    **_HOPELESS,
    "OOMKilled": "raise launcher.memory, or lower training.max_tokens_per_batch",
    "Evicted": f"set launcher.memory, so that the node keeps it for the pod, and {_LATER}",
    "DeadlineExceeded": "raise launcher.timeout_s and run again: it goes on from its last checkpoint",
    "Unschedulable": "ask for less (launcher.cpu, launcher.memory, launcher.gpus), look at launcher.node_selector and "
    "launcher.tolerations, or raise launcher.pending_timeout_s where nodes are added when they are needed",
    "FailedMount": "look at launcher.volume_claim and launcher.volume_sub_path",
    "FailedCreate": "look at the quota, the service account and the security standard of launcher.namespace",
}
# A container that has begun waits no more; these two are on their way.
_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
_UNTOLD = frozenset({"", "Error", "Completed", "BackoffLimitExceeded"})


@dataclass(frozen=True)
class Reason:
    """Why something is as it is, in Kubernetes' words.

    Attributes:
        name: Its one word for it, such as `Unschedulable`.
        message: Its sentence; may be empty.
    """

    name: str
    message: str = ""

    def __str__(self) -> str:
        """Both."""
        return ": ".join(filter(None, (self.name, self.message.strip())))

    @property
    def is_hopeless(self) -> bool:
        """Whether waiting does not help."""
        return self.name in _HOPELESS

    def error(self, what: str) -> TrainingProcessError:
        """The failure of a step for this reason."""
        return TrainingProcessError(f"{what}: {self}", fix=_REMEDIES.get(self.name, _LATER))


def phase(pod: Status) -> str:
    """One of this module's, or `Unknown` where its node does not answer."""
    return str(pod.get("status", {}).get("phase", PENDING))


def exit_code(pod: Status) -> int | None:
    """The exit code of the pod's container; None where it has none."""
    code = _container_state(pod, "terminated").get("exitCode")
    return None if code is None else int(code)


def last_words(pod: Status) -> str:
    """The end of the log of a container that failed."""
    return str(_container_state(pod, "terminated").get("message", "")).strip()


def is_complete(job: Status) -> bool:
    """Whether a job has come to a good end."""
    return bool(_condition(job, "Complete"))


def has_failed(job: Status) -> bool:
    """Whether a job has come to its end, and not a good one."""
    return bool(_condition(job, "Failed"))


def end_reason(job: Status, pod: Status | None) -> Reason | None:
    """Why a training ended that did not end by itself; None where it did."""
    failed = _condition(job, "Failed") or _condition(job, "FailureTarget")
    of_job = Reason(str(failed.get("reason", "")), str(failed.get("message", "")))
    found = [of_job] if of_job.name == "DeadlineExceeded" else []
    if pod is not None:
        status, ended = pod.get("status", {}), _container_state(pod, "terminated")
        disrupted = _condition(pod, "DisruptionTarget")
        found += [
            Reason(str(ended.get("reason", ""))),
            Reason(str(status.get("reason", "")), str(status.get("message", ""))),
            Reason(str(disrupted.get("reason", "")), str(disrupted.get("message", ""))),
        ]
    else:
        found.append(Reason("PodGone", of_job.message or "the pod was deleted"))
    return next((reason for reason in found if reason.name not in _UNTOLD), None)


def obstacle(pod: Status | None, events: Sequence[Status]) -> Reason | None:
    """What keeps a training from beginning; None where nothing is known to.

    Args:
        pod: The pod; None where there is none yet.
        events: What Kubernetes noted of the job and the pod, oldest first.
    """
    if pod is not None:
        waiting = _container_state(pod, "waiting")
        if waiting.get("reason", "") not in _ON_ITS_WAY:
            return Reason(str(waiting["reason"]), str(waiting.get("message", "")))
        scheduled = next((each for each in _conditions(pod) if each.get("type") == "PodScheduled"), {})
        if scheduled.get("status") == "False":
            return Reason(str(scheduled.get("reason", "Unschedulable")), str(scheduled.get("message", "")))
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return None
    return Reason(str(warnings[-1].get("reason", "")), str(warnings[-1].get("message", "")))


def _conditions(thing: Status) -> Sequence[Status]:
    return thing.get("status", {}).get("conditions") or ()


def _condition(thing: Status, kind: str) -> Status:
    """A condition that holds; empty where it does not."""
    holding = (each for each in _conditions(thing) if each.get("type") == kind and each.get("status") == "True")
    return next(holding, {})


def _container_state(pod: Status, state: str) -> Status:
    containers = pod.get("status", {}).get("containerStatuses") or ()
    found: Status = (containers[0].get("state") or {}).get(state) or {} if containers else {}
    return found
