"""What a run was made with: library versions, the machine, and the state of the project's code.

Nothing is imported to find out: versions come from the packages' metadata, and CUDA is asked only where it is in use.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ftzard.resources.git import Git, redact
from ftzard.resources.tracked_run import TrackedRun

ENVIRONMENT_FILE = "environment.json"
CODE_DIFF_FILE = "code.diff"
DIRTY_TAG = "ftzard.code_dirty"
GPU_TAG = "ftzard.gpu"

_LIBRARIES = ("ftzard", "torch", "transformers", "peft", "trl", "polars", "dagster", "mlflow", "dvc")
_TAGGED_LIBRARIES = ("ftzard", "torch", "transformers", "peft")
_MAX_DIFF_BYTES = 1_000_000
# What people keep passwords and keys in; a changed one makes the code dirty, but its content goes nowhere. DVC's is for
# what may be read by all, and where it holds a secret all the same, the data commit at the end of the run refuses it.
_SECRET_FILES = (".env*", "*.local", "*.local.*", "*.pem", "*.key", ".netrc", ".dvc/config")
_READ_ONLY = {
    # Paths below are pathspecs with magic words, not literal ones.
    "GIT_LITERAL_PATHSPECS": "0",
    # The person's index stays as it is, to the byte.
    "GIT_OPTIONAL_LOCKS": "0",
}


@dataclass(frozen=True)
class CodeState:
    """The checked-out state of the repository that a project is in, without FTzard's own paths.

    Attributes:
        commit: The commit of HEAD; empty before the first one.
        branch: The branch's short name; empty where HEAD is detached.
        is_dirty: Whether a tracked file differs from the commit.
        diff: The difference as a patch; empty where nothing may be shown.
    """

    commit: str
    branch: str
    is_dirty: bool
    diff: str


def log_environment(run: TrackedRun, project_dir: Path, data_dir: str) -> None:
    """Log what a run is made with: `environment.json`, tags, and `code.diff` where code differs from its commit.

    Args:
        run: Where to.
        project_dir: The project folder, in a git repository.
        data_dir: The data folder, from the project folder.

    Raises:
        DataCommitError: git refuses.
        NotAGitRepositoryError: The project is in no git repository.
    """
    code = code_state(project_dir, data_dir)
    environment = {
        "libraries": library_versions(),
        "hardware": hardware(),
        "code": {"commit": code.commit, "branch": code.branch, "dirty": code.is_dirty},
    }
    run.set_tags(_tags(code))
    run.log_text(json.dumps(environment, indent=2), ENVIRONMENT_FILE)
    if code.diff:
        run.log_text(code.diff, CODE_DIFF_FILE)


@cache
def library_versions() -> Mapping[str, str | None]:
    """The versions of Python and of the libraries that decide about a result; None where one is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}


@cache
def hardware() -> Mapping[str, str | int]:
    """The machine: platform, processor cores and bytes of memory."""
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def gpu_tags() -> dict[str, str]:
    """The tag that names the GPU which this process computes on; none where it uses none, and CUDA is not woken."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {GPU_TAG: str(torch.cuda.get_device_name())}


def code_state(project_dir: Path, data_dir: str) -> CodeState:
    """The commit, the branch and the changes of the repository that a project is in.

    Args:
        project_dir: The project folder.
        data_dir: The data folder, from the project folder; its data commits are no change of the code.

    Raises:
        DataCommitError: git refuses.
        NotAGitRepositoryError: The project is in no git repository.
    """
    git = Git.find(project_dir)
    paths = _code_paths(git, project_dir, data_dir)
    status = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--no-renames", "-z", "--", *paths)
    entries = git.run(*status, variables=_READ_ONLY).split("\0")
    headers = dict(entry[2:].split(" ", 1) for entry in entries if entry.startswith("# "))
    commit = headers["branch.oid"].replace("(initial)", "")
    is_dirty = any(entry and not entry.startswith("# ") for entry in entries)
    return CodeState(
        commit=commit,
        branch=headers["branch.head"].replace("(detached)", ""),
        is_dirty=is_dirty,
        diff=_diff(git, paths) if is_dirty and commit else "",
    )


def _tags(code: CodeState) -> dict[str, str]:
    versions = library_versions()
    tags = {
        "mlflow.source.git.commit": code.commit,
        "mlflow.source.git.branch": code.branch,
        DIRTY_TAG: "true" if code.is_dirty else "false",
        "ftzard.python_version": versions["python"],
        **{f"ftzard.{name}_version": versions[name] for name in _TAGGED_LIBRARIES},
    }
    return {name: value for name, value in tags.items() if value}


def _code_paths(git: Git, project_dir: Path, data_dir: str) -> tuple[str, ...]:
    """Pathspecs of everything but the files that FTzard itself commits."""
    data = (project_dir.resolve() / data_dir).relative_to(git.top_level)
    own = (data, data.with_name(f"{data.name}.dvc"), data.with_name(".gitignore"))
    return (":(top)", *(f":(top,exclude,literal){path.as_posix()}" for path in own))


def _diff(git: Git, paths: tuple[str, ...]) -> str:
    # A large file is shown as binary, which is one line; without the last setting git would write to the index.
    settings = ("-c", "core.bigFileThreshold=1m", "-c", "diff.autoRefreshIndex=false")
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")
    secrets = tuple(f":(top,exclude,glob,icase)**/{pattern}" for pattern in _SECRET_FILES)
    result = git.run(*settings, "diff", *options, "HEAD", "--", *paths, *secrets, variables=_READ_ONLY)
    # Redacted before it is cut: a cut may go through a password, and its rest would not be known for one.
    content = redact(result).encode(errors="replace")
    if len(content) <= _MAX_DIFF_BYTES:
        return content.decode(errors="replace")
    kept = content[:_MAX_DIFF_BYTES].decode(errors="ignore")
    return f"{kept}\n# cut here: {len(content) - _MAX_DIFF_BYTES} of {len(content)} bytes are left out\n"


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
