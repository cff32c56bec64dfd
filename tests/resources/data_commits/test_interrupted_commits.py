"""A data commit that is killed at some instant is finished or undone by the next one, which says so."""

import os
from pathlib import Path
from typing import Any

import dvc.dvcfile
import pytest
from click.testing import CliRunner
from tests.resources.data_scenario import (
    DEFAULT,
    commit,
    die,
    git,
    killed,
    make_project,
    status,
    template_folder,
    write_data,
)
from tests.resources.data_scenario import dvc as run_dvc

from ftzard.cli import main
from ftzard.config import VersioningConfig
from ftzard.errors import DataCommitError, PushError
from ftzard.resources import versioning
from ftzard.resources.commit_journal import CommitJournal
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.push_queue import PushQueue
from ftzard.resources.reference_transaction import ReferenceTransaction
from ftzard.resources.versioning import DvcRepository

_MESSAGE = "data: materialize cleaned\n\nMLflow-Run: abc\nDagster-Run: def\n"
_HUB = VersioningConfig(git_remote="origin", push_attempts=1)
# What DVC writes for the folder `data`; each of its beginnings is what a kill may leave.
_POINTER_BYTES = 97


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one data commit, and new data that is not committed."""
    with template_folder(tmp_path_factory) as folder:
        make_project(folder)
        commit(folder)
    write_data(folder, "two")
    return folder


def journal(project: Path) -> Path:
    return CommitJournal(project / ".dvc" / "tmp").path


def killed_commit(project: Path, config: VersioningConfig = DEFAULT) -> None:
    killed(lambda: DvcRepository(project, config).commit(_MESSAGE))
    assert journal(project).exists()


def recovered(project: Path, config: VersioningConfig = DEFAULT) -> DataCommit:
    """The next commit, after which nothing is left to put in order."""
    made = commit(project, config)
    assert made.recovered is not None
    assert "'data: materialize cleaned', begun 20" in made.recovered
    assert not journal(project).exists()
    assert status(project) == []
    assert commit(project, config).recovered is None
    assert "up to date" in run_dvc(project, "status")
    return made


def test_a_commit_that_nothing_happens_to_leaves_no_journal_and_tells_of_nothing(project: Path) -> None:
    assert commit(project).recovered is None
    assert not journal(project).exists()


def test_a_kill_before_anything_was_changed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(versioning, "default_remote", die)
        killed_commit(project)
    assert "it had changed nothing in the work tree" in str(recovered(project).recovered)


@pytest.mark.parametrize("size", [0, 4, 20, 70, 92])
def test_a_kill_while_dvc_writes_its_pointer(project: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    before = git(project, "rev-parse", "HEAD")
    with monkeypatch.context() as patched:
        patched.setattr(dvc.dvcfile, "dump_yaml", _cutting(size))
        killed_commit(project)
    assert len((project / "data.dvc").read_bytes()) == size
    made = recovered(project)
    assert "data.dvc was put back as it was before, and nothing of it was committed" in str(made.recovered)
    assert git(project, "rev-parse", "HEAD^") == before


def _cutting(size: int) -> Any:
    original = dvc.dvcfile.dump_yaml

    def dump(path: str, *arguments: Any, **options: Any) -> None:
        original(path, *arguments, **options)
        os.truncate(path, size)
        die()

    return dump


def test_a_kill_between_dvc_and_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pointer = (project / "data.dvc").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(versioning, "commit_edits", die)
        killed_commit(project)
    assert (project / "data.dvc").read_bytes() != pointer
    assert "data.dvc was put back as it was before" in str(recovered(project).recovered)


def test_what_the_person_did_to_the_pointer_after_a_kill_is_theirs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(versioning, "commit_edits", die)
        killed_commit(project)
    write_data(project, "three")
    run_dvc(project, "add", "data")
    pointer = (project / "data.dvc").read_bytes()
    made = recovered(project)
    assert "put back" not in str(made.recovered)
    assert git(project, "show", "HEAD:data.dvc").encode() + b"\n" == pointer


def test_a_kill_after_the_commit_is_told_with_its_id_and_its_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        commit_references = ReferenceTransaction.commit

        def commit_and_die(self: ReferenceTransaction) -> None:
            commit_references(self)
            die()

        patched.setattr(ReferenceTransaction, "commit", commit_and_die)
        killed_commit(project)
    unrecorded = git(project, "rev-parse", "HEAD")
    assert status(project) == []
    made = recovered(project)
    assert made.commit_id == unrecorded
    assert f"{unrecorded} was made, and stands" in str(made.recovered)
    assert "MLflow-Run: abc, Dagster-Run: def" in str(made.recovered)


def test_a_kill_before_the_commit_was_recorded_is_told_too(project: Path) -> None:
    killed(lambda: DvcRepository(project, VersioningConfig()).commit(_MESSAGE, die))
    assert f"{git(project, 'rev-parse', 'HEAD')} was made" in str(recovered(project).recovered)


def test_a_record_that_fails_counts_as_not_made(project: Path) -> None:
    def refuse(_: DataCommit) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        DvcRepository(project, VersioningConfig()).commit(_MESSAGE, refuse)
    assert f"{git(project, 'rev-parse', 'HEAD')} was made" in str(recovered(project).recovered)


@pytest.mark.parametrize("command", ["commit", "push"])
def test_a_commit_that_a_kill_kept_out_of_the_queue_is_pushed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    with monkeypatch.context() as patched:
        patched.setattr(PushQueue, "add_branch", die)
        killed_commit(project, _HUB)
    if command == "commit":
        # Without the remote, which the queue alone now remembers.
        recovered(project)
        assert [branch.remote for branch in PushQueue(project / ".dvc" / "tmp").branches()] == ["origin"]
    told = CliRunner().invoke(main, ["push", "--project", str(project)], catch_exceptions=False).output
    assert ("was made, and stands" in told) == (command == "push")
    assert git(tmp_path / "hub.git", "rev-parse", "main") == git(project, "rev-parse", "HEAD")
    assert not journal(project).exists()
    assert status(project) == []


def test_ftzard_push_undoes_what_was_not_committed_and_makes_no_commit(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = git(project, "rev-parse", "HEAD")
    with monkeypatch.context() as patched:
        patched.setattr(versioning, "commit_edits", die)
        killed_commit(project)
    told = CliRunner().invoke(main, ["push", "--project", str(project)], catch_exceptions=False).output
    assert "data.dvc was put back as it was before" in told
    assert git(project, "rev-parse", "HEAD") == before
    assert status(project) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"message": "x"', b"[]", b'{"message": 1}', b"\xff"])
def test_a_journal_that_cannot_be_read_is_told_and_removed(project: Path, content: bytes) -> None:
    journal(project).write_bytes(content)
    assert "not readable" in str(commit(project).recovered)
    assert not journal(project).exists()


def test_a_commit_that_is_refused_before_it_changes_anything_leaves_no_journal(project: Path) -> None:
    (project / ".dvc" / "config").write_text("[core]\n    remote = nowhere\n")
    with pytest.raises(PushError, match=r"'nowhere' is not defined, in \.dvc/config"):
        commit(project)
    assert not journal(project).exists()


def test_the_first_commit_killed_while_dvc_wrote_the_ignore_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = make_project(tmp_path / "fresh")
    (fresh / ".gitignore").write_text("*.tmp\n*.bak")
    git(fresh, "commit", "--quiet", "--all", "--message", "No line break at the end")
    with monkeypatch.context() as patched:
        patched.setattr(versioning, "commit_edits", die)
        killed_commit(fresh)
    (fresh / "data.dvc").unlink()
    (fresh / ".gitignore").write_text("*.tmp\n*.bak\n/da")
    assert "a line of .gitignore that was cut short was taken out" in str(recovered(fresh).recovered)
    assert git(fresh, "show", "HEAD:.gitignore") == "*.tmp\n*.bak\n/data"
    assert (fresh / ".gitignore").read_text() == "*.tmp\n*.bak\n/data\n"


# Without a journal: a `dvc add` of the person, or a project that an older FTzard left


def test_every_beginning_of_a_pointer_is_mended_where_its_hash_is_asked_for(project: Path) -> None:
    repository = DvcRepository(project, VersioningConfig())
    committed = repository.data_hash()
    run_dvc(project, "add", "data")
    whole, ahead = (project / "data.dvc").read_bytes(), repository.data_hash()
    assert (len(whole), ahead == committed) == (_POINTER_BYTES, False)
    for size in range(len(whole)):
        (project / "data.dvc").write_bytes(whole[:size])
        # From there on the hash is whole, and the name that follows is not asked for.
        assert repository.data_hash() == (ahead if size >= whole.index(b" data") else committed), size


@pytest.mark.parametrize("size", [0, 1, 50, 94])
def test_a_pointer_that_was_cut_short_stops_no_commit(project: Path, size: int) -> None:
    os.truncate(project / "data.dvc", size)
    made = commit(project)
    assert made.created
    assert "data.dvc was cut short" in str(made.recovered)
    assert status(project) == []


def test_a_pointer_that_was_cut_short_before_the_first_commit_is_made_anew(tmp_path: Path) -> None:
    fresh = make_project(tmp_path / "fresh")
    (fresh / "data.dvc").write_text("outs:\n- md5: 97a5a78")
    made = commit(fresh)
    assert "was removed" in str(made.recovered)
    assert status(fresh) == []


@pytest.mark.parametrize(
    "content", ["outs: [", "outs:\n- md5: nonsense\n", "notes of mine", "outs:\n- md5: 97\n  x: y\n"]
)
def test_a_pointer_with_anything_else_in_it_is_the_persons(project: Path, content: str) -> None:
    (project / "data.dvc").write_text(content)
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        commit(project)
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        DvcRepository(project, VersioningConfig()).data_hash()
    assert (project / "data.dvc").read_text() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"read": {}'])
def test_dvcs_lock_file_that_was_cut_short_is_removed(
    project: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (project / ".dvc" / "tmp" / "rwlock").write_bytes(content)
    assert commit(project).created
    assert "rwlock was cut short" in caplog.text


def test_dvcs_databases_that_are_broken_are_made_again(
    project: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit(project)
    databases = list((home / "site-cache").rglob("*.db"))
    assert databases
    for database in databases:
        database.write_bytes(b"no database" * 1000)
    write_data(project, "three")
    assert commit(project).created
    assert "was broken and was removed" in caplog.text


def test_a_configuration_of_dvc_that_was_cut_short_is_named(project: Path) -> None:
    (project / ".dvc" / "config").write_text("[co")
    with pytest.raises(DataCommitError) as caught:
        commit(project)
    assert "`git checkout -- .dvc/config`" in caught.value.fix
