"""A small project whose data is committed, in a home of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftzard.config import VersioningConfig
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.versioning import DvcRepository

DEFAULT = VersioningConfig()


def git(folder: Path, *arguments: str) -> str:
    """What the person's own git says, their index and their hooks included."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return os.fsdecode(done.stdout).removesuffix("\n")


def files_in(project: Path, revision: str = "HEAD") -> list[str]:
    """The files that one commit changed."""
    shown = git(project, "-c", "core.quotePath=false", "show", "--format=", "--name-only", revision)
    return sorted(shown.splitlines())


def fails(folder: Path, *arguments: str) -> bool:
    """Whether the person's own git refuses."""
    return subprocess.run(["git", *arguments], cwd=folder, check=False, capture_output=True).returncode != 0


def dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A home of its own, so that neither the machine's configuration nor its DVC state has a say."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "DVC_", "XDG_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EMAIL", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_EDITOR", "true")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(home / "site-cache"))
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")


@contextmanager
def template_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder for a project that is made once and copied; within it a person's home is another one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, tmp_path_factory.mktemp("home"))
        yield tmp_path_factory.mktemp("template")


def make_project(folder: Path, remote: Path | str | None = None) -> Path:
    """A project with a commit of the person, and data that nobody has committed yet."""
    init_project_repository(folder, remote=remote)
    (folder / "notes.txt").write_text("first\n")
    (folder / ".gitignore").write_text("*.tmp\n")
    git(folder, "add", "notes.txt", ".gitignore")
    git(folder, "commit", "--quiet", "--message", "Notes")
    write_data(folder, "one")
    return folder


def write_data(project: Path, text: str, name: str = "raw/batch.csv") -> None:
    path = project / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(project: Path, config: VersioningConfig = DEFAULT, message: str = "Data") -> DataCommit:
    return DvcRepository(project, config).commit(message)


def status(project: Path) -> list[str]:
    return git(project, "status", "--porcelain", "--untracked-files=all").splitlines()


def killed(work: Callable[[], object]) -> None:
    """Do something in a process that dies before it ends, by `die`."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _DEAD


_DEAD = 9


def die(*_: object, **__: object) -> None:
    """What a process is killed by: nothing is cleaned up."""
    os._exit(_DEAD)
