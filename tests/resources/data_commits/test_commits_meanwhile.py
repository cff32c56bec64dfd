"""Data commits while others commit, switch branches, or hold a lock."""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.lock import Lock, LockError
from tests.resources.data_scenario import commit, dvc, files_in, git, status, write_data

from ftzard.errors import (
    DataCommitError,
)
from ftzard.resources import data_commit, shared_index
from ftzard.resources.shared_index import EditedIndex


def race(monkeypatch: pytest.MonkeyPatch, *events: Callable[[], object]) -> None:
    """Let something happen after each of the first trees is written and before its commit is on the branch."""
    original, waiting = data_commit._write_commit, list(events)

    def slow(*arguments: object) -> str:
        commit_id = original(*arguments)  # type: ignore[arg-type] # passed through as they come
        if waiting:
            waiting.pop(0)()
        return commit_id

    monkeypatch.setattr(data_commit, "_write_commit", slow)


def test_a_commit_that_somebody_made_meanwhile_is_built_upon(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "notes.txt").write_text("theirs\n")
    race(
        monkeypatch,
        lambda: git(project, "commit", "--quiet", "--all", "--message", "Theirs"),
        lambda: git(project, "commit", "--quiet", "--allow-empty", "--message", "Theirs too"),
    )
    commit(project)
    assert git(project, "log", "--format=%s").splitlines()[:3] == ["Data", "Theirs too", "Theirs"]
    assert git(project, "show", "HEAD:notes.txt") == "theirs"
    # `git commit --all` took DVC's line in `.gitignore` along, so it is theirs, and ours is the pointer alone.
    assert files_in(project) == ["data.dvc"]
    assert status(project) == []


def test_a_branch_that_never_stands_still_is_an_error_and_not_overwritten(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_commit, "_FIRST_PAUSE_S", 0.0)
    theirs = ["commit", "--quiet", "--allow-empty", "--message", "Theirs"]
    race(monkeypatch, *[lambda: git(project, *theirs)] * 20)
    with pytest.raises(DataCommitError, match="could not be moved"):
        commit(project)
    assert set(git(project, "log", "-3", "--format=%s").splitlines()) == {"Theirs"}


def test_a_branch_switched_meanwhile_gets_the_commit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "branch", "before")
    # The old branch moves as well, or the commit would rightly still belong to it.
    race(
        monkeypatch,
        lambda: (
            git(project, "commit", "--quiet", "--allow-empty", "--message", "Theirs"),
            git(project, "switch", "--quiet", "before"),
        ),
    )
    made = commit(project)
    assert git(project, "rev-parse", "before") == made.commit_id
    assert git(project, "log", "-1", "--format=%s", "main") == "Theirs"
    assert status(project) == []


def test_an_index_left_behind_by_a_killed_process_is_repaired(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(EditedIndex, "put_in_place", lambda _: None)
        commit(project)
    assert status(project) == ["MM .gitignore", "D  data.dvc", "?? data.dvc"]
    assert not commit(project).created
    assert status(project) == []


def test_a_locked_index_is_waited_for_and_then_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_index, "_FIRST_PAUSE_S", 0.001)
    lock = project / ".git" / "index.lock"
    lock.touch()
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(DataCommitError, match=r"index\.lock"):
        commit(project)
    # Nothing moved: else a commit of the person's would have taken the change back.
    assert git(project, "rev-parse", "HEAD") == before
    lock.unlink()
    commit(project)
    assert status(project) == []


def _commit_own_file(project: Path, name: str) -> None:
    write_data(project, name, f"raw/{name}.csv")
    commit(project)


def test_two_processes_commit_one_after_the_other(project: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_commit_own_file, args=(project, name)) for name in ("left", "right")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert not commit(project).created
    assert status(project) == []
    assert "up to date" in dvc(project, "status")
    for revision in git(project, "rev-list", "HEAD", "--", "data.dvc").splitlines():
        assert "data.dvc" in files_in(project, revision)


def test_a_dvc_command_of_the_person_is_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]); print('held', flush=True); input()"
    command = [sys.executable, "-c", script, str(project / ".dvc/tmp/lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        original, refusals = Lock.lock, []

        def lock(self: Lock) -> None:
            try:
                original(self)
            except LockError:
                refusals.append(self)
                holder.kill()
                holder.wait()
                raise

        monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.01)
        monkeypatch.setattr(Lock, "lock", lock)
        assert commit(project).created
    assert len(refusals) == 1
