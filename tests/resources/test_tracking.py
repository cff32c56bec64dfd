"""Tracking, with a real MLflow store, and once with a real MLflow server."""

import json
import multiprocessing
import os
import re
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from tests.tracking_server import TrackingServer

from ftzard.config import TrackingConfig
from ftzard.errors import TrackingError
from ftzard.resources.tracked_run import DAGSTER_RUN_TAG, TrackedRun
from ftzard.resources.tracking import Tracking

_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def tracking(tmp_path: Path, empty_store: Path) -> Tracking:
    """A project folder with an empty store."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Tracking(TrackingConfig(experiment="sentiment"), tmp_path)


@pytest.fixture
def client(tracking: Tracking) -> MlflowClient:
    """MLflow's own view of the store."""
    return MlflowClient(tracking_uri=tracking.tracking_uri)


@pytest.fixture
def run(tracking: Tracking) -> TrackedRun:
    return tracking.open_run("TRAINING", tags={})


def _all_runs(client: MlflowClient, experiment: str = "sentiment") -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def _artifact(client: MlflowClient, run: TrackedRun, path: str, folder: Path) -> bytes:
    return Path(client.download_artifacts(run.run_id, path, str(folder))).read_bytes()


# Parents and children


def test_a_step_has_one_parent_and_every_materialization_a_child_named_by_its_utc_start(
    tracking: Tracking, client: MlflowClient
) -> None:
    before = datetime.now(UTC)
    first = tracking.open_run("TRAINING", tags={"ftzard.asset": "lora_adapter"})
    second = tracking.open_run("TRAINING", tags={})
    other = tracking.open_run("INFERENCE", tags={})
    assert first.parent_run_id == second.parent_run_id != other.parent_run_id
    parents = {run.info.run_id: run for run in _all_runs(client) if "mlflow.parentRunId" not in run.data.tags}
    assert {run.info.run_name for run in parents.values()} == {"TRAINING", "INFERENCE"}
    assert set(parents) == {first.parent_run_id, other.parent_run_id}
    child = client.get_run(first.run_id)
    assert child.data.tags["mlflow.parentRunId"] == first.parent_run_id
    assert child.data.tags["ftzard.asset"] == "lora_adapter"
    assert str(child.info.run_name).endswith("Z")
    assert before <= datetime.fromisoformat(str(child.info.run_name)) <= datetime.now(UTC)
    assert child.info.status == "RUNNING"


def test_another_experiment_has_parents_of_its_own(tracking: Tracking) -> None:
    other = Tracking(TrackingConfig(experiment="other"), tracking.project_dir)
    one, two = tracking.open_run("TRAINING", tags={}), other.open_run("TRAINING", tags={})
    assert one.experiment_id != two.experiment_id
    assert one.parent_run_id != two.parent_run_id


def test_runs_lists_the_children_oldest_first_and_nothing_where_there_is_no_experiment(tracking: Tracking) -> None:
    assert tracking.runs() == ()
    opened = [tracking.open_run(step, tags={}) for step in ("DATA_INGESTION", "TRAINING", "DATA_INGESTION")]
    opened[1].finish("FINISHED")
    summaries = tracking.runs()
    assert [summary.run_id for summary in summaries] == [run.run_id for run in opened]
    assert [summary.step for summary in summaries] == ["DATA_INGESTION", "TRAINING", "DATA_INGESTION"]
    assert [summary.status for summary in summaries] == ["RUNNING", "FINISHED", "RUNNING"]
    assert summaries[0].parent_run_id == summaries[2].parent_run_id


def test_a_run_can_be_taken_up_again_by_its_id(tracking: Tracking, run: TrackedRun) -> None:
    again = tracking.run(run.run_id)
    assert (again.run_id, again.parent_run_id, again.step) == (run.run_id, run.parent_run_id, "TRAINING")
    with pytest.raises(TrackingError, match="nowhere"):
        tracking.run("nowhere")


# What is logged


def test_nested_parameters_become_dotted_names_and_more_than_a_hundred_are_taken(
    run: TrackedRun, client: MlflowClient
) -> None:
    run.log_params({"training": {"lora": {"r": 4}, "empty": {}}, **{f"key_{i}": i for i in range(250)}})
    run.log_params({"long": "x" * 9000})
    params = client.get_run(run.run_id).data.params
    assert params["training.lora.r"] == "4"
    assert params["training.empty"] == "{}"
    assert [params[f"key_{i}"] for i in range(250)] == [str(i) for i in range(250)]
    assert len(params["long"]) == 6000


def test_a_parameter_may_be_named_by_any_file_or_label_and_two_stay_two(run: TrackedRun, client: MlflowClient) -> None:
    keys = [
        "My reviews (2024).csv",
        "My reviews [2024].csv",
        "../№ 1",
        "x" * 250,
        "x" * 251,
        "/a//b",
        "plain: a/b c-d.e",
    ]
    run.log_params({"batch": {key: number for number, key in enumerate(keys)}})
    params = client.get_run(run.run_id).data.params
    assert sorted(params.values()) == [str(number) for number in range(len(keys))]
    assert params["batch.plain: a/b c-d.e"] == "6"
    assert [name for name in params if name.startswith("batch.My reviews _2024_.csv")]


def test_a_label_with_any_letters_can_be_part_of_a_metrics_name_and_two_stay_two(
    run: TrackedRun, client: MlflowClient
) -> None:
    plain = {"f1_schön": 0.25, "f1_a/b c-d.e": 0.75}
    odd = [
        "f1_@home=",
        "f1_C++",
        "f1_C#",
        "f1_👍",
        "f1_👎",
        "f1_a//b",
        "f1_a/../b",
        *(f"f1_{'x' * n}" for n in (300, 301)),
    ]
    values = {name: number / 8 for number, name in enumerate(odd)}
    run.log_metrics({**plain, **values})
    metrics = client.get_run(run.run_id).data.metrics
    assert {name: metrics.pop(name) for name in plain} == plain
    assert sorted(metrics.values()) == sorted(values.values())
    assert [name for name in metrics if name.startswith("f1__home_")]


def test_a_run_whose_metrics_mlflow_refuses_ends_as_failed(run: TrackedRun, client: MlflowClient) -> None:
    with pytest.raises(Exception, match="large"), run.ending_on_failure():
        run.log_metrics({"loss": 1.0}, step=2**70)
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_a_learning_curve_is_complete_once_the_run_has_ended(run: TrackedRun, client: MlflowClient) -> None:
    for step in range(30):
        run.report({"loss": 1.0 / (step + 1)}, step)
    run.finish("FINISHED")
    curve = client.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in sorted(curve, key=lambda point: point.step)] == [
        (step, 1.0 / (step + 1)) for step in range(30)
    ]


def test_texts_figures_and_folders_are_artifacts_inside_the_project(
    run: TrackedRun, client: MlflowClient, tracking: Tracking, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("adapter")
    (folder / "weights").write_bytes(b"\x00\x01")
    run.log_text("seed: 1\n", "config.yaml")
    run.log_bytes(_PNG, "figures/label balance.png")
    run.log_directory(folder, "adapter")
    fetched = tmp_path_factory.mktemp("fetched")
    assert _artifact(client, run, "config.yaml", fetched) == b"seed: 1\n"
    assert _artifact(client, run, "figures/label balance.png", fetched) == _PNG
    assert _artifact(client, run, "adapter/weights", fetched) == b"\x00\x01"
    assert list((tracking.project_dir / "mlartifacts").rglob("label balance.png"))


def test_each_commit_is_appended_to_the_history_and_the_last_is_the_tag(
    run: TrackedRun, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run.record_commit("a" * 40, {"asset": "raw_data"})
    run.record_commit("b" * 40, {"asset": "raw_data"})
    history = json.loads(_artifact(client, run, "commit_history.json", tmp_path_factory.mktemp("fetched")))
    assert [entry["commit_id"] for entry in history] == ["a" * 40, "b" * 40]
    assert history[0]["asset"] == "raw_data"
    assert client.get_run(run.run_id).data.tags["current_full_commit_id"] == "b" * 40


# How a run ends


def test_a_failure_ends_the_run_as_failed_with_the_error_and_is_raised_on(
    run: TrackedRun, client: MlflowClient
) -> None:
    run.report({"loss": 1.0}, 1)
    with pytest.raises(ZeroDivisionError), run.ending_on_failure():
        _ = 1 // 0
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FAILED"
    assert ended.data.tags["ftzard.error"].startswith("ZeroDivisionError: ")
    assert ended.data.metrics == {"loss": 1.0}


def test_a_failure_at_a_url_with_a_password_is_told_without_it(run: TrackedRun, client: MlflowClient) -> None:
    with pytest.raises(ConnectionError), run.ending_on_failure():
        raise ConnectionError("https://ada:s3cret@proxy:8080/x does not answer")
    assert client.get_run(run.run_id).data.tags["ftzard.error"] == (
        "ConnectionError: https://***@proxy:8080/x does not answer"
    )


def test_an_interruption_ends_the_run_as_killed_and_is_raised_on(run: TrackedRun, client: MlflowClient) -> None:
    with pytest.raises(KeyboardInterrupt), run.ending_on_failure():
        raise KeyboardInterrupt
    assert client.get_run(run.run_id).info.status == "KILLED"


def test_a_block_that_succeeds_leaves_the_run_open(run: TrackedRun, client: MlflowClient) -> None:
    with run.ending_on_failure():
        pass
    assert client.get_run(run.run_id).info.status == "RUNNING"
    run.finish("FINISHED")
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_only_runs_whose_dagster_run_is_over_are_closed(tracking: Tracking, client: MlflowClient) -> None:
    over = tracking.open_run("TRAINING", tags={DAGSTER_RUN_TAG: "over"})
    going = tracking.open_run("TRAINING", tags={DAGSTER_RUN_TAG: "going"})
    foreign = client.create_run(over.experiment_id)
    ended = tracking.open_run("TRAINING", tags={DAGSTER_RUN_TAG: "over"})
    ended.finish("FINISHED")
    assert tracking.close_abandoned(lambda run_id: run_id == "over") == 1
    status = {run.info.run_id: run.info.status for run in _all_runs(client)}
    assert status[over.run_id] == "KILLED"
    assert status[going.run_id] == status[foreign.info.run_id] == "RUNNING"
    assert status[ended.run_id] == "FINISHED"


def test_nothing_is_abandoned_where_there_is_no_experiment(tracking: Tracking) -> None:
    assert tracking.close_abandoned(lambda _: True) == 0


# Whose store it is


def test_a_relative_store_is_in_the_project_whatever_the_current_directory(
    tracking: Tracking, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    run = tracking.open_run("TRAINING", tags={})
    run.log_text("x", "x.txt")
    assert list(elsewhere.iterdir()) == []
    monkeypatch.chdir(tracking.project_dir)
    assert [summary.run_id for summary in tracking.runs()] == [run.run_id]
    monkeypatch.chdir(tracking.project_dir.parent)
    relative = Tracking(tracking.config, Path(tracking.project_dir.name))
    assert [summary.run_id for summary in relative.runs()] == [run.run_id]


@pytest.mark.usefixtures("fluent_mlflow")
def test_a_persons_own_active_run_is_neither_used_nor_touched(
    tracking: Tracking, client: MlflowClient, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = shutil.copy(empty_store, tmp_path_factory.mktemp("own") / "own.db")
    mlflow.set_tracking_uri(f"sqlite:///{store}")
    mlflow.set_experiment("own")
    with mlflow.start_run() as own:
        run = tracking.open_run("TRAINING", tags={})
        run.log_params({"seed": 1})
        run.log_metrics({"loss": 1.0})
        run.finish("FINISHED")
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == own.info.run_id
        assert mlflow.get_tracking_uri() == f"sqlite:///{store}"
    theirs = MlflowClient(f"sqlite:///{store}").get_run(own.info.run_id)
    assert (theirs.info.status, theirs.data.params, theirs.data.metrics) == ("FINISHED", {}, {})
    assert client.get_run(run.run_id).data.params == {"seed": "1"}


def test_mlflows_variables_in_the_environment_do_not_matter(
    tracking: Tracking, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'theirs.db'}")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    run = tracking.open_run("TRAINING", tags={})
    run.log_text("x", "x.txt")
    run.finish("FINISHED")
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert not (tmp_path / "theirs.db").exists()
    assert os.environ["MLFLOW_RUN_ID"] == "0" * 32
    assert client.get_experiment_by_name("theirs") is None


_PROCESSES, _MATERIALIZATIONS = 8, 25


def _open_many(project_dir: Path) -> set[str]:
    tracking = Tracking(TrackingConfig(), project_dir)
    parents = set()
    for number in range(_MATERIALIZATIONS):
        run = tracking.open_run("TRAINING" if number % 2 else "RAW_DATA", tags={})
        run.log_metrics({"n": number})
        run.finish("FINISHED")
        parents.add(run.parent_run_id)
    return parents


@pytest.mark.slow
def test_eight_processes_that_materialize_in_a_fresh_store_at_once_agree_on_one_parent_for_each_step(
    tmp_path: Path,
) -> None:
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        parents = pool.map(_open_many, [tmp_path] * _PROCESSES, chunksize=1)
    assert len(set.union(*parents)) == 2
    tracking = Tracking(TrackingConfig(), tmp_path)
    children = tracking.runs()
    assert len(children) == _PROCESSES * _MATERIALIZATIONS
    assert {child.status for child in children} == {"FINISHED"}
    with tracking.connected() as client:
        assert len(_all_runs(client, "ftzard")) == len(children) + 2


# What cannot be used


def test_a_server_that_does_not_answer_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(TrackingError) as caught:
        Tracking(TrackingConfig(tracking_uri=uri), tmp_path).open_run("TRAINING", tags={})
    assert uri in caught.value.what
    assert "tracking.tracking_uri" in caught.value.what
    assert "start the server" in caught.value.fix


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = TrackingConfig(tracking_uri=uri, request_timeout_s=0.2)
        with pytest.raises(TrackingError, match="timed out"):
            Tracking(config, tmp_path).open_run("TRAINING", tags={})


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(
    tracking: Tracking, client: MlflowClient, run: TrackedRun
) -> None:
    client.delete_experiment(run.experiment_id)
    with pytest.raises(TrackingError, match=r"'sentiment'.*was deleted") as caught:
        tracking.open_run("TRAINING", tags={})
    assert f"mlflow experiments restore -x {run.experiment_id}" in caught.value.fix


def test_a_file_that_is_no_store_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but it is long enough to look like one" * 20)
    with pytest.raises(TrackingError, match=re.escape(str(tmp_path / "mlflow.db"))):
        Tracking(TrackingConfig(), tmp_path).open_run("TRAINING", tags={})


# A real server


def test_a_run_that_ends_on_a_server_prints_nothing(
    server: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    config = TrackingConfig(tracking_uri=server.uri)
    Tracking(config, tmp_path).open_run("TRAINING", tags={}).finish("FINISHED")
    assert capsys.readouterr().out == ""


def test_a_real_server_takes_everything_that_a_file_takes(server: TrackingServer, tmp_path: Path) -> None:
    tracking = Tracking(TrackingConfig(tracking_uri=server.uri, experiment="sentiment"), tmp_path / "project")
    run = tracking.open_run("TRAINING", tags={DAGSTER_RUN_TAG: "1"})
    # A server, unlike a file, refuses more than a hundred in one call.
    run.log_params({"training": {"seed": 1}, **{f"key_{i}": i for i in range(250)}})
    run.report({"loss": 0.5}, 3)
    run.log_bytes(_PNG, "figures/loss.png")
    run.record_commit("a" * 40, {})
    run.record_commit("b" * 40, {})
    run.finish("FINISHED")
    client = MlflowClient(tracking_uri=server.uri)
    logged = client.get_run(run.run_id)
    assert (logged.info.status, logged.data.params["training.seed"], logged.data.metrics["loss"]) == (
        "FINISHED",
        "1",
        0.5,
    )
    assert len(logged.data.params) == 251
    assert _artifact(client, run, "figures/loss.png", tmp_path) == _PNG
    assert len(json.loads(_artifact(client, run, "commit_history.json", tmp_path))) == 2
    assert tracking.open_run("TRAINING", tags={}).parent_run_id == run.parent_run_id
    assert not list((tmp_path / "project").glob("ml*"))


def test_a_store_that_a_kill_left_half_made_is_made_anew(tmp_path: Path) -> None:
    tracking = Tracking(TrackingConfig(), tmp_path)
    (tmp_path / ".mlflow.db.new").write_bytes(b"half of a store")
    assert tracking.runs() == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ftzard", "mlflow.db"]


# A project that is elsewhere by now


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_project_that_was_moved_or_copied_reads_and_writes_its_own_artifacts(tmp_path: Path, is_copied: bool) -> None:
    before, now = tmp_path / "früher 1", tmp_path / "100 % now"
    old = Tracking(TrackingConfig(experiment="sentiment"), before).open_run("TRAINING", tags={})
    old.log_text("before", "note.txt")
    if is_copied:
        shutil.copytree(before, now)
    else:
        before.rename(now)
    tracking = Tracking(TrackingConfig(experiment="sentiment"), now)
    new = tracking.open_run("TRAINING", tags={})
    new.log_text("after", "note.txt")
    client = MlflowClient(tracking_uri=tracking.tracking_uri)
    assert _artifact(client, old, "note.txt", tmp_path) == b"before"
    assert _artifact(client, new, "note.txt", tmp_path) == b"after"
    places = {str(client.get_run(run.run_id).info.artifact_uri) for run in (old, new)}
    assert all(place.startswith(f"{now.as_uri()}/mlartifacts/") for place in places)
    assert before.exists() == is_copied
    assert not (before / "mlartifacts" / new.run_id).exists()


@pytest.mark.parametrize("uri", ["sqlite:///{}/shared.db", "sqlite:///../shared.db"])
def test_a_store_outside_of_a_project_that_was_copied_stays_as_it_is(tmp_path: Path, uri: str) -> None:
    config = TrackingConfig(experiment="sentiment", tracking_uri=uri.format(tmp_path))
    run = Tracking(config, tmp_path / "original").open_run("TRAINING", tags={})
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    tracking = Tracking(config, tmp_path / "copy")
    tracking.open_run("TRAINING", tags={})
    place = MlflowClient(tracking_uri=tracking.tracking_uri).get_run(run.run_id).info.artifact_uri
    assert str(place).startswith(f"{(tmp_path / 'original').as_uri()}/")
