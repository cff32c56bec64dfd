"""A tracking server that goes away: work goes on, and later the server has everything, once."""

import json
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from tests.tracking_server import TrackingServer

from ftzard.config import TrackingConfig
from ftzard.errors import TrackingError, TrackingUnavailableError
from ftzard.resources.outbox import LOCAL_ID_TAG, Outbox, UnsentRun, is_local, is_unavailable
from ftzard.resources.run_operations import (
    EndRun,
    LogDatasets,
    LogFolder,
    LogMetrics,
    LogParams,
    MetricPoint,
    RecordCommit,
    SetTags,
    TrackedDataset,
    from_record,
    to_record,
)
from ftzard.resources.tracked_run import DAGSTER_RUN_TAG, TrackedRun
from ftzard.resources.tracking import Tracking

_TEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
_OPERATIONS = st.one_of(
    st.builds(LogParams, _TEXTS),
    st.builds(SetTags, _TEXTS),
    st.builds(RecordCommit, _TEXTS),
    st.builds(EndRun, st.sampled_from(["FINISHED", "FAILED", "KILLED"])),
    st.builds(LogMetrics, st.lists(st.builds(MetricPoint, st.text(), st.floats(allow_nan=False), st.integers()))),
    st.builds(LogDatasets, st.lists(st.builds(TrackedDataset, st.text(), st.text(), st.just("read"), st.text()))),
)


@pytest.fixture
def server_tracking(server: TrackingServer, tmp_path: Path) -> Tracking:
    """A project that has used its server."""
    tracking = Tracking(TrackingConfig(tracking_uri=server.uri, request_timeout_s=2), tmp_path / "project")
    tracking.open_run("RAW_DATA", tags={}).finish("FINISHED")
    return tracking


def _log_a_materialization(run: TrackedRun, folder: Path) -> None:
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    run.log_params({"training": {"seed": 1}})
    run.log_metrics({"loss": 0.5}, step=1)
    run.log_metrics({"loss": 0.25}, step=2)
    run.set_tags({"ftzard.data_version": "1"})
    run.log_datasets([TrackedDataset("splits", "0" * 32, "read", "a" * 40)])
    run.log_directory(folder, "adapter")
    shutil.rmtree(folder)
    run.log_text("x", "figures/x.txt")
    run.record_commit("a" * 40, {"asset": "splits"})
    run.record_commit("b" * 40, {"asset": "splits"})
    run.finish("FINISHED")


def _assert_all_is_there_once(client: MlflowClient, run_id: str, scratch: Path) -> None:
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.seed"] == "1"
    assert run.data.tags["current_full_commit_id"] == "b" * 40
    assert [(one.step, one.value) for one in client.get_metric_history(run_id, "loss")] == [(1, 0.5), (2, 0.25)]
    assert run.inputs is not None
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["splits"]
    scratch.mkdir(exist_ok=True)
    history = json.loads(Path(client.download_artifacts(run_id, "commit_history.json", str(scratch))).read_text())
    assert [one["commit_id"] for one in history] == ["a" * 40, "b" * 40]
    assert Path(client.download_artifacts(run_id, "adapter", str(scratch)), "weights.bin").read_bytes() == b"weights"
    assert [item.path for item in client.list_artifacts(run_id, "figures")] == ["figures/x.txt"]


@given(_OPERATIONS)
def test_an_operation_is_the_same_after_it_was_kept(
    operation: LogParams | SetTags | RecordCommit | EndRun | LogMetrics | LogDatasets,
) -> None:
    assert from_record(json.loads(json.dumps(to_record(operation)))) == operation


def test_what_is_sent_twice_counts_once(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    tracking = Tracking(TrackingConfig(), tmp_path)
    run = tracking.open_run("TRAINING", tags={})
    outbox = Outbox(tmp_path / "outbox")
    run.sender.outbox = outbox
    # Nothing is sent now: as though there were no server for the next half minute.
    run.sender.known_client, run.sender._retry_at = None, time.monotonic() + 1000
    (tmp_path / "files").mkdir()
    run.sender.connect = _no_server
    _log_a_materialization(run, tmp_path / "adapter")
    with tracking.connected() as client:
        assert client.get_run(run.run_id).info.status == "RUNNING"
        kept = shutil.copytree(outbox.folder / run.run_id, tmp_path / "copy")
        outbox.send(run.run_id, client, lambda _, run_id: run_id)
        # A kill between the last call and the removal of what was sent.
        shutil.copytree(kept, outbox.folder / run.run_id)
        outbox.send(run.run_id, client, lambda _, run_id: run_id)
        _assert_all_is_there_once(client, run.run_id, tmp_path / "scratch")
    assert outbox.run_ids() == []


def _no_server() -> MlflowClient:
    raise TrackingUnavailableError("MLflow is away", fix="wait")


def test_what_a_store_refuses_is_an_error_and_nothing_that_is_kept() -> None:
    assert not is_unavailable(TrackingError("refused", fix="another one"))
    assert not is_unavailable(ValueError("a defect"))
    assert is_unavailable(TrackingUnavailableError("away", fix="wait"))


def test_a_run_that_could_not_be_made_keeps_what_makes_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    run = UnsentRun("TRAINING", "", "now", 1, {"a": "b"})
    outbox.new_run(run)
    outbox.keep(run.local_id, SetTags({"c": "d"}))
    assert is_local(run.local_id)
    assert outbox.unsent_run(run.local_id) == run
    assert outbox.run_ids() == [run.local_id]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_that_waits_is_named_and_neither_sent_nor_lost(
    tmp_path: Path, empty_store: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    tracking = Tracking(TrackingConfig(), tmp_path)
    run = tracking.open_run("TRAINING", tags={})
    for value in ("one", "two"):
        tracking.outbox.keep(run.run_id, SetTags({value: value}))
    path = tracking.outbox.folder / run.run_id / "00000002.json"
    sound = path.read_bytes()
    path.write_bytes({"flip": sound.replace(b"two", b"twg"), "cut": sound[:-1], "empty": b""}[damage])
    tracking.open_run("TRAINING", tags={})
    assert f"{path}, which waits to be sent to MLflow, is not what was kept" in caplog.text
    with tracking.connected() as client:
        assert {"one", "two", "twg"} & client.get_run(run.run_id).data.tags.keys() == {"one"}
        path.write_bytes(sound)
        tracking.open_run("TRAINING", tags={})
        assert client.get_run(run.run_id).data.tags["two"] == "two"
    assert tracking.outbox.run_ids() == []


def test_files_that_wait_are_copies_of_what_they_were(tmp_path: Path) -> None:
    outbox, folder = Outbox(tmp_path / "outbox"), tmp_path / "figures"
    folder.mkdir()
    (folder / "loss.png").write_bytes(b"before")
    outbox.keep("1", LogFolder(str(folder), "figures"))
    (folder / "loss.png").write_bytes(b"after")
    assert [path.read_bytes() for path in outbox.folder.rglob("loss.png")] == [b"before"]


@pytest.mark.slow
def test_a_server_that_dies_while_a_run_logs_has_all_of_it_later_and_once(
    server: TrackingServer, server_tracking: Tracking, tmp_path: Path
) -> None:
    run = server_tracking.open_run("TRAINING", tags={})
    run.log_metrics({"before": 1.0})
    server.kill()
    _log_a_materialization(run, tmp_path / "adapter")
    ended_ms = time.time() * 1000
    assert server_tracking.outbox.run_ids() == [run.run_id]
    server.start()
    server_tracking.open_run("TRAINING", tags={})
    client = MlflowClient(tracking_uri=server.uri)
    _assert_all_is_there_once(client, run.run_id, tmp_path / "scratch")
    logged = client.get_run(run.run_id)
    assert logged.data.metrics["before"] == 1.0
    # It ended when it ended, not when the server heard of it.
    assert logged.info.end_time <= ended_ms
    assert server_tracking.outbox.run_ids() == []


@pytest.mark.slow
def test_a_run_that_begins_while_the_server_is_away_is_made_later_and_once(
    server: TrackingServer, server_tracking: Tracking, tmp_path: Path
) -> None:
    server.kill()
    run = server_tracking.open_run("CLEANED", tags={DAGSTER_RUN_TAG: "7"})
    began_ms = time.time() * 1000
    with run.open_child("part") as child:
        child.log_metrics({"share": 0.5})
    # The step's process and the one that stores its output need not be one.
    _log_a_materialization(server_tracking.run(run.run_id), tmp_path / "adapter")
    assert server_tracking.close_abandoned(lambda _: True) == 0
    with pytest.raises(TrackingUnavailableError, match=r"cannot be used"):
        server_tracking.server_id(run.run_id)
    server.start()
    server_id = server_tracking.server_id(run.run_id)
    server_tracking.open_run("CLEANED", tags={})
    client = MlflowClient(tracking_uri=server.uri)
    _assert_all_is_there_once(client, server_id, tmp_path / "scratch")
    made = client.get_run(server_id)
    assert made.info.start_time <= began_ms
    assert made.data.tags[DAGSTER_RUN_TAG] == "7"
    assert server_tracking.run(run.run_id).run_id == server_id
    experiment = [made.info.experiment_id]
    assert len(client.search_runs(experiment, f"tags.`{LOCAL_ID_TAG}` = '{run.run_id}'")) == 1
    (part,) = client.search_runs(experiment, f"tags.`mlflow.parentRunId` = '{server_id}'")
    assert (part.info.status, part.data.metrics) == ("FINISHED", {"share": 0.5})
