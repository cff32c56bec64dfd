"""MLflow through its client API alone: explicit run ids, no active run, nothing process-wide.

Each step has one parent run per experiment; each materialization opens one child under it. A person's own
`mlflow.start_run`, a set `MLFLOW_RUN_ID` and steps in parallel processes are therefore none of FTzard's business.
"""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ftzard.config import TrackingConfig
from ftzard.errors import TrackingError
from ftzard.resources.tracked_run import DAGSTER_RUN_TAG, PARENT_RUN_TAG, STEP_TAG, TrackedRun, create_child

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PARENT_TAG = "ftzard.parent_step"
# Metadata key by which a materialization names its MLflow run.
RUN_ID_KEY = "mlflow_run_id"

_SQLITE = "sqlite:///"


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
            return create_child(client, experiment_id, parent_run_id, step, name=start, tags=tags)

    def run(self, run_id: str) -> "TrackedRun":
        """A run that `open_run` opened, also in another process.

        Raises:
            TrackingError: The store cannot be reached or does not know the run.
        """
        with self._refusals_explained():
            client = self._client()
            run = client.get_run(run_id)
        tags = run.data.tags
        return TrackedRun(client, run_id, tags.get(PARENT_RUN_TAG, ""), run.info.experiment_id, tags.get(STEP_TAG, ""))

    def runs(self) -> tuple[RunSummary, ...]:
        """All child runs of the experiment, oldest first; none where there is no such experiment."""
        with self._refusals_explained():
            client = self._client()
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return ()
            found = client.search_runs(
                [experiment.experiment_id], f"tags.`{PARENT_RUN_TAG}` != ''", order_by=["attributes.start_time ASC"]
            )
        return tuple(
            RunSummary(
                run.data.tags.get(STEP_TAG, ""),
                run.data.tags[PARENT_RUN_TAG],
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
            finished = f"tags.`{PARENT_RUN_TAG}` != '' AND attributes.status = 'FINISHED'"
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
            self._make_store()
            client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            client.search_experiments(max_results=1)
        return client

    def _make_store(self) -> None:
        """Make a SQLite store beside its place and move it there: MLflow's migrations cannot go on after a kill."""
        target = self.store_file
        if target is None or target.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        unfinished = target.with_name(f".{target.name}.new")
        target.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
            left_behind.unlink(missing_ok=True)
        artifacts = self.project_dir.resolve() / self.config.artifact_dir
        store = SqlAlchemyStore(f"{_SQLITE}{unfinished}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        with suppress(FileExistsError):  # somebody's own `mlflow ui` was quicker: theirs stays
            os.link(unfinished, target)
        unfinished.unlink()

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
