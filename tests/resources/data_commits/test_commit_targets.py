"""Where a data commit goes: the branch, a detached HEAD, a project below its repository."""

from pathlib import Path

import pytest
from tests.resources.data_scenario import DEFAULT, commit, dvc, files_in, git, status, write_data

from ftzard.config import VersioningConfig
from ftzard.errors import (
    DataCommitError,
)
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.versioning import DvcRepository


def test_the_first_commit_of_a_repository_can_be_a_data_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "trunk", "fresh")
    fresh = tmp_path / "fresh"
    dvc(fresh, "init", "--quiet")
    write_data(fresh, "one")
    repository = DvcRepository(fresh, DEFAULT)
    assert repository.head() is None
    made = repository.commit("First")
    assert git(fresh, "rev-list", "trunk") == made.commit_id
    assert files_in(fresh) == [".gitignore", "data.dvc"]
    assert status(fresh) == ["A  .dvc/.gitignore", "A  .dvc/config", "A  .dvcignore"]


def test_a_detached_head_moves_itself_and_no_branch(project: Path) -> None:
    before = git(project, "rev-parse", "main")
    git(project, "checkout", "--quiet", "--detach")
    made = commit(project)
    assert git(project, "rev-parse", "HEAD") == made.commit_id
    assert git(project, "rev-parse", "main", "HEAD^") == f"{before}\n{before}"
    assert git(project, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert status(project) == []


def test_a_configured_branch_is_made_at_head_and_the_checked_out_one_stays(project: Path) -> None:
    config = VersioningConfig(branch="ftzard/data")
    before = git(project, "rev-parse", "HEAD")
    assert DvcRepository(project, config).head() == before
    made = commit(project, config)
    assert git(project, "rev-parse", "HEAD", "ftzard/data^") == f"{before}\n{before}"
    assert git(project, "rev-parse", "ftzard/data") == made.commit_id
    assert git(project, "diff", "--cached", "--name-only") == ""
    assert not commit(project, config).created
    write_data(project, "two")
    assert git(project, "rev-parse", f"{commit(project, config).commit_id}^") == made.commit_id


def test_naming_the_checked_out_branch_is_the_same_as_naming_none(project: Path) -> None:
    made = commit(project, VersioningConfig(branch="main"))
    assert git(project, "rev-parse", "HEAD") == made.commit_id
    assert status(project) == []


def test_a_branch_that_another_work_tree_has_is_not_pulled_away(project: Path, tmp_path: Path) -> None:
    git(project, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    before = git(project, "rev-parse", "other")
    with pytest.raises(DataCommitError, match="another work tree"):
        commit(project, VersioningConfig(branch="other"))
    assert git(project, "rev-parse", "other") == before


@pytest.mark.parametrize("branch", ["a..b", "-f", "with space", "@{-1}", "HEAD"])
def test_an_impossible_branch_is_an_error_that_names_it(project: Path, branch: str) -> None:
    with pytest.raises(DataCommitError, match=r"versioning\.branch"):
        DvcRepository(project, VersioningConfig(branch=branch)).check()


def test_a_project_may_be_a_subfolder_of_the_repository(tmp_path: Path) -> None:
    top = tmp_path / "top"
    folder = top / "deep" / "my project"
    top.mkdir()
    git(top, "init", "--quiet", "-b", "main")
    (top / "root.txt").write_text("root")
    git(top, "add", "root.txt")
    init_project_repository(folder, remote=None)
    prefix = "deep/my project"
    assert files_in(top) == [f"{prefix}/.dvc/.gitignore", f"{prefix}/.dvc/config", f"{prefix}/.dvcignore"]
    write_data(folder, "one")
    commit(folder)
    assert files_in(top) == [f"{prefix}/.gitignore", f"{prefix}/data.dvc"]
    assert git(top, "show", f"HEAD:{prefix}/.gitignore") == "/data"
    assert status(top) == ["A  root.txt"]
    write_data(folder, "two")
    commit(folder)
    assert files_in(top) == [f"{prefix}/data.dvc"]


def test_a_project_may_stand_below_its_dvc_repository(project: Path) -> None:
    inner = project / "inner"
    write_data(inner, "inner")
    commit(inner)
    assert files_in(project) == ["inner/.gitignore", "inner/data.dvc"]
    assert not (inner / ".dvc").exists()
