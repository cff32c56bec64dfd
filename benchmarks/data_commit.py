"""What a data commit costs beside the commands that a careful person types for the same.

A folder of a few large files is under DVC, with a remote that is a folder. One file is replaced, and the change is
hashed, cached, pushed and committed: by FTzard in a process that runs already, as its steps do, and in a second
project by `dvc add; dvc push; git add; git commit; git rev-parse; dvc checkout`. The two take turns. Both keep DVC's
default way of placing files, a copy where the file system cannot share blocks.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Result, at_most
from ftzard.config import VersioningConfig
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.versioning import DvcRepository

_NUM_FILES = 4
_FILE_BYTES = 256 * 2**20
_NUM_ROUNDS = 3
_CHUNK_BYTES = 2**20
_MAX_RATIO = 0.5
_MAX_UNCHANGED_S = 0.1
# The person's own command lines: those of the environment that runs this.
_BIN = Path(sys.executable).parent


def run(num_rounds: int = _NUM_ROUNDS, file_bytes: int = _FILE_BYTES) -> Result:
    """Measure `num_rounds` changes each way; the figures are medians."""
    with tempfile.TemporaryDirectory(prefix="ftzard-bench-") as folder:
        ours, theirs = (_project(Path(folder, name), file_bytes) for name in ("ours", "theirs"))
        repository = DvcRepository(ours, VersioningConfig())
        repository.commit("Data")
        _by_hand(theirs)
        rounds = []
        for _ in range(num_rounds):
            _replace_one(ours, file_bytes)
            _replace_one(theirs, file_bytes)
            rounds.append(
                (
                    _seconds(lambda: repository.commit("Data")),
                    _seconds(lambda: _by_hand(theirs)),
                    _seconds(lambda: repository.commit("Data")),
                )
            )
        _require_equal_states(ours, theirs)
    changed_s, by_hand_s, unchanged_s = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    figures = {
        "commit_changed_s": changed_s,
        "by_hand_changed_s": by_hand_s,
        "commit_over_by_hand": changed_s / by_hand_s,
        "commit_unchanged_s": unchanged_s,
    }
    return Result(
        figures, {"commit_over_by_hand": at_most(_MAX_RATIO), "commit_unchanged_s": at_most(_MAX_UNCHANGED_S)}
    )


def _project(folder: Path, file_bytes: int) -> Path:
    init_project_repository(folder, remote=folder / "remote")
    (folder / "data").mkdir()
    (folder / ".gitignore").write_text("/data\n/remote\n", encoding="utf-8")
    for number in range(_NUM_FILES):
        _write(folder / "data" / f"{number}.bin", file_bytes)
    return folder


def _replace_one(project: Path, file_bytes: int) -> None:
    new = project / "new.bin"
    _write(new, file_bytes)
    new.replace(project / "data" / "0.bin")


def _write(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, num_bytes, _CHUNK_BYTES):
            file.write(os.urandom(min(_CHUNK_BYTES, num_bytes - start)))
        # What is still to be written out would be paid for by whoever is measured next.
        os.fsync(file.fileno())


def _by_hand(project: Path) -> None:
    dvc = str(_BIN / "dvc")
    for command in (
        [dvc, "add", "--quiet", "data"],
        [dvc, "push", "--quiet"],
        ["git", "add", "data.dvc"],
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "commit", "--quiet", "-m", "Data"],
        ["git", "rev-parse", "HEAD"],
        [dvc, "checkout", "--quiet"],
    ):
        subprocess.run(command, cwd=project, check=True, capture_output=True)


def _seconds(operation: Callable[[], object]) -> float:
    started = time.perf_counter()
    operation()
    return time.perf_counter() - started


def _require_equal_states(*projects: Path) -> None:
    """Both ways have to have done the work: nothing to add, nothing to push, and the data back from the remote."""
    for project in projects:
        shutil.rmtree(project / ".dvc" / "cache")
        shutil.rmtree(project / "data")
        for command in (["pull", "--quiet"], ["status", "--quiet"]):
            subprocess.run([str(_BIN / "dvc"), *command], cwd=project, check=True, capture_output=True)
        if len(list((project / "data").glob("*.bin"))) != _NUM_FILES:
            message = f"{project.name} did not come back from its remote"
            raise AssertionError(message)
