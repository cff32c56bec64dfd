"""One MLflow run, by its id: everything that is logged goes through explicit calls of the client."""

import json
import logging
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

STEP_TAG = "ftzard.step"
# Not `dagster_run_id`: dagster_mlflow's legacy resource would adopt a run with that tag as its own.
DAGSTER_RUN_TAG = "ftzard.dagster_run_id"
COMMIT_TAG = "current_full_commit_id"
COMMIT_HISTORY = "commit_history.json"
PARENT_RUN_TAG = "mlflow.parentRunId"

# MLflow takes no more parameters or tags in one call, and cuts values that are longer.
_MAX_ENTRIES_PER_CALL = 100
_MAX_PARAM_LENGTH = 6000
_FLUSH_AFTER_S = 5.0
_NOT_IN_A_METRIC_NAME = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class TrackedDataset:
    """An asset's data as a run read or wrote it.

    Attributes:
        asset: The asset's key.
        data_hash: DVC's hash of the data folder that holds it, MLflow's digest.
        context: What the run did with it.
        data_version: The asset's own content version.
        commit: The data commit; where it was read, the latest one.
    """

    asset: str
    data_hash: str
    context: Literal["read", "written"]
    data_version: str
    commit: str

    @property
    def tags(self) -> dict[str, str]:
        """What MLflow keeps for this run and this dataset."""
        return {
            "mlflow.data.context": self.context,
            "ftzard.data_version": self.data_version,
            "ftzard.data_commit": self.commit,
        }


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
        child = create_child(self.client, self.experiment_id, self.run_id, step, name=name, tags=tags)
        with child.ending_on_failure():
            yield child
        child.finish("FINISHED")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in _flat(params)]
        for start in range(0, len(flat), _MAX_ENTRIES_PER_CALL):
            self.client.log_batch(self.run_id, params=flat[start : start + _MAX_ENTRIES_PER_CALL])

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
        """Set tags, many in one call."""
        from mlflow.entities import RunTag

        all_tags = [RunTag(key, str(value)) for key, value in tags.items()]
        for start in range(0, len(all_tags), _MAX_ENTRIES_PER_CALL):
            self.client.log_batch(self.run_id, tags=all_tags[start : start + _MAX_ENTRIES_PER_CALL])

    def log_datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """Log the datasets that the run read or wrote, in one call."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                # What MLflow keeps once for equal names and digests says nothing of this run; that is in the tags.
                dataset=Dataset(one.asset, one.data_hash, "dvc", json.dumps({"asset": one.asset})),
                tags=[InputTag(key, value) for key, value in one.tags.items() if value],
            )
            for one in datasets
            if one.data_hash
        ]
        if inputs:
            self.client.log_inputs(self.run_id, datasets=inputs)

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


def create_child(
    client: "MlflowClient", experiment_id: str, parent_run_id: str, step: str, *, name: str, tags: Mapping[str, str]
) -> TrackedRun:
    """Create a run below another one; the caller names it and explains what the store refuses."""
    own = {
        PARENT_RUN_TAG: parent_run_id,
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
