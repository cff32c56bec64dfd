"""What killed processes leave in the temporary folder is removed by the next, and nothing else is."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftzard.core.scratch_folder import scratch_folder

_PREFIX = "ftzard-test-"
_WORKER = f"""
import sys, time
from ftzard.core.scratch_folder import scratch_folder
with scratch_folder({_PREFIX!r}) as folder:
    (folder / "weights").write_text("large")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@contextmanager
def _working() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with subprocess.Popen([sys.executable, "-c", _WORKER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def _age(folder: Path) -> None:
    """As if nothing had changed in it for an hour."""
    then = time.time() - 3600
    os.utime(folder, (then, then))


def test_it_is_gone_in_the_end_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oh"), scratch_folder(_PREFIX) as folder:  # noqa: PT012 - both belong to it
        (folder / "weights").write_text("large")
        raise ValueError("oh")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next() -> None:
    with _working() as (process, left):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (left / "weights").exists()
    _age(left)
    with scratch_folder(_PREFIX) as own:
        assert not left.exists()
        assert own.exists()


def test_what_is_in_use_is_left_alone_however_old_it_is() -> None:
    with _working() as (_, used):
        _age(used)
        with scratch_folder(_PREFIX):
            assert (used / "weights").exists()


def test_what_was_only_just_made_and_what_is_no_such_folder_is_left_alone(tmp_path: Path) -> None:
    new, other = tmp_path / f"{_PREFIX}new", tmp_path / f"{_PREFIX}other"
    for folder in (new, other):
        folder.mkdir()
    (new / "lock").touch()
    _age(other)
    with scratch_folder(_PREFIX):
        assert new.exists()
        assert other.exists()
