"""Beside `dagster_mlflow.mlflow_tracking`: both in one run, each with its own MLflow runs (docs/adr/0004)."""

import runpy
import shutil
from pathlib import Path

import dagster as dg
import mlflow
import pytest
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_file
from mlflow import MlflowClient

from ftzard.config import TrackingConfig
from ftzard.resources.tracking import Tracking

_EXAMPLE = Path(__file__).parents[1] / "examples" / "beside_dagster_mlflow.py"


def _example(project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    shutil.copy(empty_store, project / "own_mlflow.db")
    monkeypatch.chdir(project)
    definitions = runpy.run_path(str(_EXAMPLE))["defs"]
    assert isinstance(definitions, dg.Definitions)
    return definitions


def test_dagster_loads_the_example_by_its_path() -> None:
    (target,) = loadable_targets_from_python_file(str(_EXAMPLE))
    assert target.attribute == "defs"


@pytest.mark.usefixtures("fluent_mlflow")
def test_the_example_runs_both_in_one_dagster_run_and_each_keeps_its_own_mlflow_run(
    tracked_project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = _example(tracked_project, empty_store, monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("ingest_and_report").execute_in_process(instance=instance)
    ours = Tracking(TrackingConfig(experiment="tiny"), tracked_project)
    assert [(run.step, run.status) for run in ours.runs()] == [("DATA_INGESTION", "FINISHED")]
    client = MlflowClient(f"sqlite:///{tracked_project / 'own_mlflow.db'}")
    own = client.get_experiment_by_name("own")
    assert own is not None
    (theirs,) = client.search_runs([own.experiment_id])
    assert theirs.info.status == "FINISHED"
    assert theirs.data.params == {"looked_at": "raw_data"}
    assert theirs.data.tags["dagster_run_id"] == result.run_id
    # The legacy resource looks for runs by this tag; it must never find one of ours.
    assert "dagster_run_id" not in MlflowClient(ours.tracking_uri).get_run(ours.runs()[0].run_id).data.tags


@pytest.mark.usefixtures("fluent_mlflow")
def test_an_active_run_of_the_legacy_resource_in_the_same_store_is_left_alone(
    tracked_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tracked_project)
    store = f"sqlite:///{tracked_project / 'mlflow.db'}"
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("tiny")
    with mlflow.start_run() as active:
        run = Tracking(TrackingConfig(experiment="tiny"), tracked_project).open_run("TRAINING", tags={})
        run.log_params({"seed": 1})
        mlflow.log_param("theirs", 1)
        run.finish("FINISHED")
    client = MlflowClient(store)
    assert client.get_run(active.info.run_id).data.params == {"theirs": "1"}
    assert client.get_run(run.run_id).data.params == {"seed": "1"}
