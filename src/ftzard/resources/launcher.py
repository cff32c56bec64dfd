"""Training in processes of its own: started, watched, told of, and ended with whoever started them.

The contract is a folder in, a folder out and an exit code (`ftzard.resources.job_folder`, `ftzard.training_process`).
What happens meanwhile comes through Dagster Pipes: log records go to ours, progress to the caller, who tells MLflow.
Nothing secret goes to the processes: they get no credentials of MLflow or of a remote.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftzard.config import LauncherConfig
from ftzard.config.kubernetes import SECRET_NAME
from ftzard.core.progress import Progress
from ftzard.core.records import AdapterDirectory
from ftzard.core.training_job import Trained, Trainer, TrainingJob, train_here
from ftzard.errors import MissingPackageError, TrainingProcessError
from ftzard.resources.interruption import deferred_requests
from ftzard.resources.job_folder import read_trained, write_job
from ftzard.resources.pipes_messages import told_messages
from ftzard.resources.rank_reports import failure, read_reports

if TYPE_CHECKING:
    import dagster as dg
    import psutil  # type: ignore[import-untyped]  # psutil ships no types

_logger = logging.getLogger(__name__)

TRAINING_MODULE: Final = "ftzard.training_process"
# The ranks of one machine need no other interface.
OWN_INTERFACE: Final[Mapping[str, str]] = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
_RAY_MODULE = "ftzard.ray_training"
_TORCHRUN_MODULE = "ftzard.loopback_torchrun"
_POLL_S = 0.2
# How long torchrun gives the other ranks when one is gone.
_SHUTDOWN_S = 10
# Logs of failed trainings that nobody has looked at for so long are removed.
_LOGS_KEPT_S = 14 * 86_400.0
# The secrets that loading a gated model needs.
_NEEDED = frozenset({"HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN"})


def logs_dir(project_dir: Path) -> Path:
    """Where the logs of a project's training processes are."""
    return project_dir / ".ftzard" / "logs"


@dataclass(frozen=True)
class Errand:
    """What processes are sent to do.

    Attributes:
        job: The folder of the job.
        output: The folder for what comes of it.
        logs: The folder of the logs.
        checkpoints: The folder in which trainings keep their checkpoints; None: nowhere.
        base_model: As configured.
        environment: What they need to tell of themselves.
    """

    job: Path
    output: Path
    logs: Path
    checkpoints: Path | None
    base_model: str
    environment: Mapping[str, str]

    def options(self, config: LauncherConfig) -> list[str]:
        """The arguments of `ftzard.training_process`."""
        own = [str(self.job.resolve()), str(self.output.resolve()), "--log-folder", str(self.logs.resolve())]
        own += ["--checkpoints", str(self.checkpoints.resolve())] if self.checkpoints else []
        own += ["--peer-timeout-s", str(config.peer_timeout_s)]
        return [*own, "--num-threads", str(config.num_threads)] if config.num_threads is not None else own


@dataclass(frozen=True)
class ProcessTrainer:
    """Runs jobs in processes of their own; a `ftzard.core.training_job.Trainer`.

    Attributes:
        config: How many, and for how long.
        logs_dir: Where the logs go; those of a training that came to its end are removed.
        context: The Dagster step that is told of it; None where there is none.
    """

    config: LauncherConfig
    logs_dir: Path
    context: "dg.AssetExecutionContext | None" = None

    def __call__(
        self,
        job: TrainingJob,
        output_dir: Path,
        *,
        checkpoint_dir: Path | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Trained:
        """Run a job.

        Raises:
            TrainingProcessError: A process was killed, crashed, could not be started, or all took too long.
            FtzardError: What a process failed with.
        """
        # Beside the place of the adapter, which is moved there; what a kill leaves goes with the scratch folder.
        work = output_dir.with_name(f"{output_dir.name}.job")
        output = work / "output"
        work.mkdir(mode=0o700, parents=True)
        try:
            output.mkdir(mode=0o700)
            folder = write_job(job, work)
            logs = self._new_logs(folder.name)
            with told_messages(self.context, on_progress, work) as (environment, poll):
                errand = Errand(folder, output, logs, checkpoint_dir, job.config.model.base_model, environment)
                code = self._supervise(errand, poll)
            if code != 0:
                raise failure(output, self.config.num_processes, logs)
            trained = read_trained(output)
            adapter = trained.result.adapter.path.rename(output_dir)
            shutil.rmtree(logs, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        moved = AdapterDirectory(adapter, trained.result.adapter.checksum)
        return replace(trained, result=replace(trained.result, adapter=moved))

    def _new_logs(self, name: str) -> Path:
        for old in self.logs_dir.glob("*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > _LOGS_KEPT_S:
                    shutil.rmtree(old, ignore_errors=True)
        logs = self.logs_dir / name[:16]
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(mode=0o700, parents=True)
        return logs

    def _supervise(self, errand: Errand, poll: Callable[[], None]) -> int:
        """Start the processes and see them through to their end, or through to ours; returns the exit code."""
        environment = {**_without_secrets(os.environ), **self._threads(), **errand.environment}
        logs = errand.logs
        timeout_s = self.config.timeout_s or float("inf")
        started = time.monotonic()
        with (logs / "launcher.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - no shell, and each argument is ours
                self._command(errand),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            _logger.info("training in %d process(es), logs in %s", self.config.num_processes, logs)
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(_POLL_S)
                    poll()
                    if time.monotonic() - started > timeout_s:
                        raise TrainingProcessError(
                            f"the training took longer than launcher.timeout_s={timeout_s:g} and was ended",
                            fix="raise launcher.timeout_s and run again: it goes on from its last checkpoint",
                        )
            finally:
                _end(process, errand.output, self.config.grace_s)

    def _command(self, errand: Errand) -> list[str]:
        own = [*errand.options(self.config), "--tied-to-stdin"]
        if self.config.kind == "local":
            return [sys.executable, "-m", TRAINING_MODULE, *own]
        if self.config.kind == "ray":
            return [sys.executable, "-m", _RAY_MODULE, str(self.config.num_processes), *own]
        size = self.config.num_processes
        return torchrun_command(sys.executable, size, own, shutdown_s=_SHUTDOWN_S)

    def _threads(self) -> dict[str, str]:
        num_threads = self.config.num_threads
        if num_threads is None and self.config.num_processes > 1 and "OMP_NUM_THREADS" not in os.environ:
            num_threads = max(1, len(os.sched_getaffinity(0)) // self.config.num_processes)
        threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
        return {**threads, **OWN_INTERFACE}


def trainer(config: LauncherConfig, project_dir: Path, context: "dg.AssetExecutionContext | None" = None) -> Trainer:
    """What runs a training job, by the section `launcher` of the configuration.

    Raises:
        MissingPackageError: The launcher's package is not installed.
    """
    if config.kind == "in_process":
        return _train_in_this_process
    if config.kind == "ray" and find_spec("ray") is None:
        raise MissingPackageError("launcher.kind is 'ray', and Ray is not installed", fix="pip install 'ftzard[ray]'")
    if config.kind == "k8s":
        from ftzard.resources.pod_training import PodTrainer

        if find_spec("kubernetes") is None:
            missing = "launcher.kind is 'k8s', and Kubernetes' client is not installed"
            raise MissingPackageError(missing, fix="pip install 'ftzard[k8s]'")
        return PodTrainer(config, logs_dir(project_dir), context, project_dir=project_dir)
    return ProcessTrainer(config, logs_dir(project_dir), context)


def _train_in_this_process(
    job: TrainingJob,
    output_dir: Path,
    *,
    checkpoint_dir: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train here; who asks the process to end meanwhile is answered at the end of an optimizer step."""
    with deferred_requests() as answer_requests:

        def report(progress: Progress) -> None:
            if on_progress is not None:
                on_progress(progress)
            answer_requests()

        return train_here(job, output_dir, checkpoint_dir=checkpoint_dir, on_progress=report)


def torchrun_command(python: str, size: int, options: Sequence[str], *, shutdown_s: int) -> list[str]:
    """What starts several processes of a training, which divide it.

    Args:
        python: The interpreter.
        size: How many.
        options: Of `ftzard.training_process`.
        shutdown_s: How long the others have when one is gone, or all are asked to end.
    """
    return [
        *(python, "-m", _TORCHRUN_MODULE, "--nproc-per-node", str(size)),
        *("--max-restarts", "0", "--shutdown-timeout", str(shutdown_s)),
        *("-m", TRAINING_MODULE, *options),
    ]


def _end(process: "subprocess.Popen[bytes]", output: Path, grace_s: float) -> None:
    """End what was started and all that it started, asked first and killed after the grace."""
    import psutil

    ranks, others = _ranks(output), _started(process)
    if process.stdin is not None:
        process.stdin.close()
    # What started the ranks ends when they have; Ray would kill them if it ended first.
    for each in ranks or others:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGTERM)
    left = [*{each.pid: each for each in (*ranks, *others)}.values()]
    try:
        _, left = psutil.wait_procs(left, timeout=grace_s)
    finally:
        # Also where somebody is impatient and interrupts the wait.
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=_SHUTDOWN_S)
        process.wait()


def _started(process: "subprocess.Popen[bytes]") -> "list[psutil.Process]":
    """A process and those below it; none where it has ended."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        if process.poll() is None:
            started = psutil.Process(process.pid)
            return [started, *started.children(recursive=True)]
    return []


def _ranks(output: Path) -> "list[psutil.Process]":
    """The processes that train, also those whose starter is gone."""
    import psutil

    found = []
    for report in read_reports(output):
        with suppress(psutil.Error):
            each = psutil.Process(report.pid)
            # The number may belong to another process by now.
            if str(output.resolve()) in each.cmdline():
                found.append(each)
    return found


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in _NEEDED or not SECRET_NAME.search(name)}
