"""A remote that is down stops no commit: what it did not take is kept, told, and pushed later, in order."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftzard.cli import main
from ftzard.config import VersioningConfig
from ftzard.errors import PushError, PushPendingError
from ftzard.resources import pending_pushes
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.push_queue import PushQueue
from ftzard.resources.versioning import DvcRepository

_ONCE = VersioningConfig(push_attempts=1)
_BOTH = VersioningConfig(git_remote="origin", push_attempts=1)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which nobody waits for here."""
    paused: list[float] = []
    monkeypatch.setattr("ftzard.resources.pending_pushes.sleep", paused.append)
    return paused


@pytest.fixture
def hub(project: Path, tmp_path: Path) -> Path:
    """A git remote `origin` and a DVC remote, each in a folder."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    init_project_repository(project, remote=tmp_path / "store")
    git(project, "add", ".dvc/config")
    git(project, "commit", "--quiet", "--message", "Remote")
    return tmp_path / "hub.git"


def take_down(remote: Path) -> None:
    remote.rename(remote.with_suffix(".away")) if remote.exists() else None
    remote.touch()


def bring_back(remote: Path) -> None:
    remote.unlink()
    away = remote.with_suffix(".away")
    away.rename(remote) if away.exists() else None


def commit(project: Path, text: str, config: VersioningConfig = _ONCE) -> DataCommit:
    (project / "data" / "raw" / "more.csv").write_text(text)
    return DvcRepository(project, config).commit(f"Data: {text}")


def push(project: Path, config: VersioningConfig = _ONCE) -> None:
    DvcRepository(project, config).push_pending()


def queue(project: Path) -> PushQueue:
    return PushQueue(project / ".dvc" / "tmp")


def pulled(source: Path, commit_id: str, folder: Path) -> str:
    """What a colleague has after a clone, a checkout of a commit and `dvc pull`."""
    git(folder.parent, "clone", "--quiet", str(source), folder.name)
    git(folder, "checkout", "--quiet", commit_id)
    subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet"], cwd=folder, check=True, capture_output=True)
    return (folder / "data" / "raw" / "more.csv").read_text()


def test_commits_made_while_both_remotes_are_down_are_pushed_in_order_by_the_next(
    project: Path, hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit(project, "zero", _BOTH)
    take_down(tmp_path / "store")
    take_down(hub)
    first, second = commit(project, "one", _BOTH), commit(project, "two", _BOTH)
    for made in (first, second):
        assert made.created
        assert not made.pushed_data
        assert not made.pushed_git
        assert made.pending is not None
        assert "store" in made.pending
    assert queue(project).data() == [first.data_hash, second.data_hash]
    assert f"the data commit {second.commit_id} is not pushed" in caplog.text
    assert git(project, "status", "--porcelain") == ""
    bring_back(tmp_path / "store")
    bring_back(hub)
    third = commit(project, "three", _BOTH)
    assert (third.pushed_data, third.pushed_git, third.pending) == (True, True, None)
    assert not queue(project).path.exists()
    # Out of the remotes alone: the oldest of them too, whose listing no later commit names.
    shutil.rmtree(project / ".dvc" / "cache")
    for number, (made, text) in enumerate([(first, "one"), (second, "two"), (third, "three")]):
        assert pulled(hub, made.commit_id, tmp_path / f"clone-{number}") == text


def test_ftzard_push_pushes_what_is_waiting_and_says_so(project: Path, hub: Path, tmp_path: Path) -> None:
    take_down(tmp_path / "store")
    made = commit(project, "one", _BOTH)
    refused = CliRunner().invoke(main, ["push", "--project", str(project), "versioning.push_attempts=1"])
    assert refused.exit_code == 1
    assert "store" in refused.output
    # Data first: a branch whose data nobody can get is not shown to others.
    assert git(hub, "for-each-ref") == ""
    bring_back(tmp_path / "store")
    done = CliRunner().invoke(main, ["push", "--project", str(project)])
    assert done.exit_code == 0, done.output
    assert "Pushed the data of 1 commit(s)." in done.output
    assert f"Pushed main to origin ({made.commit_id[:12]})." in done.output
    assert git(hub, "rev-parse", "main") == made.commit_id
    again = CliRunner().invoke(main, ["push", "--project", str(project)])
    assert (again.exit_code, again.output) == (0, "Nothing is waiting to be pushed.\n")


def test_a_git_remote_that_is_down_keeps_the_branch_waiting_and_not_the_data(project: Path, hub: Path) -> None:
    take_down(hub)
    made = commit(project, "one", _BOTH)
    assert (made.created, made.pushed_data, made.pushed_git) == (True, True, False)
    assert [branch.commit_id for branch in queue(project).branches()] == [made.commit_id]
    with pytest.raises(PushPendingError, match="origin"):
        push(project)
    bring_back(hub)
    push(project)
    assert git(hub, "rev-parse", "main") == made.commit_id


@pytest.mark.usefixtures("hub")
def test_a_push_is_tried_as_often_as_configured_with_growing_pauses(
    project: Path, tmp_path: Path, pauses: list[float]
) -> None:
    take_down(tmp_path / "store")
    commit(project, "one", VersioningConfig(push_attempts=4))
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.usefixtures("hub")
def test_a_remote_that_is_back_at_the_second_attempt_is_no_more_than_a_pause(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_down(tmp_path / "store")
    monkeypatch.setattr("ftzard.resources.pending_pushes.sleep", lambda _: bring_back(tmp_path / "store"))
    made = commit(project, "one", VersioningConfig(push_attempts=2))
    assert made.pushed_data
    assert made.pending is None


def test_a_git_remote_that_is_ahead_is_told_with_the_commands_that_solve_it_and_never_forced(
    project: Path, hub: Path, tmp_path: Path, pauses: list[float]
) -> None:
    config = VersioningConfig(git_remote="origin")
    commit(project, "one", config)
    git(tmp_path, "clone", "--quiet", str(hub), "clone")
    git(tmp_path / "clone", "commit", "--quiet", "--allow-empty", "--message", "Ahead")
    git(tmp_path / "clone", "push", "--quiet")
    ahead = git(tmp_path / "clone", "rev-parse", "HEAD")
    ours = commit(project, "two", config)
    assert ours.created
    assert not ours.pushed_git
    assert ours.pending is not None
    assert f"refused {ours.commit_id}" in ours.pending
    assert pauses == []
    assert git(hub, "rev-parse", "main") == ahead
    # The remedy that is told is one.
    assert "`git pull --no-rebase origin main`" in ours.pending
    git(project, "pull", "--quiet", "--no-edit", "--no-rebase", "origin", "main")
    push(project, config)
    assert git(hub, "rev-parse", "main") == git(project, "rev-parse", "HEAD")
    git(project, "merge-base", "--is-ancestor", ours.commit_id, "HEAD")
    assert queue(project).branches() == []


def test_a_branch_that_is_refused_keeps_no_other_back(project: Path, hub: Path, tmp_path: Path) -> None:
    commit(project, "one", _BOTH)
    git(tmp_path, "clone", "--quiet", str(hub), "clone")
    git(tmp_path / "clone", "commit", "--quiet", "--allow-empty", "--message", "Ahead")
    git(tmp_path / "clone", "push", "--quiet")
    assert commit(project, "two", _BOTH).pending is not None
    git(project, "switch", "--quiet", "--create", "other")
    made = commit(project, "three", _BOTH)
    assert made.pushed_git
    assert made.pending is not None
    assert git(hub, "rev-parse", "other") == made.commit_id


def test_a_commit_that_the_person_took_back_is_not_pushed(
    project: Path, hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = git(project, "rev-parse", "HEAD")
    take_down(hub)
    made = commit(project, "one", _BOTH)
    bring_back(hub)
    git(project, "reset", "--quiet", "--hard", before)
    push(project)
    assert made.commit_id in caplog.text
    assert git(hub, "for-each-ref") == ""
    assert not queue(project).path.exists()


@pytest.mark.usefixtures("hub")
def test_a_commit_on_a_detached_head_is_made_and_told_to_be_on_no_branch(project: Path) -> None:
    git(project, "checkout", "--quiet", "--detach")
    made = commit(project, "one", _BOTH)
    assert (made.created, made.pushed_data, made.pushed_git) == (True, True, False)
    assert made.pending is not None
    assert "HEAD is detached" in made.pending
    assert f"`git branch NAME {made.commit_id}`" in made.pending


@pytest.mark.usefixtures("hub")
def test_data_that_is_in_the_cache_no_more_is_told_and_keeps_nothing_back(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_down(tmp_path / "store")
    lost = commit(project, "one")
    shutil.rmtree(project / ".dvc" / "cache")
    bring_back(tmp_path / "store")
    assert commit(project, "two").pushed_data
    assert f"the data {lost.data_hash} was not pushed and is no longer whole" in caplog.text
    assert queue(project).data() == []


@pytest.mark.usefixtures("hub")
def test_a_kill_between_the_commit_and_the_push_leaves_its_data_in_the_queue(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data" / "raw" / "more.csv").write_text("killed")
    with monkeypatch.context() as killed:
        killed.setattr(pending_pushes, "push_data", lambda *_: os._exit(9))
        child = os.fork()
        if child == 0:
            DvcRepository(project, _ONCE).commit("Killed")
        assert os.waitpid(child, 0)[1] != 0
    (project / "data" / "raw" / "more.csv").write_text("two")
    assert len(queue(project).data()) == 1
    assert commit(project, "two").pushed_data
    assert queue(project).data() == []


@pytest.mark.usefixtures("hub")
def test_a_queue_that_cannot_be_read_is_kept_aside_and_told(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = queue(project).path
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    assert commit(project, "one").pushed_data
    assert "`dvc push --all-commits`" in caplog.text
    assert path.with_suffix(".broken").read_text() == "{"


@pytest.mark.usefixtures("hub")
def test_waiting_data_without_a_remote_is_an_error_that_names_the_command(project: Path, tmp_path: Path) -> None:
    take_down(tmp_path / "store")
    commit(project, "one")
    (project / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    with pytest.raises(PushError, match="no default remote") as caught:
        push(project)
    assert "`dvc remote add --default" in caught.value.fix
