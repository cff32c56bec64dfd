"""What a run leaves behind: a commit, an MLflow run and a data version for each asset; and what a failure leaves."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from mlflow.entities import Run
from tests.project_scenario import (
    COMMITTED,
    NAMES,
    TINY,
    copy_of,
    data_versions,
    failure_of,
    file_bytes,
    git,
    load_asset,
    materializations,
    run,
    tracking,
)

from ftzard.composition import compose, to_dict
from ftzard.config import VersioningConfig
from ftzard.core.versions import content_version
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.errors import ModelNotFoundError, StorageError
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.versioning import DvcRepository

_STEPS = {
    "raw_data": "DATA_INGESTION",
    "cleaned": "DATA_CLEANING",
    "splits": "DATA_PROCESSING",
    "retrain_decision": "RETRAIN_DECISION",
    "tuned_hyperparameters": "HP_TUNING",
    "lora_adapter": "TRAINING",
    "predictions": "INFERENCE",
    "metrics": "EVALUATION",
    "champion": "CHOOSE_BEST_MODEL",
}
_ARTIFACTS = {
    "raw_data": set(),
    "cleaned": {
        "cleaning/changes.json",
        "cleaning/conflicts.ndjson",
        "figures/label balance.png",
        "figures/text length.png",
    },
    "splits": {"figures/label balance.png"},
    "retrain_decision": {"decision.json"},
    "tuned_hyperparameters": {"hyperparameters.json"},
    "lora_adapter": {
        "figures/loss curve.png",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/labels.json",
        "adapter/manifest.json",
    },
    "predictions": set(),
    "metrics": {
        "report.json",
        "figures/confusion matrix.png",
        "figures/reliability diagram.png",
        "figures/macro-F1.png",
    },
    "champion": {"verdict.json", "figures/macro-F1 against others.png"},
}
_METRICS = {
    "raw_data": "num_rows",
    "cleaned": "num_examples",
    "splits": "num_train",
    "retrain_decision": "num_new_labels",
    "lora_adapter": "loss",
    "predictions": "num_predictions",
    "metrics": "macro_f1",
    "champion": "num_rows",
}


def _commit(project: Path, name: str) -> str:
    return str(materializations(project)[name].metadata["git_commit"].value)


def _client(project: Path) -> Any:
    summary = tracking(project).runs()[0]
    return tracking(project).run(summary.run_id).client


def _run(project: Path, name: str) -> Run:
    run_id = str(materializations(project)[name].metadata["mlflow_run_id"].value)
    found: Run = _client(project).get_run(run_id)
    return found


def _artifacts(project: Path, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in _client(project).list_artifacts(run_id, folder):
        found |= _artifacts(project, run_id, item.path) if item.is_dir else {item.path}
    return found


def test_each_asset_is_a_commit_of_its_own_that_holds_the_data_pointer_only(materialized_project: Path) -> None:
    commits = [_commit(materialized_project, name) for name in COMMITTED]
    assert len(set(commits)) == len(COMMITTED) == 6
    for name, commit in zip(COMMITTED, commits, strict=True):
        changed = set(git(materialized_project, "show", "--name-only", "--format=", commit).splitlines())
        # The first one also keeps the data folder itself out of git.
        assert changed == ({"data.dvc", ".gitignore"} if name == "raw_data" else {"data.dvc"})
        assert git(materialized_project, "show", "-s", "--format=%s", commit) == f"data: materialize {name}"
    last = git(materialized_project, "rev-list", "--reverse", f"--max-count={len(COMMITTED)}", "HEAD")
    assert last.splitlines() == commits


def test_the_last_commit_stands_for_the_data_that_is_there(materialized_project: Path) -> None:
    metadata = materializations(materialized_project)["metrics"].metadata
    pointer = yaml.safe_load(git(materialized_project, "show", "HEAD:data.dvc"))
    assert pointer["outs"][0]["md5"] == metadata["dvc_hash"].value
    assert pointer["outs"][0]["nfiles"] == len(file_bytes(materialized_project / "data"))
    assert git(materialized_project, "diff", "HEAD", "--stat") == ""


@pytest.mark.parametrize("name", NAMES)
def test_each_asset_has_a_finished_child_run_under_the_parent_of_its_step(
    materialized_project: Path, name: str
) -> None:
    child = _run(materialized_project, name)
    metadata = materializations(materialized_project)[name].metadata
    parent = _client(materialized_project).get_run(str(metadata["mlflow_parent_run_id"].value))
    assert child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.run_name == _STEPS[name]


@pytest.mark.parametrize("name", COMMITTED)
def test_each_child_run_names_the_commit_in_its_tag_and_in_its_history(materialized_project: Path, name: str) -> None:
    child, commit = _run(materialized_project, name), _commit(materialized_project, name)
    assert child.data.tags["current_full_commit_id"] == commit
    history = json.loads(Path(_download(materialized_project, child, "commit_history.json")).read_text())
    assert [(entry["commit_id"], entry["asset"]) for entry in history] == [(commit, name)]


@pytest.mark.parametrize("name", NAMES)
def test_each_child_run_holds_parameters_metrics_the_configuration_and_artifacts(
    materialized_project: Path, name: str
) -> None:
    child = _run(materialized_project, name)
    config = compose(TINY, project_dir=materialized_project)
    assert child.data.params["training.learning_rate"] == str(config.training.learning_rate)
    assert child.data.params["model.base_model"] == config.model.base_model
    # Without a study there is nothing to measure.
    assert name not in _METRICS or _METRICS[name] in child.data.metrics
    logged = yaml.safe_load(Path(_download(materialized_project, child, "config.yaml")).read_text())
    assert logged == to_dict(config)
    assert _artifacts(materialized_project, child.info.run_id) >= _ARTIFACTS[name] | {"config.yaml"}


def test_the_adapter_in_mlflow_is_the_stored_one_byte_for_byte(materialized_project: Path) -> None:
    folder = Path(_download(materialized_project, _run(materialized_project, "lora_adapter"), "adapter"))
    assert file_bytes(folder) == file_bytes(materialized_project / "data" / "assets" / "lora_adapter")


def _download(project: Path, child: Run, path: str) -> str:
    return str(_client(project).download_artifacts(child.info.run_id, path))


def test_the_data_version_is_the_content_version_of_the_stored_value(materialized_project: Path) -> None:
    versions = data_versions(materialized_project)
    # The decision's stands for what it asks for, and that of hyperparameters for the values that were chosen.
    names = [*COMMITTED, "champion"]
    stored = {name: content_version(load_asset(materialized_project, name)) for name in names}
    assert {name: versions[name] for name in names} == stored


def test_each_child_run_names_the_versions_it_read_and_the_dagster_run(materialized_project: Path) -> None:
    versions = data_versions(materialized_project)
    tags = _run(materialized_project, "predictions").data.tags
    assert tags["ftzard.read.splits"] == versions["splits"]
    assert tags["ftzard.read.lora_adapter"] == versions["lora_adapter"]
    assert tags["ftzard.data_version"] == versions["predictions"]
    with project_instance(materialized_project) as instance:
        dagster_run = instance.get_run_by_id(tags["ftzard.dagster_run_id"])
    assert dagster_run is not None
    assert dagster_run.is_success


def test_the_adapter_names_the_data_commit_that_it_was_trained_on(materialized_project: Path) -> None:
    adapter = load_asset(materialized_project, "lora_adapter")
    manifest = json.loads((adapter.path / "manifest.json").read_text())
    assert manifest["provenance"]["data_commit"] == _commit(materialized_project, "splits")
    assert manifest["provenance"]["read.splits"] == data_versions(materialized_project)["splits"]


def test_the_same_content_again_has_the_same_versions_and_makes_no_commit(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    head, versions = git(project, "rev-parse", "HEAD"), data_versions(project)
    done = run(project, "tracking.experiment=again", force=True)
    assert done.ran == NAMES
    # What the gate says of an adapter that it has judged before is another verdict.
    assert {**data_versions(project), "champion": ""} == {**versions, "champion": ""}
    assert git(project, "rev-parse", "HEAD") == head
    after = materializations(project, COMMITTED)
    assert {str(event.metadata["git_commit"].value) for event in after.values()} == {head}
    assert not any(event.metadata["git_commit_created"].value for event in after.values())


def test_a_failing_step_ends_its_run_failed_and_leaves_everything_as_it_was(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    head, versions, files = git(project, "rev-parse", "HEAD"), data_versions(project), file_bytes(project / "data")
    known = {summary.run_id for summary in tracking(project).runs()}
    error = failure_of(project, "model.base_model=./nowhere")
    [failed] = [summary for summary in tracking(project).runs() if summary.run_id not in known]
    assert (failed.step, failed.status) == ("TRAINING", "FAILED")
    tags = tracking(project).run(failed.run_id).client.get_run(failed.run_id).data.tags
    assert isinstance(error, ModelNotFoundError)
    assert tags["ftzard.error"] == f"ModelNotFoundError: {error}"
    assert "current_full_commit_id" not in tags
    assert git(project, "rev-parse", "HEAD") == head
    assert data_versions(project) == versions
    assert file_bytes(project / "data") == files


def test_each_child_run_names_the_data_it_read_and_wrote_with_dvcs_hash(materialized_project: Path) -> None:
    events = materializations(materialized_project)
    with tracking(materialized_project).connected() as client:
        runs = {name: client.get_run(str(event.metadata["mlflow_run_id"].value)) for name, event in events.items()}
    inputs = {
        name: [(one.dataset.name, one.dataset.digest, {tag.key: tag.value for tag in one.tags}) for one in found]
        for name, run in runs.items()
        for found in [run.inputs.dataset_inputs if run.inputs else []]
    }
    written = events["splits"].metadata
    read = [(name, tags["mlflow.data.context"]) for name, _, tags in inputs["splits"]]
    assert sorted(read) == [("cleaned", "read"), ("splits", "written")]
    own = next(one for one in inputs["splits"] if one[0] == "splits")
    assert own[1] == written["dvc_hash"].value
    assert own[2]["ftzard.data_commit"] == written["git_commit"].value
    # A decision is no data, and was made from some.
    assert {tags["mlflow.data.context"] for _, _, tags in inputs["champion"]} == {"read"}


def test_each_child_run_holds_the_libraries_the_machine_and_the_state_of_the_code(materialized_project: Path) -> None:
    event = materializations(materialized_project)["lora_adapter"]
    with tracking(materialized_project).connected() as client:
        run = client.get_run(str(event.metadata["mlflow_run_id"].value))
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert "environment.json" in names
    assert run.data.tags["ftzard.code_dirty"] == "false"
    assert run.data.tags["mlflow.source.git.commit"] in git(materialized_project, "log", "--format=%H").splitlines()
    assert run.data.tags["ftzard.torch_version"]


def test_dagster_and_mlflow_link_to_each_others_pages_and_the_machines_use_is_in_the_run(
    materialized_project: Path,
) -> None:
    event = materializations(materialized_project)["lora_adapter"]
    run_id = str(event.metadata["mlflow_run_id"].value)
    with tracking(materialized_project).connected() as client:
        run = client.get_run(run_id)
    link = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run_id}"
    assert event.metadata["mlflow_run"] == dg.MetadataValue.url(link)
    page = f"http://127.0.0.1:3000/runs/{run.data.tags['ftzard.dagster_run_id']}"
    assert run.data.tags["ftzard.dagster_run_url"] == page
    assert page in run.data.tags["mlflow.note.content"]
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0


@pytest.mark.parametrize("damage", ["a flipped bit", "a missing byte"])
@pytest.mark.parametrize("name", ["cleaned", "splits", "predictions"])
def test_data_that_is_not_what_was_committed_is_not_read(
    materialized_project: Path, tmp_path: Path, name: str, damage: str
) -> None:
    project = copy_of(materialized_project, tmp_path)
    stored = project / "data" / "assets"
    path = max((one for one in stored.rglob("*") if one.is_file() and name in one.as_posix()), key=_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = bytes(content) if damage == "a flipped bit" else path.read_bytes()[:-1]
    # DVC's cache may be linked to it: another file takes its place.
    path.unlink()
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"is not what data\.dvc says was committed") as caught:
        load_asset(project, name)
    assert path.name in caught.value.what
    assert "dvc checkout" in caught.value.fix
    assert path.read_bytes() == damaged


def _size(path: Path) -> int:
    return path.stat().st_size


def test_a_commit_that_was_not_recorded_is_named_by_the_next_run(
    materialized_project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = copy_of(materialized_project, tmp_path)
    batch = next((project / "data" / "raw").iterdir())
    batch.write_bytes(batch.read_bytes() + batch.read_bytes().splitlines()[-1] + b"\n")

    def refuse(_: DataCommit) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        DvcRepository(project, VersioningConfig()).commit("data: by hand\n\nMLflow-Run: lost\n", refuse)
    unrecorded = git(project, "rev-parse", "HEAD")
    job = build_definitions(project_dir=project).resolve_job_def("ftzard_spine")
    with project_instance(project) as instance:
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("raw_data")],
            run_config={"resources": {"ftzard_configuration": {"config": {"overrides": list(TINY)}}}},
        )
    told = str(materializations(project, ["raw_data"])["raw_data"].metadata["recovered"].value)
    assert f"{unrecorded} was made, and stands" in told
    assert "MLflow-Run: lost" in told
    assert _run(project, "raw_data").data.tags["ftzard.recovered"] == told
    assert told in caplog.text
