"""Data commits, with real git and real DVC in a project of their own."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dvc.lock import Lock, LockError
from tests.resources.data_scenario import DEFAULT, commit, dvc, git, isolate, make_project, status, write_data

from ftzard.config import VersioningConfig
from ftzard.errors import (
    DataCommitError,
    NotADvcRepositoryError,
    NotAGitRepositoryError,
    PushError,
    PushPendingError,
    SecretExposedError,
    StorageError,
)
from ftzard.resources import data_commit, shared_index
from ftzard.resources.dvc_session import open_dvc
from ftzard.resources.git import Git
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.shared_index import EditedIndex
from ftzard.resources.versioning import DvcRepository


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    isolate(monkeypatch, home)
    return home


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied: most of a second each."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, tmp_path_factory.mktemp("home"))
        make_project(folder)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A project with one commit of the person and DVC, and data that nobody has committed yet."""
    return shutil.copytree(template, tmp_path / "project")


def files_in(project: Path, revision: str = "HEAD") -> list[str]:
    """The files that one commit changed."""
    shown = git(project, "-c", "core.quotePath=false", "show", "--format=", "--name-only", revision)
    return sorted(shown.splitlines())


# What a commit holds


def test_a_commit_holds_the_pointer_of_the_data_and_the_ignore_line_and_nothing_else(project: Path) -> None:
    before = git(project, "rev-parse", "HEAD")
    made = commit(project)
    assert made.created
    assert made.commit_id == git(project, "rev-parse", "main")
    assert git(project, "rev-parse", "HEAD^") == before
    assert files_in(project) == [".gitignore", "data.dvc"]
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert git(project, "log", "-1", "--format=%s%n%an <%ae>") == "Data\nAda <ada@example.org>"
    assert not made.pushed_data
    assert not made.pushed_git


def test_the_next_commit_holds_the_pointer_alone(project: Path) -> None:
    first = commit(project)
    write_data(project, "two")
    second = commit(project)
    assert files_in(project) == ["data.dvc"]
    assert second.data_hash != first.data_hash
    assert git(project, "rev-parse", f"{second.commit_id}^") == first.commit_id


def test_the_data_hash_is_the_one_in_the_committed_pointer(project: Path) -> None:
    repository = DvcRepository(project, DEFAULT)
    assert repository.data_hash() is None
    made = commit(project)
    pointer = yaml.safe_load(git(project, "show", f"{made.commit_id}:data.dvc"))
    assert made.data_hash == pointer["outs"][0]["md5"] == repository.data_hash()
    assert repository.head() == made.commit_id


def test_a_commit_without_a_change_is_none(project: Path) -> None:
    first = commit(project)
    again = commit(project)
    assert again == replace(first, created=False)
    assert git(project, "rev-parse", "HEAD") == first.commit_id


def test_git_and_dvc_find_nothing_to_do_after_a_commit(project: Path) -> None:
    commit(project)
    assert status(project) == []
    # Without looking at the files again: the index is as `git commit` would have left it.
    git(project, "diff-index", "--quiet", "HEAD")
    assert "up to date" in dvc(project, "status")


def test_an_older_commit_brings_its_data_back_by_plain_git_and_dvc(project: Path) -> None:
    first = commit(project)
    write_data(project, "two")
    commit(project)
    git(project, "checkout", "--quiet", first.commit_id)
    dvc(project, "checkout")
    assert (project / "data/raw/batch.csv").read_text() == "one"
    assert status(project) == []


def test_names_may_hold_spaces_letters_of_any_script_and_what_is_special_in_patterns(project: Path) -> None:
    config = VersioningConfig(data_dir="more [1]/dät* a")
    path = project / "more [1]/dät* a/ünï cødé.csv"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    made = commit(project, config)
    assert made.created
    assert files_in(project) == ["more [1]/.gitignore", "more [1]/dät* a.dvc"]
    assert not commit(project, config).created
    path.unlink()
    dvc(project, "checkout")
    assert path.read_text() == "x"


# What the person has


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
    write_data(project, "three")
    commit(project)
    merge = subprocess.run(["git", "merge", "main"], cwd=project, check=False, capture_output=True)
    assert merge.returncode != 0
    before = git(project, "ls-files", "--unmerged")
    with pytest.raises(DataCommitError, match=r"data\.dvc .*in conflict"):
        commit(project)
    assert git(project, "ls-files", "--unmerged") == before != ""


# Where a commit goes


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


@pytest.mark.parametrize("branch", ["a..b", "-f", "with space", "@{-1}"])
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


# Others at the same time


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


# Who a commit is by


def test_without_an_identity_the_commit_is_ftzards(project: Path, home: Path) -> None:
    (home / ".gitconfig").unlink()
    commit(project)
    assert git(project, "log", "-1", "--format=%an <%ae> %cn <%ce>") == " ".join(["FTzard <ftzard@localhost>"] * 2)


def test_an_identity_in_the_environment_is_the_persons(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".gitconfig").unlink()
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "grace@example.org")
    commit(project)
    assert git(project, "log", "-1", "--format=%an <%ae> %cn") == "Grace <grace@example.org> FTzard"


# Remotes


def test_what_was_pushed_comes_back_in_a_clone_elsewhere(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    init_project_repository(project, remote=tmp_path / "store")
    git(project, "commit", "--quiet", "--message", "Remote", ".dvc/config")
    write_data(project, "x" * 100_000, "raw/big.csv")
    made = commit(project, VersioningConfig(git_remote="origin"))
    assert made.pushed_data
    assert made.pushed_git
    git(tmp_path, "clone", "--quiet", str(tmp_path / "hub.git"), "clone")
    dvc(tmp_path / "clone", "pull")
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == made.commit_id
    for name in ("raw/big.csv", "raw/batch.csv"):
        original = (project / "data" / name).read_bytes()
        assert (
            hashlib.sha256((tmp_path / "clone/data" / name).read_bytes()).digest() == hashlib.sha256(original).digest()
        )


def test_only_the_data_folder_is_pushed_and_only_when_wanted(project: Path, tmp_path: Path) -> None:
    init_project_repository(project, remote=tmp_path / "store")
    (project / "theirs.bin").write_text("theirs")
    dvc(project, "add", "--quiet", "theirs.bin")
    assert not commit(project, VersioningConfig(push_data=False)).pushed_data
    assert not (tmp_path / "store").exists()
    assert commit(project).pushed_data
    # The folder's listing and its one file.
    assert len([path for path in (tmp_path / "store").rglob("*") if path.is_file()]) == 2


def test_a_git_push_takes_neither_tags_nor_other_branches_along(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    git(project, "config", "push.followTags", "true")
    git(project, "tag", "--annotate", "--message", "private", "private")
    git(project, "branch", "other")
    commit(project, VersioningConfig(git_remote="origin"))
    assert git(tmp_path / "hub.git", "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_an_unknown_git_remote_is_an_error_that_names_it(project: Path) -> None:
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(PushError, match="--receive-pack=evil") as caught:
        commit(project, VersioningConfig(git_remote="--receive-pack=evil"))
    assert "git remote add" in caught.value.fix
    assert git(project, "rev-parse", "HEAD") == before


@pytest.mark.parametrize("url", [None, "hdfs://localhost/store"])
def test_a_data_remote_that_dvc_cannot_use_is_an_error_before_the_commit(project: Path, url: str | None) -> None:
    section = "" if url is None else f"['remote \"store\"']\n    url = {url}\n"
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = store\n{section}")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(PushError, match="store") as caught:
        commit(project)
    assert not isinstance(caught.value, PushPendingError)
    assert "nothing was committed" in caught.value.what
    assert git(project, "rev-parse", "HEAD") == before
    assert commit(project, VersioningConfig(push_data=False)).created


def test_a_password_in_a_url_is_in_no_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "remote", "add", "origin", "https://ada:s3cret@localhost:1/hub.git")
    monkeypatch.setenv("no_proxy", "*")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(SecretExposedError, match="origin") as caught:
        commit(project, VersioningConfig(git_remote="origin"))
    assert "s3cret" not in str(caught.value)
    assert git(project, "rev-parse", "HEAD") == before


@pytest.mark.parametrize(
    "option", ["url = https://ada:s3cret@localhost/x", "url = webdavs://h/x\n    password = s3cret"]
)
def test_a_secret_in_the_configuration_that_git_keeps_is_refused(project: Path, option: str) -> None:
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    {option}\n")
    with pytest.raises(SecretExposedError, match="store") as caught:
        commit(project, VersioningConfig())
    assert "s3cret" not in str(caught.value)
    assert "--local" in caught.value.fix


# What is refused


def test_a_missing_or_empty_data_folder_is_an_error(project: Path) -> None:
    (project / "data/raw/batch.csv").unlink()
    with pytest.raises(DataCommitError, match="holds no files"):
        commit(project)
    (project / "data/raw").rmdir()
    (project / "data").rmdir()
    with pytest.raises(DataCommitError, match="does not exist"):
        commit(project)
    assert not (project / "data.dvc").exists()


@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "link out", "link to a pipe"])
def test_what_is_no_file_is_named_rather_than_waited_for_or_stored(project: Path, tmp_path: Path, kind: str) -> None:
    commit(project)
    secret, pipe, odd = tmp_path / "secret", project / "pipe", project / "data/raw/odd.csv"
    secret.write_text("s3cret")
    os.mkfifo(odd if kind == "pipe" else pipe)
    if kind != "pipe":
        odd.symlink_to({"link to nothing": project / "nothing", "link out": secret, "link to a pipe": pipe}[kind])
    write_data(project, "two")
    with pytest.raises(DataCommitError, match=r"data/raw/odd\.csv' in the data folder is a (pipe|link)"):
        commit(project)
    odd.unlink()
    assert commit(project).created


def test_a_data_folder_whose_files_are_links_into_a_cache_elsewhere_is_committed(project: Path, tmp_path: Path) -> None:
    dvc(project, "cache", "dir", "--local", str(tmp_path / "elsewhere"))
    dvc(project, "config", "--local", "cache.type", "symlink")
    commit(project)
    dvc(project, "checkout", "--relink")
    assert (project / "data/raw/batch.csv").is_symlink()
    (project / "data/raw/second.csv").write_text("two")
    assert commit(project).created


def test_a_folder_without_git_is_told_git_init(tmp_path: Path) -> None:
    with pytest.raises(NotAGitRepositoryError) as caught:
        DvcRepository(tmp_path, DEFAULT).check()
    assert f"`git init {tmp_path}`" in caught.value.fix


@pytest.mark.parametrize(("folder", "command"), [(".", "`dvc init`"), ("sub", "`dvc init --subdir`")])
def test_a_git_repository_without_dvc_is_told_dvc_init(tmp_path: Path, folder: str, command: str) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "sub").mkdir()
    with pytest.raises(NotADvcRepositoryError) as caught:
        DvcRepository(tmp_path / folder, DEFAULT).check()
    assert command in caught.value.fix


def test_a_machine_without_git_is_told_to_install_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DvcRepository(project, DEFAULT).check()
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(NotAGitRepositoryError, match="not installed"):
        DvcRepository(project, DEFAULT).check()


def test_data_that_git_tracks_already_is_an_error_with_dvcs_remedy(project: Path) -> None:
    git(project, "add", "data")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(DataCommitError, match="git rm -r --cached"):
        commit(project)
    assert git(project, "rev-parse", "HEAD") == before
    assert status(project) == ["A  data/raw/batch.csv"]


def test_a_pointer_that_dvc_did_not_write_is_an_error_that_names_it(project: Path) -> None:
    (project / "data.dvc").write_text("outs: [")
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        DvcRepository(project, DEFAULT).data_hash()
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        commit(project)


@pytest.mark.parametrize("data_dir", [".", ".dvc"])
def test_the_project_itself_is_no_data_folder(project: Path, data_dir: str) -> None:
    with pytest.raises(DataCommitError, match=r"versioning\.data_dir"):
        DvcRepository(project, VersioningConfig(data_dir=data_dir)).check()


# Manners


def test_a_commit_writes_nothing_to_a_terminal_and_leaves_no_trace_in_the_process(
    project: Path, tmp_path: Path
) -> None:
    init_project_repository(project, remote=tmp_path / "store")
    script = textwrap.dedent("""
        import logging, os, sys
        from pathlib import Path
        from ftzard.config import VersioningConfig
        from ftzard.resources.versioning import DvcRepository

        assert "dvc" not in sys.modules
        # INFO, as in Dagster: the level of DVC's hints.
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("dvc").setLevel(logging.INFO)
        assert sys.stderr.isatty()
        logging.getLogger("ftzard").setLevel(logging.WARNING)
        before = dict(os.environ)
        DvcRepository(Path(sys.argv[1]), VersioningConfig()).commit("Quiet")
        assert dict(os.environ) == before
        assert logging.getLogger("dvc").level == logging.INFO
        assert logging.getLogger("dvc.progress").getEffectiveLevel() == logging.INFO
        print("done", file=sys.stderr)
    """)
    reader, terminal = os.openpty()
    done = subprocess.run([sys.executable, "-c", script, str(project)], stdout=terminal, stderr=terminal, check=False)
    os.close(terminal)
    seen = b""
    while chunk := _read(reader):
        seen += chunk
    os.close(reader)
    # Behind it colorama, which DVC imports, resets the terminal's colour when the process ends.
    assert (done.returncode, seen.decode().partition("done")[:2]) == (0, ("", "done"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how a terminal says that its other end is closed
        return b""


def test_variables_of_a_surrounding_git_command_do_not_lead_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", "elsewhere")
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(tmp_path / "elsewhere/.git"))
        hook.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/.git/index"))
        made = commit(project)
    assert git(project, "rev-parse", "HEAD") == made.commit_id
    assert status(project) == []


# Making a project


def test_a_fresh_project_is_clean_has_one_commit_and_stages_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / ".gitignore").write_text("/mlflow.db\n")
    init_project_repository(folder, remote=folder / "store")
    assert files_in(folder) == [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore"]
    assert status(folder) == []
    assert git(folder, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    # Relative to the configuration file, so that the project can be moved and cloned.
    assert "url = ../store" in (folder / ".dvc/config").read_text()
    with open_dvc(folder) as repo:
        assert repo.config["core"]["analytics"] is False
        assert repo.config["core"]["no_scm"] is False
        assert repo.config["core"]["remote"] == "store"


def test_making_a_project_twice_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    init_project_repository(folder, remote=tmp_path / "store")
    before = (git(folder, "rev-parse", "HEAD"), (folder / ".dvc/config").read_bytes())
    init_project_repository(folder, remote=tmp_path / "another")
    assert (git(folder, "rev-parse", "HEAD"), (folder / ".dvc/config").read_bytes()) == before
    assert status(folder) == []


def test_making_a_project_of_an_existing_repository_leaves_the_persons_work_alone(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "work", "theirs")
    folder = tmp_path / "theirs"
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "Theirs")
    (folder / ".gitignore").write_text("mine\n")
    (folder / "staged.txt").touch()
    git(folder, "add", "staged.txt")
    init_project_repository(folder, remote=None)
    assert files_in(folder) == [".dvc/.gitignore", ".dvc/config", ".dvcignore"]
    assert status(folder) == ["A  staged.txt", "?? .gitignore"]
    assert Git.find(folder).current_branch() == "refs/heads/work"


@pytest.mark.parametrize("left", ['{"read": {}, "wri', "", '{"read": 3}'])
def test_dvcs_note_of_who_reads_and_writes_that_a_kill_left_broken_stops_no_commit(project: Path, left: str) -> None:
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    (project / ".dvc" / "tmp" / "rwlock").write_text(left, encoding="utf-8")
    assert DvcRepository(project, VersioningConfig()).commit("Data").created
    assert not any(json.loads((project / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8")).values())


def test_the_way_back_for_a_damaged_file_leaves_new_batches_alone(project: Path) -> None:
    commit(project)
    path, new = project / "data" / "raw" / "batch.csv", project / "data" / "raw" / "new.csv"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    new.write_text("not committed yet", encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        DvcRepository(project, VersioningConfig()).require_committed(path)
    assert "`dvc checkout --force data/raw/batch.csv`" in caught.value.fix
    dvc(project, "checkout", "--force", "data/raw/batch.csv")
    assert path.read_bytes() == sound
    assert new.is_file()
    DvcRepository(project, VersioningConfig()).require_committed(path)


def test_a_list_of_files_that_a_kill_left_broken_in_the_cache_is_written_again(project: Path) -> None:
    first = commit(project)
    listing = project / ".dvc" / "cache" / "files" / "md5" / first.data_hash[:2] / first.data_hash[2:]
    listing.chmod(0o644)
    listing.write_bytes(b"")
    second = commit(project)
    assert (second.commit_id, second.data_hash) == (first.commit_id, first.data_hash)
    assert "raw/batch.csv" in listing.read_text(encoding="utf-8")
    shutil.rmtree(project / "data")
    dvc(project, "checkout")
    assert (project / "data" / "raw" / "batch.csv").is_file()


def test_objects_that_a_killed_push_left_empty_in_a_folder_are_pushed_again(project: Path, tmp_path: Path) -> None:
    init_project_repository(project, remote=tmp_path / "remote")
    first = commit(project)
    objects = [path for path in (tmp_path / "remote").rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in objects}
    for path in objects:
        path.chmod(0o644)
        path.write_bytes(b"")
    (project / ".dvc" / "tmp" / "ftzard-pushing").write_text(first.data_hash)
    commit(project)
    assert {path: path.read_bytes() for path in objects} == contents
    assert not (project / ".dvc" / "tmp" / "ftzard-pushing").exists()
