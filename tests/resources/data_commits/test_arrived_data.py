"""What git brings of others without their data is not committed away."""

import shutil
from pathlib import Path

import pytest
from tests.resources.data_scenario import DEFAULT, commit, dvc, git, write_data

from ftzard.errors import DataCommitError
from ftzard.resources.versioning import DvcRepository

_ELSEWHERE = r"data\.dvc stands for (other data than data holds|data that DVC.s cache does not know)"


@pytest.fixture
def pulled(project: Path, tmp_path: Path) -> Path:
    """A project in which git has pulled the data commit of a colleague, and DVC has pulled nothing."""
    commit(project)
    colleague = tmp_path / "colleague"
    shutil.copytree(project, colleague)
    (colleague / "data" / "theirs.csv").write_text("theirs\n")
    commit(colleague)
    git(project, "pull", "--quiet", str(colleague), "main")
    return project


def test_a_pull_that_data_did_not_follow_is_refused_and_says_how_it_follows(pulled: Path) -> None:
    (pulled / "data" / "mine.csv").write_text("mine\n")
    with pytest.raises(DataCommitError, match=_ELSEWHERE) as caught:
        DvcRepository(pulled, DEFAULT).check()
    assert "`dvc pull`" in caught.value.fix


def test_a_pull_during_the_step_that_made_the_data_is_refused_and_the_branch_keeps_what_it_brought(
    pulled: Path,
) -> None:
    (pulled / "data" / "mine.csv").write_text("mine\n")
    before = git(pulled, "show", "HEAD:data.dvc")
    with pytest.raises(DataCommitError, match=_ELSEWHERE):
        commit(pulled)
    assert (git(pulled, "show", "HEAD:data.dvc"), (pulled / "data.dvc").read_text().rstrip()) == (before, before)
    assert (pulled / "data" / "mine.csv").read_text() == "mine\n"


def test_data_that_followed_is_taken_with_what_a_person_adds_and_removes(pulled: Path, tmp_path: Path) -> None:
    dvc(pulled, "remote", "add", "--local", "--default", "theirs", str(tmp_path / "colleague" / ".dvc" / "cache"))
    dvc(pulled, "pull")
    DvcRepository(pulled, DEFAULT).check()
    (pulled / "data" / "mine.csv").write_text("mine\n")
    (pulled / "data" / "theirs.csv").unlink()
    DvcRepository(pulled, DEFAULT).check()


def test_data_that_a_person_added_by_dvc_is_what_they_mean(pulled: Path) -> None:
    (pulled / "data" / "mine.csv").write_text("mine\n")
    dvc(pulled, "add", "data")
    DvcRepository(pulled, DEFAULT).check()


def test_a_revert_without_the_data_is_refused_until_it_is_checked_out(project: Path) -> None:
    commit(project)
    write_data(project, "two")
    commit(project)
    git(project, "revert", "--no-edit", "HEAD")
    with pytest.raises(DataCommitError, match=_ELSEWHERE):
        DvcRepository(project, DEFAULT).check()
    dvc(project, "checkout")
    DvcRepository(project, DEFAULT).check()


def test_a_clone_without_its_data_is_refused_and_a_project_without_a_commit_is_not(
    project: Path, tmp_path: Path
) -> None:
    DvcRepository(project, DEFAULT).check()
    commit(project)
    git(tmp_path, "clone", "--quiet", str(project), "clone")
    write_data(tmp_path / "clone", "other")
    with pytest.raises(DataCommitError, match=r"DVC's cache does not know") as caught:
        DvcRepository(tmp_path / "clone", DEFAULT).check()
    assert "`dvc add data`" in caught.value.fix


def test_a_pull_that_only_takes_files_away_is_refused_until_they_are_gone(project: Path, tmp_path: Path) -> None:
    write_data(project, "second", "raw/second.csv")
    commit(project)
    colleague = tmp_path / "colleague"
    shutil.copytree(project, colleague)
    (colleague / "data" / "raw" / "second.csv").unlink()
    commit(colleague)
    dvc(project, "remote", "add", "--local", "--default", "theirs", str(colleague / ".dvc" / "cache"))
    git(project, "pull", "--quiet", str(colleague), "main")
    dvc(project, "fetch")
    with pytest.raises(DataCommitError, match=_ELSEWHERE):
        DvcRepository(project, DEFAULT).check()
    dvc(project, "checkout")
    DvcRepository(project, DEFAULT).check()
