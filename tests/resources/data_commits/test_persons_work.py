"""What a data commit leaves alone: all that the person has staged, edited, ignored or left untracked."""

import subprocess
from pathlib import Path

import pytest
from tests.resources.data_scenario import DEFAULT, commit, dvc, files_in, git, status, write_data

from ftzard.config import VersioningConfig
from ftzard.errors import (
    DataCommitError,
)
from ftzard.resources.versioning import DvcRepository


def test_what_is_staged_edited_or_untracked_is_as_it_was(project: Path) -> None:
    commit(project)
    (project / "staged.txt").write_text("staged")
    (project / "both.txt").write_text("staged")
    git(project, "add", "staged.txt", "both.txt")
    (project / "both.txt").write_text("and edited")
    (project / "notes.txt").write_text("edited\n")
    (project / "untracked.txt").write_text("untracked")
    before, index = status(project), git(project, "ls-files", "--stage", "notes.txt", "staged.txt", "both.txt")
    write_data(project, "two")
    assert commit(project).created
    assert files_in(project) == ["data.dvc"]
    assert status(project) == before == ["AM both.txt", " M notes.txt", "A  staged.txt", "?? untracked.txt"]
    assert git(project, "ls-files", "--stage", "notes.txt", "staged.txt", "both.txt") == index


def test_edits_of_gitignore_stay_with_the_person(project: Path) -> None:
    (project / ".gitignore").write_text("*.tmp\nedited\n")
    commit(project)
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert git(project, "show", ":.gitignore") == "*.tmp\n/data"
    assert (project / ".gitignore").read_text() == "*.tmp\nedited\n/data\n"
    assert status(project) == [" M .gitignore"]


def test_staged_edits_of_gitignore_stay_staged(project: Path) -> None:
    (project / ".gitignore").write_text("*.tmp\nstaged\n")
    git(project, "add", ".gitignore")
    commit(project)
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert git(project, "show", ":.gitignore") == "*.tmp\nstaged\n/data"
    assert status(project) == ["M  .gitignore"]


def test_the_staged_deletion_of_gitignore_stays_staged(project: Path) -> None:
    git(project, "rm", "--quiet", ".gitignore")
    commit(project)
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert status(project) == ["D  .gitignore", "?? .gitignore"]


def test_an_untracked_gitignore_keeps_its_lines_out_of_the_commit(project: Path) -> None:
    git(project, "rm", "--quiet", ".gitignore")
    git(project, "commit", "--quiet", "--message", "No ignored files")
    (project / ".gitignore").write_text("mine")
    commit(project)
    assert git(project, "show", "HEAD:.gitignore") == "/data"
    assert (project / ".gitignore").read_text() == "mine\n/data\n"
    assert status(project) == [" M .gitignore"]


def test_data_that_the_person_already_ignores_needs_no_line(project: Path) -> None:
    (project / ".gitignore").write_text("*.tmp\ndata/\n")
    git(project, "commit", "--quiet", "--all", "--message", "Ignore data")
    commit(project)
    assert files_in(project) == ["data.dvc"]
    assert (project / ".gitignore").read_text() == "*.tmp\ndata/\n"


def test_a_pattern_that_is_not_committed_yet_does_not_stand_in_for_the_line(project: Path) -> None:
    (project / ".gitignore").write_text("*.tmp\nd*/\n")
    commit(project)
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert (project / ".gitignore").read_text() == "*.tmp\nd*/\n"


def test_dvc_stages_nothing_where_the_person_has_autostage_on(project: Path) -> None:
    dvc(project, "config", "core.autostage", "true")
    git(project, "commit", "--quiet", "--all", "--message", "Autostage")
    git(project, "branch", "elsewhere")
    commit(project, VersioningConfig(branch="elsewhere"))
    assert git(project, "diff", "--cached", "--name-only") == ""


def test_a_merge_in_progress_can_be_finished_afterwards(project: Path) -> None:
    commit(project)
    git(project, "switch", "--quiet", "--create", "side")
    (project / "side.txt").write_text("side")
    git(project, "add", "side.txt")
    git(project, "commit", "--quiet", "--message", "Side")
    side = git(project, "rev-parse", "HEAD")
    git(project, "switch", "--quiet", "main")
    git(project, "merge", "--quiet", "--no-commit", "--no-ff", "side")
    write_data(project, "two")
    made = commit(project)
    assert files_in(project) == ["data.dvc"]
    assert status(project) == ["A  side.txt"]
    git(project, "commit", "--quiet", "--message", "Merge")
    assert git(project, "log", "-1", "--format=%P") == f"{made.commit_id} {side}"


def test_a_pointer_in_conflict_is_left_to_the_person(project: Path) -> None:
    base = commit(project).commit_id
    write_data(project, "two")
    commit(project)
    git(project, "switch", "--quiet", "--create", "side", base)
    dvc(project, "checkout")
    DvcRepository(project, DEFAULT).check()
    write_data(project, "three")
    commit(project)
    merge = subprocess.run(["git", "merge", "main"], cwd=project, check=False, capture_output=True)
    assert merge.returncode != 0
    before = git(project, "ls-files", "--unmerged")
    with pytest.raises(DataCommitError, match=r"data\.dvc .*in conflict"):
        commit(project)
    # Also where it is only read: `git checkout -- data.dvc` would fail, and to delete it would take the other side out.
    with pytest.raises(DataCommitError, match=r"data\.dvc .*in conflict") as caught:
        DvcRepository(project, DEFAULT).data_hash()
    assert "keep one side whole" in caught.value.fix
    assert "ftzard checkout COMMIT" in caught.value.fix
    assert git(project, "ls-files", "--unmerged") == before != ""
