"""`ftzard diff`: rows, configuration and scores of two states of a project."""

import json
from pathlib import Path

from click.testing import CliRunner, Result
from tests.project_scenario import TINY, copy_of, file_bytes, git, tracking

from ftzard.cli import main


def _diff(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["diff", *arguments, "--project", str(project), *TINY])


def test_a_version_differs_from_the_champion_it_is_in_nothing(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    before = git(project, "rev-parse", "HEAD"), file_bytes(project / "data")
    done = _diff(project, "1", "champion", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["rows"]) == {"cleaned", "train", "validation", "test"}
    assert all(one["added"]["rows"] == one["removed"]["rows"] == 0 for one in found["rows"].values())
    assert found["config"] == {}
    assert found["difference"] == [0, 0, 0]
    assert before == (git(project, "rev-parse", "HEAD"), file_bytes(project / "data"))


def test_a_run_stands_for_the_commit_it_made(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    runs = {run.step: run.run_id for run in tracking(project).runs()}
    done = _diff(project, runs["DATA_CLEANING"][:12], "HEAD")
    assert done.exit_code == 0, done.output
    assert "cleaned: the same" in done.output
    # The splits were made later.
    assert "train:" not in done.output
    assert "only HEAD has train, validation, test" in done.output
    # Nothing was trained yet, with no configuration, and not with one that was null throughout.
    assert f"configuration: not comparable: {runs['DATA_CLEANING'][:12]} has no adapter" in done.output
    assert "null ->" not in done.output
    assert "not comparable" in done.output
    none = _diff(project, runs["RETRAIN_DECISION"], "HEAD")
    assert none.exit_code == 1, none.output
    assert "made no data commit" in none.output


def test_a_name_that_is_nothing_is_told_what_was_tried(materialized_project: Path, tmp_path: Path) -> None:
    done = _diff(copy_of(materialized_project, tmp_path), "99", "HEAD")
    assert done.exit_code == 1
    assert "'99' names nothing: tried versions" in done.output
