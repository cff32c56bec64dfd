"""The section `launcher`: where a training runs."""

from dataclasses import MISSING, Field, field, fields
from typing import Any, Literal, Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, NonNegativeInt, PositiveFloat, PositiveInt
from ftzard.config.kubernetes import (
    CpuAmount,
    ImageName,
    LabelKey,
    LabelValue,
    MemoryAmount,
    NamespaceName,
    ObjectName,
    SecretKey,
    Toleration,
    VariableName,
    VariableValue,
    VolumePath,
)

_OF_ALL_KINDS = frozenset({"kind", "num_processes", "num_threads", "timeout_s", "peer_timeout_s", "grace_s"})
_NEEDED = {
    "image": "an image that has FTzard",
    "volume_claim": "the PersistentVolumeClaim on which the project folder lies",
}


@dataclass(frozen=True, config=STRICT)
class LauncherConfig:
    """Where a training runs. Nothing here decides what is trained, and changing it makes no adapter stale."""

    # `in_process`: in the process of the asset. `local`: in a process of its own. `torchrun` and `ray`: in several on
    # this machine, which divide the examples of each optimizer step. `k8s`: in one or several in a pod.
    kind: Literal["in_process", "local", "torchrun", "ray", "k8s"] = "in_process"
    num_processes: PositiveInt = 1
    # CPU threads of each process; None: what OMP_NUM_THREADS says, else the machine's or the pod's cores divided among
    # them.
    num_threads: PositiveInt | None = None
    # How long a training may take, with `k8s` the wait for a node included; None: however long.
    timeout_s: PositiveFloat | None = None
    # How long a process waits for the others in the middle of a step before it takes them for lost.
    peer_timeout_s: PositiveFloat = 600.0
    # How long processes that are asked to end may take to save where they were, before they are killed.
    grace_s: PositiveFloat = 30.0

    # What follows is for `k8s` alone.
    # The image has FTzard, and `python` in its path; it must be given, and so must `volume_claim`.
    image: ImageName | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: tuple[ObjectName, ...] = ()
    # The cluster: a context of the kubeconfig; None: the current one, or in a pod its own cluster.
    context: str | None = None
    namespace: NamespaceName = "default"
    service_account_name: ObjectName | None = None
    # The PersistentVolumeClaim on which the project folder lies, and where on it; empty: it is the volume's root.
    volume_claim: ObjectName | None = None
    volume_sub_path: VolumePath = ""
    # The user of the pod, who must be able to read and write what the asset's process writes; None: that of the
    # asset's process, which then must not be root.
    run_as_user: PositiveInt | None = None
    # What the pod asks for and may take at most; None: what the namespace gives.
    cpu: CpuAmount | None = None
    memory: MemoryAmount | None = None
    # `nvidia.com/gpu`.
    gpus: NonNegativeInt = 0
    node_selector: dict[LabelKey, LabelValue] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    # Variables of the pod; nothing secret, because whoever may look at a pod reads them.
    env: dict[VariableName, VariableValue] = field(default_factory=dict)
    # A Secret that holds the Hugging Face token of a gated model, and its key there.
    hf_token_secret: ObjectName | None = None
    hf_token_secret_key: SecretKey = "HF_TOKEN"  # noqa: S105 - the name of a key, no secret
    # How long a pod may wait for a node and its image; more where nodes are added when they are needed.
    pending_timeout_s: PositiveFloat = 900.0
    # How long Kubernetes keeps a job that failed, to be looked at.
    ttl_seconds_after_finished: NonNegativeInt = 86_400

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_processes > 1 and self.kind in {"in_process", "local"}:
            several = "take 'torchrun', 'ray' or 'k8s'"
            message = f"num_processes is {self.num_processes}, and kind {self.kind!r} has one: {several}"
            raise ValueError(message)
        if self.kind == "k8s":
            self._check_pod()
            return self
        idle = [item.name for item in fields(self) if item.name not in _OF_ALL_KINDS and not self._is_default(item)]
        if idle:
            message = f"launcher.{idle[0]} has no effect where launcher.kind is {self.kind!r}: take 'k8s'"
            raise ValueError(message)
        return self

    @property
    def runs_elsewhere(self) -> bool:
        """Whether a training runs on another machine, of whose memory and devices nothing is known here."""
        return self.kind == "k8s"

    def _check_pod(self) -> None:
        for name, what in _NEEDED.items():
            if getattr(self, name) is None:
                message = f"launcher.{name} must be given where launcher.kind is 'k8s': {what}"
                raise ValueError(message)
        if 0 < self.gpus < self.num_processes:
            message = f"launcher.gpus is {self.gpus}, and launcher.num_processes {self.num_processes}: each takes one"
            raise ValueError(message)

    def _is_default(self, item: "Field[Any]") -> bool:
        default = item.default if item.default_factory is MISSING else item.default_factory()
        return bool(getattr(self, item.name) == default)
