"""What is written into an MLflow run, as values: each can be sent now, or kept on disk and sent later.

Every operation may be sent more than once and counts once: MLflow overwrites a tag or an artifact, and takes the same
parameter, metric point or dataset again without keeping it twice.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

COMMIT_TAG = "current_full_commit_id"
COMMIT_HISTORY = "commit_history.json"

# MLflow takes no more parameters or tags, and no more metrics, in one call.
_MAX_ENTRIES_PER_CALL = 100
_MAX_METRICS_PER_CALL = 1000


@dataclass(frozen=True)
class TrackedDataset:
    """An asset's data as a run read or wrote it.

    Attributes:
        asset: The asset's key.
        data_hash: DVC's hash of the data folder that holds it, MLflow's digest.
        context: What the run did with it.
        commit: The data commit; where it was read, the latest one.
        data_version: The content version of what was read; of what was written it is a tag of the run.
    """

    asset: str
    data_hash: str
    context: Literal["read", "written"]
    commit: str
    data_version: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """What MLflow keeps for this run and this dataset."""
        return {
            "mlflow.data.context": self.context,
            "ftzard.data_version": self.data_version,
            "ftzard.data_commit": self.commit,
        }


@dataclass(frozen=True)
class MetricPoint:
    """One point of a metric's curve."""

    name: str
    value: float
    step: int
    timestamp_ms: int = field(default_factory=lambda: int(time.time() * 1000))


@dataclass(frozen=True)
class LogMetrics:
    """Add points to metrics."""

    call: ClassVar[str] = "metrics"
    points: Sequence[MetricPoint]

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        from mlflow.entities import Metric

        metrics = [Metric(one.name, one.value, one.timestamp_ms, one.step) for one in self.points]
        for start in range(0, len(metrics), _MAX_METRICS_PER_CALL):
            client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS_PER_CALL])


@dataclass(frozen=True)
class LogParams:
    """Set parameters that are not set yet."""

    call: ClassVar[str] = "params"
    params: Mapping[str, str]

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in self.params.items()]
        for start in range(0, len(params), _MAX_ENTRIES_PER_CALL):
            client.log_batch(run_id, params=params[start : start + _MAX_ENTRIES_PER_CALL])


@dataclass(frozen=True)
class SetTags:
    """Set tags."""

    call: ClassVar[str] = "tags"
    tags: Mapping[str, str]

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        from mlflow.entities import RunTag

        tags = [RunTag(key, value) for key, value in self.tags.items()]
        for start in range(0, len(tags), _MAX_ENTRIES_PER_CALL):
            client.log_batch(run_id, tags=tags[start : start + _MAX_ENTRIES_PER_CALL])


@dataclass(frozen=True)
class LogDatasets:
    """Add dataset inputs."""

    call: ClassVar[str] = "datasets"
    datasets: Sequence[TrackedDataset]

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                # What MLflow keeps once for equal names and digests says nothing of this run; that is in the tags.
                dataset=Dataset(one.asset, one.data_hash, "dvc", json.dumps({"asset": one.asset})),
                tags=[InputTag(key, value) for key, value in one.tags.items() if value],
            )
            for one in self.datasets
        ]
        client.log_inputs(run_id, datasets=inputs)


@dataclass(frozen=True)
class LogFolder:
    """Log the files of a folder as artifacts, below `artifact_path` where it is not empty."""

    call: ClassVar[str] = "folder"
    folder: str
    artifact_path: str

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        client.log_artifacts(run_id, self.folder, self.artifact_path or None)


@dataclass(frozen=True)
class RecordCommit:
    """Tag the run with a data commit, and append it to the run's `commit_history.json` unless it stands there."""

    call: ClassVar[str] = "commit"
    entry: Mapping[str, str]

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        history = _commit_history(client, run_id)
        if self.entry not in history:
            client.log_text(run_id, json.dumps([*history, self.entry], indent=2), COMMIT_HISTORY)
        client.set_tag(run_id, COMMIT_TAG, self.entry["commit_id"])


@dataclass(frozen=True)
class EndRun:
    """End the run at a time of the past."""

    call: ClassVar[str] = "end"
    status: Status
    end_time_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def apply(self, client: "MlflowClient", run_id: str) -> None:
        """Send."""
        client.set_terminated(run_id, self.status, self.end_time_ms)


RunOperation = LogMetrics | LogParams | SetTags | LogDatasets | LogFolder | RecordCommit | EndRun


def to_record(operation: RunOperation) -> dict[str, Any]:
    """An operation as JSON's types."""
    return {"call": operation.call, **asdict(operation)}


def from_record(record: Mapping[str, Any]) -> RunOperation:
    """The operation that `to_record` wrote.

    Raises:
        KeyError: The record is of no operation, or lacks one of its values.
    """
    call, values = record["call"], {key: value for key, value in record.items() if key != "call"}
    if call == LogMetrics.call:
        return LogMetrics([MetricPoint(**point) for point in values["points"]])
    if call == LogDatasets.call:
        return LogDatasets([TrackedDataset(**dataset) for dataset in values["datasets"]])
    plain: dict[str, type[LogParams | SetTags | LogFolder | RecordCommit | EndRun]] = {
        kind.call: kind for kind in (LogParams, SetTags, LogFolder, RecordCommit, EndRun)
    }
    return plain[call](**values)


def _commit_history(client: "MlflowClient", run_id: str) -> Sequence[Mapping[str, str]]:
    if not any(item.path == COMMIT_HISTORY for item in client.list_artifacts(run_id)):
        return []
    with tempfile.TemporaryDirectory() as scratch:
        path = client.download_artifacts(run_id, COMMIT_HISTORY, scratch)
        history: list[Mapping[str, str]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return history
