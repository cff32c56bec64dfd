"""The person's index: held with git's own lock while it is edited, and free again whatever happens to us."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.project_scenario import git
from tests.resources.data_scenario import die, killed

from ftzard.config import VersioningConfig
from ftzard.errors import DataCommitError
from ftzard.resources import data_commit, shared_index
from ftzard.resources.branch_target import move_target
from ftzard.resources.git import Git
from ftzard.resources.shared_index import edited_index
from ftzard.resources.versioning import DvcRepository

_KILLED_INSIDE = """
import os, signal, sys
from pathlib import Path
from typing import Any
from ftzard.resources.git import Git
from ftzard.resources.shared_index import edited_index
with edited_index(Git.find(Path(sys.argv[1]))) as index:
    Path(index["GIT_INDEX_FILE"]).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def staged(project: Path) -> Path:
    """A project with a file that the person has staged."""
    (project / "paper.md").write_text("one\n")
    git(project, "add", "paper.md")
    return project


def _kill_inside(project: Path) -> None:
    command = [sys.executable, "-c", _KILLED_INSIDE, str(project)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL


def test_meanwhile_the_persons_git_finds_it_locked_and_afterwards_not(staged: Path) -> None:
    with edited_index(Git.find(staged)):
        done = subprocess.run(["git", "add", "."], cwd=staged, check=False, capture_output=True, text=True)
        assert "index.lock" in done.stderr
    git(staged, "add", "paper.md")
    assert not (staged / ".git" / "index.lock").exists()


def test_after_an_error_the_index_is_as_it_was(staged: Path) -> None:
    before = (staged / ".git" / "index").read_bytes()
    with contextlib.suppress(RuntimeError), edited_index(Git.find(staged)) as index:
        Git.find(staged).run("rm", "--cached", "paper.md", variables=index)
        raise RuntimeError
    assert (staged / ".git" / "index").read_bytes() == before
    assert not (staged / ".git" / "index.lock").exists()


def test_a_lock_that_a_killed_process_of_ours_left_is_removed_by_the_next(staged: Path) -> None:
    before = (staged / ".git" / "index").read_bytes()
    _kill_inside(staged)
    assert (staged / ".git" / "index.lock").exists()
    assert (staged / ".git" / "index").read_bytes() == before
    assert DvcRepository(staged, VersioningConfig()).commit("Data").created
    assert not (staged / ".git" / "index.lock").exists()
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"


def test_a_lock_that_is_left_once_the_index_was_changed_is_removed_by_a_next_one_with_nothing_to_do(
    staged: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_index, "_remove", _die_once_the_index_is_ours)
        killed(lambda: DvcRepository(staged, VersioningConfig()).commit("Data"))
    assert (staged / ".git" / "index.lock").exists()
    assert not DvcRepository(staged, VersioningConfig()).commit("Data").created
    assert not (staged / ".git" / "index.lock").exists()
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"


def _die_once_the_index_is_ours(*paths: Path) -> None:
    """`edited_index` removes its copy before it begins, and git's lock at its end."""
    if any(path.name == "index.lock" for path in paths):
        die()


def test_somebody_elses_lock_is_left_alone_and_named(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_index, "_FIRST_PAUSE_S", 0.001)
    lock = staged / ".git" / "index.lock"
    lock.write_text("theirs")
    with pytest.raises(DataCommitError, match=r"index\.lock"), edited_index(Git.find(staged)):
        pass
    assert lock.read_text() == "theirs"
    # Also where a process of ours was killed once, whose file is still there.
    lock.unlink()
    _kill_inside(staged)
    lock.unlink()
    lock.write_text("theirs")
    with pytest.raises(DataCommitError, match=r"index\.lock"), edited_index(Git.find(staged)):
        pass
    assert lock.read_text() == "theirs"


def test_two_of_ours_wait_for_each_other(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_index, "_FIRST_PAUSE_S", 0.001)
    with (
        edited_index(Git.find(staged)),
        pytest.raises(DataCommitError, match="another process holds"),
        edited_index(Git.find(staged)),
    ):
        pass


def test_a_file_system_without_hard_links_has_a_lock_as_gits(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with edited_index(Git.find(staged)):
        assert (staged / ".git" / "index.lock").exists()
    assert not (staged / ".git" / "index.lock").exists()


def test_while_the_branch_moves_the_persons_git_cannot_commit(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their index lacks our change until it is brought along: a commit in between would take it back."""
    said: list[str] = []

    def move_and_look(*arguments: Any) -> str | None:
        refusal = move_target(*arguments)
        ada = ["-c", "user.name=Ada", "-c", "user.email=ada@localhost"]
        done = subprocess.run(
            ["git", *ada, "commit", "-m", "A paper"], cwd=staged, check=False, capture_output=True, text=True
        )
        said.append(done.stderr)
        return refusal

    monkeypatch.setattr(data_commit, "move_target", move_and_look)
    DvcRepository(staged, VersioningConfig()).commit("Data")
    assert "index.lock" in said[0]
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"
