"""A data commit in the middle of what a person does with git: operations under way, hooks, signing, unusual indexes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.resources.data_scenario import commit, dvc, fails, git, make_project, status, template_folder, write_data

from ftzard.config import VersioningConfig
from ftzard.resources.versioning import DvcRepository

_HUB = VersioningConfig(git_remote="origin", push_attempts=1)
_HOOKS = (
    "applypatch-msg",
    "commit-msg",
    "post-commit",
    "post-index-change",
    "post-rewrite",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "reference-transaction",
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a data commit, new data, and a branch `side` whose last commit conflicts with the one of `main`."""
    with template_folder(tmp_path_factory) as folder:
        make_project(folder)
        commit(folder)
        git(folder, "switch", "--quiet", "--create", "side")
        for text in ("side, first", "side, second"):
            (folder / "side.txt").write_text(text)
            _commit_all(folder, text)
        (folder / "notes.txt").write_text("of side\n")
        _commit_all(folder, "Notes of side")
        git(folder, "switch", "--quiet", "main")
        (folder / "notes.txt").write_text("of main\n")
        _commit_all(folder, "Notes of main")
    write_data(folder, "two")
    return folder


def _commit_all(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def subjects(project: Path, revision: str = "HEAD") -> list[str]:
    return git(project, "log", "--format=%s", revision).splitlines()


def resolve(project: Path) -> None:
    (project / "notes.txt").write_text("of both\n")
    git(project, "add", "notes.txt")


# Operations under way


def test_a_rebase_goes_on_afterwards_and_carries_the_data_commit(project: Path) -> None:
    git(project, "switch", "--quiet", "side")
    assert fails(project, "rebase", "main")
    conflict = git(project, "ls-files", "--unmerged")
    main = git(project, "rev-parse", "main")
    made = commit(project)
    assert git(project, "ls-files", "--unmerged") == conflict
    assert git(project, "rev-parse", "main") == main
    resolve(project)
    git(project, "rebase", "--continue")
    assert subjects(project)[:5] == ["Notes of side", "Data", "side, second", "side, first", "Notes of main"]
    assert git(project, "rev-parse", "HEAD^") == made.commit_id
    assert git(project, "symbolic-ref", "--short", "HEAD") == "side"
    assert status(project) == []
    assert not commit(project).created


def test_a_rebase_that_stops_for_an_edit_goes_on_afterwards(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "switch", "--quiet", "side")
    monkeypatch.setenv("GIT_SEQUENCE_EDITOR", "sed -i 1s/^pick/edit/")
    git(project, "rebase", "--quiet", "--interactive", "HEAD~2")
    commit(project)
    git(project, "rebase", "--continue")
    assert subjects(project)[:3] == ["Notes of side", "Data", "side, second"]
    assert status(project) == []


def test_a_data_commit_of_a_rebase_that_is_aborted_is_kept(project: Path) -> None:
    git(project, "switch", "--quiet", "side")
    side = git(project, "rev-parse", "side")
    assert fails(project, "rebase", "main")
    first = commit(project)
    write_data(project, "three")
    made = commit(project)
    git(project, "rebase", "--abort")
    assert git(project, "rev-parse", "HEAD") == side
    git(project, "reflog", "expire", "--expire=now", "--all")
    git(project, "gc", "--quiet", "--prune=now")
    # One reference for both, and no branch.
    assert (
        git(project, "for-each-ref", "--format=%(refname)", "refs/ftzard") == f"refs/ftzard/detached/{made.commit_id}"
    )
    assert git(project, "branch", "--format=%(refname:short)").splitlines() == ["main", "side"]
    git(project, "checkout", "--quiet", first.commit_id)
    dvc(project, "checkout", "--force")
    assert (project / "data/raw/batch.csv").read_text() == "two"


@pytest.mark.parametrize("end", ["--continue", "--abort"])
@pytest.mark.parametrize("operation", ["cherry-pick", "revert"])
def test_a_pick_or_a_revert_with_a_conflict_ends_either_way_and_the_data_commit_stays(
    project: Path, operation: str, end: str
) -> None:
    if operation == "revert":
        (project / "notes.txt").write_text("newer\n")
        _commit_all(project, "Newer notes")
    assert fails(project, operation, "side" if operation == "cherry-pick" else "HEAD^")
    made = commit(project)
    if end == "--continue":
        resolve(project)
    git(project, operation, end)
    assert made.commit_id in git(project, "rev-list", "HEAD").splitlines()
    assert (len(subjects(project)) > len(subjects(project, made.commit_id))) == (end == "--continue")
    assert status(project) == []


def test_a_merge_that_is_aborted_keeps_the_data_commit(project: Path) -> None:
    assert fails(project, "merge", "side")
    made = commit(project)
    git(project, "merge", "--abort")
    assert git(project, "rev-parse", "HEAD") == made.commit_id
    assert (project / "notes.txt").read_text() == "of main\n"
    assert status(project) == []


def test_a_bisection_judges_the_commit_it_stands_at_and_not_the_data_commit(project: Path) -> None:
    git(project, "switch", "--quiet", "side")
    git(project, "bisect", "start", "side", "side~3")
    stands_at = git(project, "rev-parse", "HEAD")
    made = commit(project)
    assert git(project, "rev-parse", "HEAD") == stands_at == git(project, "rev-parse", f"{made.commit_id}^")
    assert not commit(project).created
    assert not made.pushed_git
    assert status(project) == [" M data.dvc"]
    git(project, "bisect", "bad")
    git(project, "bisect", "reset")
    assert git(project, "for-each-ref", "--contains", made.commit_id, "--format=%(refname)").startswith("refs/ftzard/")


# Hooks and signatures


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("place", [".git/hooks", "hooks"])
def test_no_hook_runs_for_a_data_commit(project: Path, tmp_path: Path, place: str) -> None:
    if place == "hooks":
        git(project, "config", "core.hooksPath", str(tmp_path / "hooks"))
    folder = tmp_path / "hooks" if place == "hooks" else project / place
    for name in _HOOKS:
        script(folder / name, f"echo {name} >> {tmp_path}/ran; exit 1")
    config = (project / ".git/config").read_text()
    made = commit(project)
    assert made.created
    assert not (tmp_path / "ran").exists()
    assert (project / ".git/config").read_text() == config
    # The person's own commands still run them.
    assert fails(project, "commit", "--allow-empty", "--message", "Refused by the hooks")
    assert (tmp_path / "ran").exists()


def hub(project: Path, tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    return tmp_path / "hub.git"


def test_a_pre_push_hook_decides_what_leaves_the_machine(project: Path, tmp_path: Path) -> None:
    remote = hub(project, tmp_path)
    hook = script(project / ".git/hooks/pre-push", "echo not on a Friday >&2; exit 1")
    made = commit(project, _HUB)
    assert (made.created, made.pushed_git) == (True, False)
    assert "not on a Friday" in str(made.pending)
    hook.unlink()
    DvcRepository(project, _HUB).push_pending()
    assert git(remote, "rev-parse", "main") == made.commit_id


def test_a_data_commit_is_not_signed_in_the_persons_name(project: Path, tmp_path: Path) -> None:
    remote = hub(project, tmp_path)
    git(remote, "config", "receive.certNonceSeed", "so that it takes signed pushes")
    gpg = script(tmp_path / "gpg", f"touch {tmp_path}/asked; exec sleep 600")
    for name, value in {"commit.gpgSign": "true", "push.gpgSign": "true", "gpg.program": str(gpg)}.items():
        git(project, "config", name, value)
    config = (project / ".git/config").read_text()
    made = commit(project, _HUB)
    assert made.pushed_git
    assert not (tmp_path / "asked").exists()
    assert "gpgsig" not in git(project, "cat-file", "commit", made.commit_id)
    assert (project / ".git/config").read_text() == config


# Unusual indexes and configurations


def _split(project: Path) -> None:
    git(project, "config", "core.splitIndex", "true")
    # So that git has no reason of its own to write another shared index.
    git(project, "config", "splitIndex.maxPercentChange", "100")
    git(project, "update-index", "--split-index")


def _sparse(project: Path) -> None:
    git(project, "sparse-checkout", "set", "--cone", "--sparse-index", "kept", ".dvc")


def _intent_to_add(project: Path) -> None:
    (project / "draft.txt").write_text("to come")
    git(project, "add", "--intent-to-add", "draft.txt")


def _unchanged(project: Path) -> None:
    git(project, "update-index", "--assume-unchanged", "notes.txt")
    (project / "notes.txt").write_text("a change that git is not to see")


def _skipped(project: Path) -> None:
    git(project, "update-index", "--skip-worktree", "notes.txt")
    (project / "notes.txt").write_text("a change that git is not to see")


def _watched(project: Path) -> None:
    git(project, "config", "core.fsmonitor", str(script(project.parent / "watch", "exit 1")))
    git(project, "update-index", "--fsmonitor")


def _version_4(project: Path) -> None:
    git(project, "update-index", "--index-version", "4")


def _submodule(project: Path) -> None:
    git(project.parent, "init", "--quiet", "other")
    git(project.parent / "other", "commit", "--quiet", "--allow-empty", "--message", "Other")
    git(
        project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(project.parent / "other"),
        "other",
    )


def _windows_line_ends(project: Path) -> None:
    git(project, "config", "core.autocrlf", "true")
    for name in ("data.dvc", ".gitignore", "notes.txt"):
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    git(project, "add", "--renormalize", ".")


_STATES: dict[str, Callable[[Path], None]] = {
    "split": _split,
    "sparse": _sparse,
    "intent to add": _intent_to_add,
    "assume unchanged": _unchanged,
    "skip worktree": _skipped,
    "fsmonitor": _watched,
    "version 4": _version_4,
    "submodule": _submodule,
    "autocrlf": _windows_line_ends,
}


@pytest.mark.parametrize("state", _STATES)
def test_an_unusual_index_is_as_it_was(project: Path, state: str) -> None:
    for folder in ("kept", "hidden"):
        (project / folder).mkdir()
        (project / folder / "file.txt").write_text(folder)
    _commit_all(project, "Folders")
    _STATES[state](project)
    others = ["ls-files", "--stage", "-v", "-t", "--debug", "--", ":!data.dvc", ":!.gitignore"]
    before = (git(project, *others), status(project), (project / ".git/config").read_text())
    shared = sorted(path.name for path in (project / ".git").glob("sharedindex.*"))
    made = commit(project)
    assert made.created
    assert (git(project, *others), status(project), (project / ".git/config").read_text()) == before
    assert sorted(path.name for path in (project / ".git").glob("sharedindex.*")) == shared
    assert git(project, "show", "--format=", "--name-only", made.commit_id) == "data.dvc"
    assert (
        b"\r"
        not in subprocess.run(
            ["git", "cat-file", "blob", "HEAD:data.dvc"], cwd=project, check=True, capture_output=True
        ).stdout
    )
    assert not commit(project).created
    write_data(project, "three")
    assert commit(project).created
    assert status(project) == before[1]
    assert git(project, "fsck", "--strict") == ""


def test_a_sparse_index_stays_sparse(project: Path) -> None:
    (project / "hidden").mkdir()
    (project / "hidden" / "file.txt").write_text("hidden")
    _commit_all(project, "Folder")
    _sparse(project)
    commit(project)
    assert "hidden/" in git(project, "ls-files", "--sparse").splitlines()
    assert not (project / "hidden").exists()
