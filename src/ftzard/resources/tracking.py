"""MLflow through its client API alone: explicit run ids, no active run, nothing process-wide.

Each step has one parent run per experiment; each materialization opens one child under it. A person's own
`mlflow.start_run`, a set `MLFLOW_RUN_ID` and steps in parallel processes are therefore none of FTzard's business.
"""

import json
import logging
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from ftzard.config import TrackingConfig
from ftzard.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

STEP_TAG = "ftzard.step"
PARENT_TAG = "ftzard.parent_step"
# Not `dagster_run_id`: dagster_mlflow's legacy resource would adopt a run with that tag as its own.
DAGSTER_RUN_TAG = "ftzard.dagster_run_id"
# Metadata key by which a materialization names its MLflow run.
RUN_ID_KEY = "mlflow_run_id"
COMMIT_TAG = "current_full_commit_id"
COMMIT_HISTORY = "commit_history.json"
_PARENT_RUN_TAG = "mlflow.parentRunId"

_SQLITE = "sqlite:///"
# MLflow takes no more parameters or tags in one call, and cuts values that are longer.
_MAX_PARAMS_PER_CALL = 100
_MAX_PARAM_LENGTH = 6000
_FLUSH_AFTER_S = 5.0
_NOT_IN_A_METRIC_NAME = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class RunSummary:
    """A child run in a list: its step and parent, its name (the UTC start time) and its status."""

    step: str
    parent_run_id: str
    run_id: str
    name: str
    status: str


@dataclass(frozen=True)
class Tracking:
    """One experiment in one tracking store.

    Args:
        config: Where the store is; a relative SQLite path is taken from `project_dir`.
        project_dir: The project folder.
    """

    config: TrackingConfig
    project_dir: Path

    @property
    def tracking_uri(self) -> str:
        """The store's URI, absolute: MLflow itself would take a relative SQLite path from the current directory."""
        uri = self.config.tracking_uri
        if not uri.startswith(_SQLITE):
            return uri
        return f"{_SQLITE}{self.project_dir.resolve() / uri.removeprefix(_SQLITE)}"

    @property
    def store_file(self) -> Path | None:
        """The SQLite file; None where a server or another database keeps the runs."""
        uri = self.tracking_uri
        return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None

    @contextmanager
    def connected(self) -> Iterator["MlflowClient"]:
        """MLflow's client for what has no method here.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self._refusals_explained():
            yield self._client()

    def open_run(self, step: str, *, tags: Mapping[str, str]) -> "TrackedRun":
        """Open a child run, named by its UTC start time, under the step's parent run.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self._refusals_explained():
            client = self._client()
            with self._lock():
                experiment_id = self._experiment(client)
                parent_run_id = self._parent_run(client, experiment_id, step)
            start = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            return _create_child(client, experiment_id, parent_run_id, step, name=start, tags=tags)

    def run(self, run_id: str) -> "TrackedRun":
        """A run that `open_run` opened, also in another process.

        Raises:
            TrackingError: The store cannot be reached or does not know the run.
        """
        with self._refusals_explained():
            client = self._client()
            run = client.get_run(run_id)
        tags = run.data.tags
        return TrackedRun(client, run_id, tags.get(_PARENT_RUN_TAG, ""), run.info.experiment_id, tags.get(STEP_TAG, ""))

    def runs(self) -> tuple[RunSummary, ...]:
        """All child runs of the experiment, oldest first; none where there is no such experiment."""
        with self._refusals_explained():
            client = self._client()
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return ()
            found = client.search_runs(
                [experiment.experiment_id], f"tags.`{_PARENT_RUN_TAG}` != ''", order_by=["attributes.start_time ASC"]
            )
        return tuple(
            RunSummary(
                run.data.tags.get(STEP_TAG, ""),
                run.data.tags[_PARENT_RUN_TAG],
                str(run.info.run_id),
                str(run.info.run_name),
                str(run.info.status),
            )
            for run in found
        )

    def last_metrics(self, steps: Sequence[str]) -> Mapping[str, float]:
        """The metrics of the latest finished child run of one of these steps; none where there is none."""
        with self._refusals_explained():
            client = self._client()
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return {}
            finished = f"tags.`{_PARENT_RUN_TAG}` != '' AND attributes.status = 'FINISHED'"
            latest = [
                run
                for step in steps
                for run in client.search_runs(
                    [experiment.experiment_id],
                    f"{finished} AND tags.`{STEP_TAG}` = '{step}'",
                    max_results=1,
                    order_by=["attributes.start_time DESC"],
                )
            ]
        last = max(latest, key=lambda run: int(run.info.start_time), default=None)
        return dict(last.data.metrics) if last is not None else {}

    def close_abandoned(self, is_over: Callable[[str], bool]) -> int:
        """End the runs a killed process left RUNNING as KILLED.

        Args:
            is_over: Whether the Dagster run with this id has ended; runs of unknown ids are left alone.

        Returns:
            How many runs were closed.
        """
        with self._refusals_explained():
            client = self._client()
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return 0
            running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
            abandoned = [run for run in running if is_over(run.data.tags.get(DAGSTER_RUN_TAG, ""))]
            for run in abandoned:
                client.set_terminated(run.info.run_id, "KILLED")
        return len(abandoned)

    def _client(self) -> "MlflowClient":
        # Read when MLflow is imported: it reports its use over the network otherwise.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Nobody waits for files this small, and the bars would stand between a command's own lines.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._check_server()
        from mlflow import MlflowClient

        # Processes that open a fresh SQLite store at the same time crash while they make its tables.
        with self._lock():
            client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            client.search_experiments(max_results=1)
        return client

    def _check_server(self) -> None:
        """Ask the server for its health: MLflow's own client would try again for minutes."""
        uri = self.config.tracking_uri
        if not uri.startswith(("http://", "https://")):
            return
        try:
            health = f"{uri.rstrip('/')}/health"
            with urllib.request.urlopen(health, timeout=self.config.request_timeout_s):  # noqa: S310 # scheme checked above
                return
        except urllib.error.HTTPError:
            return  # Somebody answered; what a proxy thinks of /health says nothing about the API.
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise self._error(str(getattr(error, "reason", error))) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        directory = self.project_dir / ".ftzard"
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / "tracking.lock", is_singleton=True):
            yield

    @contextmanager
    def _refusals_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(str(error)) from error
        except Exception as error:
            # MLflow and SQLAlchemy share no base class, and importing either costs seconds.
            if type(error).__module__.partition(".")[0] not in {"mlflow", "sqlalchemy", "requests", "urllib3"}:
                raise
            raise self._error(str(error).partition("\n")[0]) from error

    def _error(self, reason: str) -> TrackingError:
        return TrackingError(
            f"MLflow at {self.tracking_uri} (tracking.tracking_uri) cannot be used: {reason}",
            fix="start the server, or give another store: tracking.tracking_uri=sqlite:///mlflow.db",
        )

    def _experiment(self, client: "MlflowClient") -> str:
        experiment = client.get_experiment_by_name(self.config.experiment)
        if experiment is None:
            is_file = self.config.tracking_uri.startswith(_SQLITE)
            artifacts = (self.project_dir.resolve() / self.config.artifact_dir).as_uri() if is_file else None
            return str(client.create_experiment(self.config.experiment, artifact_location=artifacts))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"The MLflow experiment {self.config.experiment!r} (tracking.experiment) was deleted",
                fix=f"`mlflow experiments restore -x {experiment.experiment_id}`, or another tracking.experiment",
            )
        return str(experiment.experiment_id)

    def _parent_run(self, client: "MlflowClient", experiment_id: str, step: str) -> str:
        """The earliest parent of the step: whoever raced past the lock on another host adopts the same one."""
        found = client.search_runs(
            [experiment_id], f"tags.`{PARENT_TAG}` = '{step}'", max_results=1, order_by=["attributes.start_time ASC"]
        )
        if found:
            return str(found[0].info.run_id)
        run = client.create_run(experiment_id, run_name=step, tags={PARENT_TAG: step, STEP_TAG: step})
        # A parent lives as long as the experiment; children may be added to a finished run.
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)


@dataclass(frozen=True)
class TrackedRun:
    """A child run and everything FTzard writes into it."""

    client: "MlflowClient"
    run_id: str
    parent_run_id: str
    experiment_id: str
    step: str
    _pending: list["Metric"] = field(default_factory=list, repr=False)
    _flushed: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False)

    @contextmanager
    def open_child(self, name: str) -> Iterator["TrackedRun"]:
        """Open a run below this one for a part of its work; it ends as the block does."""
        tags = {DAGSTER_RUN_TAG: self.client.get_run(self.run_id).data.tags.get(DAGSTER_RUN_TAG, "")}
        step = f"{self.step}_PART"
        child = _create_child(self.client, self.experiment_id, self.run_id, step, name=name, tags=tags)
        with child.ending_on_failure():
            yield child
        child.finish("FINISHED")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in _flat(params)]
        for start in range(0, len(flat), _MAX_PARAMS_PER_CALL):
            self.client.log_batch(self.run_id, params=flat[start : start + _MAX_PARAMS_PER_CALL])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics at once, and those that wait."""
        self._collect(metrics, step)
        self._flush()

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics soon: a learning curve costs one call every few seconds."""
        self._collect(metrics, step)
        if time.monotonic() - self._flushed[0] > _FLUSH_AFTER_S:
            self._flush()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Log a text as an artifact."""
        self.client.log_text(self.run_id, text, artifact_file)

    def log_bytes(self, content: bytes, artifact_file: str) -> None:
        """Log bytes as an artifact; `artifact_file` is a relative path such as `figures/loss.png`."""
        folder, _, name = artifact_file.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_bytes(content)
            self.client.log_artifact(self.run_id, str(path), folder or None)

    def log_directory(self, directory: Path, artifact_path: str) -> None:
        """Log a directory's files as artifacts."""
        self.client.log_artifacts(self.run_id, str(directory), artifact_path)

    def record_commit(self, commit_id: str, entry: Mapping[str, str]) -> None:
        """Tag the run with a data commit and append it to the run's `commit_history.json`."""
        history = [*self._commit_history(), {"commit_id": commit_id, **entry}]
        self.log_text(json.dumps(history, indent=2), COMMIT_HISTORY)
        self.set_tags({COMMIT_TAG: commit_id})

    def finish(self, status: Status) -> None:
        """End the run; metrics that wait are logged first."""
        self._flush()
        self.client.set_terminated(self.run_id, status)

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
            self.set_tags({"ftzard.error": f"{type(error).__name__}: {error}"[:_MAX_PARAM_LENGTH]})
            self.finish(status)
        except Exception:
            # The step's own error is what the person needs to see.
            logger.exception("MLflow run %s could not be ended as %s", self.run_id, status)

    def _commit_history(self) -> Sequence[Mapping[str, str]]:
        if not any(item.path == COMMIT_HISTORY for item in self.client.list_artifacts(self.run_id)):
            return []
        with tempfile.TemporaryDirectory() as scratch:
            path = self.client.download_artifacts(self.run_id, COMMIT_HISTORY, scratch)
            history: list[Mapping[str, str]] = json.loads(Path(path).read_text(encoding="utf-8"))
        return history

    def _collect(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        for name, value in metrics.items():
            self._pending.append(Metric(_NOT_IN_A_METRIC_NAME.sub("_", name), float(value), now_ms, step))

    def _flush(self) -> None:
        if self._pending:
            self.client.log_batch(self.run_id, metrics=self._pending)
        self._pending.clear()
        self._flushed[0] = time.monotonic()


def _create_child(
    client: "MlflowClient", experiment_id: str, parent_run_id: str, step: str, *, name: str, tags: Mapping[str, str]
) -> TrackedRun:
    own = {
        _PARENT_RUN_TAG: parent_run_id,
        STEP_TAG: step,
        "mlflow.source.name": "ftzard",
        "mlflow.source.type": "JOB",
    }
    run = client.create_run(experiment_id, run_name=name, tags=own | dict(tags))
    return TrackedRun(client, str(run.info.run_id), parent_run_id, experiment_id, step)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
