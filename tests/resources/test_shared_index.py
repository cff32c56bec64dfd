"""The person's index: held with git's own lock while it is edited, and free again whatever happens to us."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.project_scenario import git
from tests.resources.data_scenario import die, killed, write_data

from ftzard.cli import main
from ftzard.config import VersioningConfig
from ftzard.errors import DataCommitError
from ftzard.resources import data_commit, shared_index
from ftzard.resources.branch_target import Target, find_target
from ftzard.resources.git import Git
from ftzard.resources.reference_transaction import ReferenceTransaction
from ftzard.resources.shared_index import EditedIndex, edited_index
from ftzard.resources.versioning import DvcRepository

_ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@localhost")
_KILLED_INSIDE = """
import os, signal, sys
from pathlib import Path
from typing import Any
from ftzard.resources.git import Git
from ftzard.resources.shared_index import edited_index
with edited_index(Git.find(Path(sys.argv[1]))) as index:
    Path(index.variables["GIT_INDEX_FILE"]).write_bytes(b"half")
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
        Git.find(staged).run("rm", "--cached", "paper.md", variables=index.variables)
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
    """`edited_index` removes its copies before it begins, and git's lock at its end."""
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


def test_a_copy_that_is_put_in_place_can_be_put_back(staged: Path) -> None:
    before = (staged / ".git" / "index").read_bytes()
    git_here = Git.find(staged)
    with edited_index(git_here) as index:
        git_here.run("rm", "--cached", "paper.md", variables=index.variables)
        index.put_in_place()
        assert git(staged, "ls-files", "paper.md") == ""
        index.put_back()
    assert (staged / ".git" / "index").read_bytes() == before
    assert sorted(path.name for path in (staged / ".git").glob("*index*")) == ["ftzard-index", "index"]


def _commits(project: Path) -> subprocess.CompletedProcess[str]:
    """A person's commit of what is staged, as git does it: branch, index, its lock, the branch's lock."""

    command = ["git", *_ADA, "commit", "--quiet", "-m", "A paper"]
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


def _looking(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, look: Callable[[], None]) -> None:
    """Have somebody look before and after a step of ours."""
    step = getattr(owner, name)

    def looked_at(self: Any) -> Any:
        look()
        try:
            return step(self)
        finally:
            look()

    monkeypatch.setattr(owner, name, looked_at)


def test_while_the_branch_moves_the_persons_git_cannot_commit_and_sees_no_new_branch_with_the_old_index(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    pairs: list[tuple[bool, bool]] = []
    before = git(staged, "rev-parse", "HEAD")

    def look() -> None:
        # In the order in which git reads them.
        has_moved = git(staged, "rev-parse", "HEAD") != before
        pairs.append((has_moved, git(staged, "ls-files", "data.dvc") != ""))
        said.append(_commits(staged).stderr)

    _looking(monkeypatch, EditedIndex, "put_in_place", look)
    _looking(monkeypatch, ReferenceTransaction, "commit", look)
    DvcRepository(staged, VersioningConfig()).commit("Data")
    assert pairs == [(False, False), (False, True), (False, True), (True, True)]
    assert all("index.lock" in one for one in said)
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"


def test_a_branch_that_cannot_be_moved_leaves_the_index_as_it_was(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = git(staged, "ls-files", "--stage")
    monkeypatch.setattr(ReferenceTransaction, "commit", lambda _: "no")
    monkeypatch.setattr(data_commit, "_FIRST_PAUSE_S", 0.0)
    with pytest.raises(DataCommitError, match="could not be moved in 8 attempts: no"):
        DvcRepository(staged, VersioningConfig()).commit("Data")
    assert git(staged, "ls-files", "--stage") == before


def test_a_branch_that_the_person_checks_out_meanwhile_gets_the_commit(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def find_and_switch(*arguments: Any) -> Target:
        target = find_target(*arguments)
        if not found:
            git(staged, "checkout", "--quiet", "-b", "other")
        found.append(target.ref)
        return target

    before = git(staged, "rev-parse", "HEAD")
    monkeypatch.setattr(data_commit, "find_target", find_and_switch)
    made = DvcRepository(staged, VersioningConfig()).commit("Data")
    assert found[-1] == "refs/heads/other"
    assert git(staged, "rev-parse", "other") == made.commit_id
    assert git(staged, "rev-parse", found[0]) == before
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"


def test_what_a_kill_between_the_index_and_the_branch_leaves_is_taken_out_of_the_index(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DvcRepository(staged, VersioningConfig()).commit("Data")
    before = git(staged, "ls-files", "--stage")
    write_data(staged, "more")
    with monkeypatch.context() as patch:
        patch.setattr(ReferenceTransaction, "commit", lambda _: die())
        killed(lambda: DvcRepository(staged, VersioningConfig()).commit("More data"))
    assert git(staged, "diff", "--cached", "--name-only") == "data.dvc\npaper.md"
    # Nothing of git's is left locked, because its process ended with ours.
    git(staged, "update-ref", "HEAD", git(staged, "rev-parse", "HEAD"))
    told = CliRunner().invoke(main, ["push", "--project", str(staged)], catch_exceptions=False).output
    assert "what it had put in git's index was taken out" in told
    assert git(staged, "ls-files", "--stage") == before
    assert DvcRepository(staged, VersioningConfig()).commit("More data").created
    assert git(staged, "diff", "--cached", "--name-only") == "paper.md"
