"""`ftzard reproduce`: a registered adapter is trained once more from its manifest."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.project_scenario import TINY, copy_of, file_bytes, git, run, tracking

from ftzard.cli import main
from ftzard.resources.project_repository import init_project_repository


def _reproduce(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", *arguments, "--project", str(project), *TINY])


def _manifest(project: Path) -> Path:
    """Of the champion's copy, made by a first look at it."""
    return next((project / ".ftzard" / "registry").glob("*/manifest.json"))


def test_the_champion_is_reproduced_bit_for_bit_and_the_project_stays(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    before = git(project, "rev-parse", "HEAD"), file_bytes(project / "data")
    done = _reproduce(project, "champion", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["reproduced"]
    assert report["original"] == report["again"]
    assert (git(project, "rev-parse", "HEAD"), file_bytes(project / "data")) == before

    # Another version and another seed in the manifest: both are told.
    manifest = json.loads(_manifest(project).read_text())
    manifest["versions"]["torch"] = "1.0"
    manifest["config"]["training"]["seed"] = 7
    _manifest(project).write_text(json.dumps(manifest))
    other = _reproduce(project, "1")
    assert other.exit_code == 3, other.output
    assert "torch was 1.0, is " in other.output
    assert "NOT reproduced" in other.output
    assert "differs: tensor " in other.output


def test_the_run_that_trained_it_names_it_too(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    runs = {run.step: run.run_id for run in tracking(project).runs()}
    trained = _reproduce(project, runs["TRAINING"][:12])
    assert trained.exit_code == 0, trained.output
    assert "reproduced, bit for bit" in trained.output
    other = _reproduce(project, runs["DATA_CLEANING"])
    assert other.exit_code == 1
    assert "holds no adapter" in other.output


def test_data_that_is_gone_is_told(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    shutil.rmtree(project / ".dvc" / "cache")
    done = _reproduce(project, "1")
    assert done.exit_code == 1
    assert "dvc fetch" in done.output


def test_a_version_that_does_not_exist_is_told(materialized_project: Path, tmp_path: Path) -> None:
    done = _reproduce(copy_of(materialized_project, tmp_path), "99")
    assert done.exit_code == 1
    assert "no version '99'" in done.output


@pytest.mark.slow
def test_in_a_subfolder_of_a_repository_with_a_dvc_of_its_own_it_is_reproduced_too(
    tmp_path: Path, project_template: Path, empty_store: Path
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet", "--initial-branch=main")
    init_project_repository(repository / "research", remote=None)
    project = repository / "research"
    (project / "data" / "raw").mkdir(parents=True)
    shutil.copy(project_template / "data" / "raw" / "opinions.csv", project / "data" / "raw")
    shutil.copy(empty_store, project / "mlflow.db")
    run(project)
    # Another state of the work tree: the data of the commit is what counts.
    shutil.rmtree(project / "data" / "assets")
    done = _reproduce(project, "1")
    assert done.exit_code == 0, done.output
    assert "reproduced, bit for bit" in done.output
