"""Training in a pod: the job and what comes of it pass through the project's volume, the rest through Kubernetes.

The asset's process and the pod see the same folders. While it waits, the asset's process writes a heartbeat there: a
pod that misses it for `launcher.peer_timeout_s` keeps a checkpoint and ends, whatever became of who started it.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftzard.config import FtzardConfig, LauncherConfig
from ftzard.core.checkpoints import checkpoints_dir
from ftzard.errors import ConfigError, FtzardError, TrainingProcessError
from ftzard.resources.kubernetes_cluster import Cluster
from ftzard.resources.kubernetes_job import ASSET_LABEL, RUN_LABEL, Mount, PodTask, label_value, pod_user, render_job
from ftzard.resources.kubernetes_state import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Reason,
    Status,
    end_reason,
    exit_code,
    has_failed,
    is_complete,
    last_words,
    obstacle,
    phase,
)
from ftzard.resources.launcher import Errand, ProcessTrainer, logs_dir
from ftzard.resources.rank_reports import DONE, read_reports
from ftzard.resources.rank_reports import FAILED as FAILED_CODE

_logger = logging.getLogger(__name__)

_POLL_S = 1.0
_HASH = 12
# Where a pod ended without a container that says with what.
_UNKNOWN_CODE = 1


@dataclass(frozen=True)
class PodTrainer(ProcessTrainer):
    """Runs jobs in pods; a `ftzard.core.training_job.Trainer`.

    Attributes:
        project_dir: The project folder, which lies on the volume.
    """

    project_dir: Path = field(kw_only=True)

    def __post_init__(self) -> None:
        """Refuse at once what would be refused after the data is ready."""
        pod_user(self.config)

    def _supervise(self, errand: Errand, poll: Callable[[], None]) -> int:
        """Start the pod and see it through to its end, or through to ours; returns the exit code."""
        if errand.checkpoints is not None:
            # A folder that a mount has to make belongs to root.
            errand.checkpoints.mkdir(parents=True, exist_ok=True)
        name = f"ftzard-{errand.job.name[:_HASH]}-{secrets.token_hex(4)}"
        run = _PodRun(Cluster.of(self.config), self.config, errand, name)
        run.beat()
        labels = {"ftzard/training-job": label_value(errand.job.name)}
        if self.context is not None:
            labels[RUN_LABEL] = label_value(self.context.run_id)
            labels[ASSET_LABEL] = label_value(self.context.asset_key.to_user_string())
        task = pod_task(self.config, run.name, errand, self.project_dir, labels)
        return run.see_through(task, self.project_dir, poll)


def pod_task(config: LauncherConfig, name: str, errand: Errand, project_dir: Path, labels: dict[str, str]) -> PodTask:
    """What a pod is to do, and what it sees of the project for that."""
    mounts = [Mount(errand.output.parent), Mount(errand.logs)]
    mounts += [Mount(errand.checkpoints)] if errand.checkpoints else []
    model, working_dir = Path(errand.base_model).expanduser(), None
    # Where it is not, it is in the image.
    if model.exists() and model.resolve().is_relative_to(project_dir.resolve()):
        mounts.append(Mount(model, read_only=True))
        working_dir = None if model.is_absolute() else Path.cwd()
    options = [*errand.options(config), "--heartbeat", str(heartbeat_file(errand).resolve())]
    known = {key: value for key, value in labels.items() if value}
    return PodTask(name, options, mounts, errand.environment, known, working_dir)


def heartbeat_file(errand: Errand) -> Path:
    """What the asset's process writes to as long as it lives."""
    return errand.output.parent / "heartbeat"


@dataclass
class _PodRun:
    """One training in a pod."""

    cluster: Cluster
    config: LauncherConfig
    errand: Errand
    name: str
    num_beats: int = 0
    told: str = ""
    is_over: bool = False

    @property
    def what(self) -> str:
        return f"the training in job {self.name}, namespace {self.cluster.namespace},"

    def beat(self) -> None:
        """Say that we live."""
        self.num_beats += 1
        heartbeat_file(self.errand).write_text(str(self.num_beats), encoding="ascii")

    def see_through(self, task: PodTask, project_dir: Path, poll: Callable[[], None]) -> int:
        """Create the job, and leave nothing that still runs."""
        manifest = render_job(self.config, task, project_dir)
        try:
            self._create(manifest)
            return self._watch(poll)
        finally:
            # What failed by itself stays to be looked at, until Kubernetes removes it.
            if not self.is_over:
                self._delete()

    def _create(self, manifest: dict[str, Any]) -> None:
        try:
            self.cluster.create(manifest)
        except FtzardError:
            # There is none that could be deleted.
            self.is_over = True
            raise
        _logger.info("job %s in namespace %s, logs in %s", self.name, self.cluster.namespace, self.errand.logs)

    def _watch(self, poll: Callable[[], None]) -> int:
        pending_since = time.monotonic()
        while True:
            self.beat()
            poll()
            job, pod = self.cluster.job(self.name), self.cluster.pod(self.name)
            if job is None:
                raise TrainingProcessError(
                    f"{self.what} was deleted by somebody else", fix="run again: it goes on from its last checkpoint"
                )
            now = phase(pod) if pod is not None else PENDING
            if is_complete(job):
                return DONE
            if now in {SUCCEEDED, FAILED} or has_failed(job):
                return self._outcome(job, pod)
            if now == PENDING:
                self._look_why(pod, time.monotonic() - pending_since)
            else:
                pending_since = time.monotonic()
                self._tell(f"the pod runs on node {(pod or {}).get('spec', {}).get('nodeName', '?')}")
            time.sleep(_POLL_S)

    def _outcome(self, job: Status, pod: Status | None) -> int:
        """The exit code; what Kubernetes ended is an error here, because no process can tell of it."""
        code = exit_code(pod) if pod is not None else None
        if code == DONE:
            return DONE
        self.is_over = pod is None or phase(pod) == FAILED
        reports = read_reports(self.errand.output)
        words = last_words(pod) if pod is not None else ""
        (self.errand.logs / "launcher.log").write_text(words + "\n", encoding="utf-8")
        if not any(report.exit_code == FAILED_CODE for report in reports):
            reason = end_reason(job, pod)
            if reason is not None:
                raise reason.error(f"{self.what} was ended")
            if not reports:
                said = f": {words.splitlines()[-1]}" if words else ""
                raise TrainingProcessError(
                    f"{self.what} ended with exit code {code} before it began{said}",
                    fix="launcher.image has to have FTzard, and launcher.volume_claim with launcher.volume_sub_path to "
                    f"be where {self.errand.job} is; `kubectl -n {self.cluster.namespace} describe job {self.name}` "
                    "shows more",
                )
        return _UNKNOWN_CODE if code is None else code

    def _look_why(self, pod: Status | None, seconds: float) -> None:
        """Tell what the pod waits for, and end the wait where it is in vain or too long."""
        noted = self.cluster.events(self.name)
        if pod is not None:
            noted = [*noted, *self.cluster.events(pod["metadata"]["name"])]
        reason = obstacle(pod, noted)
        if reason is not None and reason.is_hopeless:
            raise reason.error(f"{self.what} cannot begin")
        if seconds > self.config.pending_timeout_s:
            waited = f"{self.what} has not begun within launcher.pending_timeout_s={self.config.pending_timeout_s:g}"
            raise (reason or Reason("Pending", "Kubernetes does not say why")).error(waited)
        if reason is not None:
            self._tell(f"the pod waits: {reason}")

    def _tell(self, message: str) -> None:
        if message != self.told:
            self.told = message
            _logger.info("%s", message)

    def _delete(self) -> None:
        try:
            self.cluster.delete(self.name, self.config.grace_s)
        except FtzardError as error:
            # Not in the place of what went before; the pod misses its heartbeat and ends.
            _logger.warning("job %s in namespace %s is left: %s", self.name, self.cluster.namespace, error)


def example_manifest(config: FtzardConfig, project_dir: Path) -> dict[str, Any]:
    """The manifest of a training of this project, but for what differs from one to the next.

    Raises:
        ConfigError: The launcher has none.
    """
    launcher = config.launcher
    if launcher.kind != "k8s":
        raise ConfigError(f"launcher.kind is {launcher.kind!r}, which has no manifest", fix="set launcher=k8s")
    work = project_dir / ".ftzard" / "scratch" / "run" / "adapter.job"
    errand = Errand(
        work / ("0" * 64),
        work / "output",
        logs_dir(project_dir) / "0000000000000000",
        checkpoints_dir(project_dir),
        config.model.base_model,
        {},
    )
    labels = {"ftzard/training-job": label_value(errand.job.name)}
    return render_job(launcher, pod_task(launcher, "ftzard-example", errand, project_dir, labels), project_dir)
