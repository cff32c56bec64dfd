"""One MLflow run, by its id: everything that is logged goes through explicit calls of the client."""

import hashlib
import logging
import posixpath
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftzard.resources.git import redact
from ftzard.resources.outbox import LOCAL_ID_TAG, RunSender, UnsentRun, is_local, is_unavailable
from ftzard.resources.run_operations import (
    EndRun,
    LogDatasets,
    LogFolder,
    LogMetrics,
    LogParams,
    MetricPoint,
    RecordCommit,
    SetTags,
    Status,
    TrackedDataset,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

STEP_TAG = "ftzard.step"
# Not `dagster_run_id`: dagster_mlflow's legacy resource would adopt a run with that tag as its own.
DAGSTER_RUN_TAG = "ftzard.dagster_run_id"
PARENT_RUN_TAG = "mlflow.parentRunId"

# MLflow cuts values that are longer.
_MAX_PARAM_LENGTH = 6000
# MLflow takes 250 characters; the rest is for a piece of a hash.
_MAX_NAME_LENGTH = 240
_FLUSH_AFTER_S = 5.0
_NOT_IN_A_NAME = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class TrackedRun:
    """A child run and everything FTzard writes into it."""

    sender: RunSender
    run_id: str
    parent_run_id: str
    experiment_id: str
    step: str
    dagster_run_id: str = ""
    _pending: list[MetricPoint] = field(default_factory=list, repr=False)
    _flushed: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False)

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client of this run's store, for what has no method here.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        return self.sender.client

    @contextmanager
    def open_child(self, name: str) -> Iterator["TrackedRun"]:
        """Open a run below this one for a part of its work; it ends as the block does."""
        tags = {DAGSTER_RUN_TAG: self.dagster_run_id}
        child = create_child(self.sender, self.experiment_id, self.run_id, f"{self.step}_PART", name=name, tags=tags)
        with child.ending_on_failure():
            yield child
        child.finish("FINISHED")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        self.sender.send(LogParams({key: str(value)[:_MAX_PARAM_LENGTH] for key, value in _flat(params)}))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics at once, and those that wait."""
        self._collect(metrics, step)
        self._flush()

    def log_now(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log metrics past those that wait; another thread than the work's own may do so."""
        self.sender.send(LogMetrics([_point(name, value, step) for name, value in metrics.items()]))

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics soon: a learning curve costs one call every few seconds."""
        self._collect(metrics, step)
        if time.monotonic() - self._flushed[0] > _FLUSH_AFTER_S:
            self._flush()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, many in one call."""
        self.sender.send(SetTags({key: str(value) for key, value in tags.items()}))

    def log_datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """Log the datasets that the run read or wrote, in one call; those that were never committed have no hash."""
        if committed := [one for one in datasets if one.data_hash]:
            self.sender.send(LogDatasets(committed))

    def log_text(self, text: str, artifact_file: str) -> None:
        """Log a text as an artifact."""
        self.log_bytes(text.encode(), artifact_file)

    def log_bytes(self, content: bytes, artifact_file: str) -> None:
        """Log bytes as an artifact; `artifact_file` is a relative path such as `figures/loss.png`."""
        folder, _, name = artifact_file.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, name).write_bytes(content)
            self.log_directory(Path(scratch), folder)

    def log_directory(self, directory: Path, artifact_path: str) -> None:
        """Log a directory's files as artifacts."""
        self.sender.send(LogFolder(str(directory), artifact_path))

    def record_commit(self, commit_id: str, entry: Mapping[str, str]) -> None:
        """Tag the run with a data commit and append it to the run's `commit_history.json`."""
        self.sender.send(RecordCommit({"commit_id": commit_id, **entry}))

    def finish(self, status: Status) -> None:
        """End the run; metrics that wait are logged first, and what a server missed is offered once more."""
        self._flush()
        self.sender.send(EndRun(status))
        if not self.sender.flush():
            logger.warning(
                "MLflow cannot be reached: what run %s logged is in the outbox, and the next run sends it", self.run_id
            )

    @contextmanager
    def ending_on_failure(self) -> Iterator[None]:
        """End the run as FAILED when the block raises, as KILLED when it is interrupted, and raise on."""
        try:
            yield
        except Exception as error:
            self._end_with(error, "FAILED")
            raise
        except BaseException as interruption:
            # KeyboardInterrupt, SystemExit and Dagster's DagsterExecutionInterruptedError.
            self._end_with(interruption, "KILLED")
            raise

    def _end_with(self, error: BaseException, status: Status) -> None:
        try:
            # Others than ours may name the URL that they failed at, with all that was in it.
            self.set_tags({"ftzard.error": redact(f"{type(error).__name__}: {error}")[:_MAX_PARAM_LENGTH]})
            self.finish(status)
        except Exception:
            # The step's own error is what the person needs to see.
            logger.exception("MLflow run %s could not be ended as %s", self.run_id, status)

    def _collect(self, metrics: Mapping[str, float], step: int) -> None:
        self._pending.extend(_point(name, value, step) for name, value in metrics.items())

    def _flush(self) -> None:
        pending = tuple(self._pending)
        # Before they are sent: what MLflow refuses it would refuse again when the run is to end.
        self._pending.clear()
        if pending:
            self.sender.send(LogMetrics(pending))
        self._flushed[0] = time.monotonic()


def create_child(
    sender: RunSender, experiment_id: str, parent_run_id: str, step: str, *, name: str, tags: Mapping[str, str]
) -> TrackedRun:
    """Create a run below another one; the caller names it, and explains what the store refuses.

    Args:
        sender: Of any run of the same store.
        experiment_id: Empty where the server is away.
        parent_run_id: The run above.
        step: Its tag.
        name: Its name.
        tags: Tags besides.
    """
    unsent = UnsentRun(step, parent_run_id, name, int(time.time() * 1000), dict(tags))
    dagster_run_id = tags.get(DAGSTER_RUN_TAG, "")
    try:
        if is_local(parent_run_id):
            parent_run_id = sender.below(parent_run_id).server_id()
        run_id = make_run(sender.client, experiment_id, parent_run_id, unsent)
    except Exception as error:
        if sender.outbox is None or not is_unavailable(error):
            raise
        sender.outbox.new_run(unsent)
        run_id = unsent.local_id
    return TrackedRun(sender.below(run_id), run_id, parent_run_id, experiment_id, step, dagster_run_id)


def make_run(client: "MlflowClient", experiment_id: str, parent_run_id: str, run: UnsentRun) -> str:
    """Make a run in the store; returns its id there."""
    own = {
        PARENT_RUN_TAG: parent_run_id,
        STEP_TAG: run.step,
        LOCAL_ID_TAG: run.local_id,
        "mlflow.source.name": "ftzard",
        "mlflow.source.type": "JOB",
    }
    made = client.create_run(experiment_id, run.start_time_ms, run_name=run.name, tags=own | dict(run.tags))
    return str(made.info.run_id)


def _point(name: str, value: float, step: int) -> MetricPoint:
    return MetricPoint(_mlflow_name(name), float(value), step)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield _mlflow_name(f"{prefix}{key}"), value


def _mlflow_name(key: str) -> str:
    """The name of a parameter or metric as MLflow takes it; keys hold labels and file names, which may be anything.

    One that is not taken as it is ends in a piece of its hash, so that two of them stay two.
    """
    name = _NOT_IN_A_NAME.sub("_", key)
    # MLflow may make a path of it, and refuses one that means another.
    name = posixpath.normpath(name).lstrip("/").replace("..", "__")[:_MAX_NAME_LENGTH]
    return name if name == key else f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
