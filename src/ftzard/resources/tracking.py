"""MLflow through its client API alone: explicit run ids, no active run, nothing process-wide.

Each step has one parent run per experiment; each materialization opens one child under it. A person's own
`mlflow.start_run`, a set `MLFLOW_RUN_ID` and steps in parallel processes are therefore none of FTzard's business.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ftzard.config import TrackingConfig
from ftzard.errors import StorageError, TrackingError, TrackingUnavailableError
from ftzard.resources.outbox import LOCAL_ID_TAG, Outbox, RunSender, is_local, is_unavailable
from ftzard.resources.tracked_run import (
    DAGSTER_RUN_TAG,
    PARENT_RUN_TAG,
    STEP_TAG,
    TrackedRun,
    create_child,
    make_run,
)
from ftzard.resources.tracking_store import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PARENT_TAG = "ftzard.parent_step"
# Metadata key by which a materialization names its MLflow run.
RUN_ID_KEY = "mlflow_run_id"


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
    def store(self) -> TrackingStore:
        """Where the runs are."""
        return TrackingStore(self.config, self.project_dir)

    @property
    def tracking_uri(self) -> str:
        """The store's absolute URI."""
        return self.store.uri

    @property
    def store_file(self) -> Path | None:
        """The SQLite file; None where a server or another database keeps the runs."""
        return self.store.file

    @property
    def outbox(self) -> Outbox:
        """What a server could not take."""
        return Outbox(self.project_dir / ".ftzard" / "outbox")

    @contextmanager
    def connected(self) -> Iterator["MlflowClient"]:
        """MLflow's client for what has no method here.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        client = self.store.connect()
        with self.store.refusals_explained():
            yield client

    def open_run(self, step: str, *, tags: Mapping[str, str]) -> "TrackedRun":
        """Open a child run, named by its UTC start time, under the step's parent run.

        While a server is away the run is kept in the project, and sent once it answers; what waited is sent first.

        Raises:
            TrackingError: The store refuses, or never answered from this project.
        """
        name = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        client, experiment_id, parent_run_id = None, "", ""
        try:
            with self.connected() as client:
                experiment_id, parent_run_id = self._place(client, step)
                self._send_waiting(client)
        except TrackingUnavailableError:
            if not self.store.answered_before:
                raise
            client = None
        with self.store.refusals_explained():
            return create_child(self._sender("", client), experiment_id, parent_run_id, step, name=name, tags=tags)

    def run(self, run_id: str) -> "TrackedRun":
        """A run that `open_run` opened, also in another process, and also while the server is away.

        Raises:
            TrackingError: The store refuses or does not know the run.
        """
        unsent = self.outbox.unsent_run(run_id)
        if unsent is not None:
            tags = {PARENT_RUN_TAG: unsent.parent_run_id, STEP_TAG: unsent.step, **unsent.tags}
            return self._tracked(run_id, tags, "", None)
        try:
            with self.connected() as client:
                found = client.get_run(self._server_id(client, run_id))
            return self._tracked(str(found.info.run_id), found.data.tags, str(found.info.experiment_id), client)
        except TrackingUnavailableError:
            if not self.store.answered_before:
                raise
            return self._tracked(run_id, {}, "", None)

    def server_id(self, run_id: str) -> str:
        """The store's id of a run, once all that waited of it was sent.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self.store.refusals_explained():
            return self._sender(run_id, None).server_id()

    def runs(self) -> tuple[RunSummary, ...]:
        """All child runs of the experiment, oldest first; none where there is no such experiment."""
        with self.connected() as client:
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
        return self.last_run(steps)[0]

    def last_run(self, steps: Sequence[str]) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """Metrics and parameters of the latest finished child run of one of these steps; none where there is none."""
        with self.connected() as client:
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return {}, {}
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
        return (dict(last.data.metrics), dict(last.data.params)) if last is not None else ({}, {})

    def close_abandoned(self, is_over: Callable[[str], bool]) -> int:
        """End the runs a killed process left RUNNING as KILLED.

        Args:
            is_over: Whether the Dagster run with this id has ended; runs of unknown ids are left alone.

        Returns:
            How many runs were closed; none while a server is away.
        """
        try:
            return self._close_abandoned(is_over)
        except TrackingUnavailableError:
            if not self.store.answered_before:
                raise
            return 0

    def _close_abandoned(self, is_over: Callable[[str], bool]) -> int:
        with self.connected() as client:
            experiment = client.get_experiment_by_name(self.config.experiment)
            if experiment is None:
                return 0
            running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
            abandoned = [run for run in running if is_over(run.data.tags.get(DAGSTER_RUN_TAG, ""))]
            for run in abandoned:
                client.set_terminated(run.info.run_id, "KILLED")
        return len(abandoned)

    def _tracked(
        self, run_id: str, tags: Mapping[str, str], experiment_id: str, client: "MlflowClient | None"
    ) -> "TrackedRun":
        sender = self._sender(run_id, client)
        parent, step = tags.get(PARENT_RUN_TAG, ""), tags.get(STEP_TAG, "")
        return TrackedRun(sender, run_id, parent, experiment_id, step, tags.get(DAGSTER_RUN_TAG, ""))

    def _sender(self, run_id: str, client: "MlflowClient | None") -> RunSender:
        outbox = self.outbox if self.store.is_server else None
        return RunSender(outbox, run_id, self.store.connect, self._server_id, client)

    def _send_waiting(self, client: "MlflowClient") -> None:
        """Send what earlier runs could not; what the server refuses for good stays, and is in nobody's way."""
        for run_id in self.outbox.run_ids():
            try:
                self.outbox.send(run_id, client, self._server_id)
            except StorageError as error:
                logger.error("what waits of run %s cannot be sent to MLflow: %s", run_id, error)  # noqa: TRY400 # it says all
            except Exception as error:
                if is_unavailable(error):
                    raise
                logger.exception("MLflow refuses what waits of run %s in %s", run_id, self.outbox.folder)
            else:
                logger.info("what waited of run %s was sent to MLflow", run_id)

    def _server_id(self, client: "MlflowClient", run_id: str) -> str:
        """The store's id of a run; one that began while the server was away is found by its tag, or made."""
        if not is_local(run_id):
            return run_id
        if (found := self._find(client, LOCAL_ID_TAG, run_id)) is not None:
            return str(found.info.run_id)
        unsent = self.outbox.unsent_run(run_id)
        if unsent is None:
            raise TrackingError(
                f"MLflow at {self.tracking_uri} knows no run with the tag {LOCAL_ID_TAG} = {run_id}",
                fix="restore the run there, or materialize the asset again",
            )
        experiment_id, parent_run_id = self._place(client, unsent.step)
        if unsent.parent_run_id:
            parent_run_id = self._server_id(client, unsent.parent_run_id)
        return make_run(client, experiment_id, parent_run_id, unsent)

    def _find(self, client: "MlflowClient", tag: str, value: str) -> "Run | None":
        """The earliest run of the experiment with a tag."""
        experiment = client.get_experiment_by_name(self.config.experiment)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1, order_by=["start_time ASC"]
        )
        return found[0] if found else None

    def _place(self, client: "MlflowClient", step: str) -> tuple[str, str]:
        """The experiment and the parent run of a step, which are made where there are none."""
        with self.store.locked():
            experiment_id = self._experiment(client)
            return experiment_id, self._parent_run(client, experiment_id, step)

    def _experiment(self, client: "MlflowClient") -> str:
        experiment = client.get_experiment_by_name(self.config.experiment)
        if experiment is None:
            folder = self.project_dir.resolve() / self.config.artifact_dir
            artifacts = folder.as_uri() if self.store_file is not None else None
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
