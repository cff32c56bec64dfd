"""Whether the process of a Dagster run is alive.

Dagster's default launcher cannot tell: a run whose process was killed stays STARTED for ever, and whatever waits for
it waits too. So each process that works on a run holds a lock of the kernel's while it lives; a lock that nobody holds
tells that the process is gone, however it went.
"""

import fcntl
import os
import re
import uuid
from pathlib import Path
from typing import IO

_RUN_ID = re.compile(r"[0-9a-fA-F-]{1,64}")
# Open files keep the locks until the process ends.
_held: dict[Path, IO[bytes]] = {}


def hold_lease(project_dir: Path, run_id: str) -> None:
    """Hold the lease of a run until this process ends; several processes may hold one."""
    path = _lease_file(project_dir, run_id)
    if path is None or path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Locked before it has its name: otherwise who looks in that moment would take the run for abandoned.
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        file = _locked(temporary)
        try:
            os.link(temporary, path)
        except OSError:  # There is one already, or the file system knows no links.
            file.close()
            file = _locked(path)
    finally:
        temporary.unlink(missing_ok=True)
    _held[path] = file


def is_abandoned(project_dir: Path, run_id: str) -> bool:
    """Whether some process held the lease of a run and none does now; False where none ever did."""
    path = _lease_file(project_dir, run_id)
    if path is None or path in _held or not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def forget_lease(project_dir: Path, run_id: str) -> None:
    """Remove what is left of the lease of a run that is over."""
    path = _lease_file(project_dir, run_id)
    if path is not None and path not in _held:
        path.unlink(missing_ok=True)


def leased_runs(project_dir: Path) -> tuple[str, ...]:
    """The runs whose lease was ever held and not forgotten yet."""
    return tuple(path.stem for path in sorted(_folder(project_dir).glob("*.lease")))


def _locked(path: Path) -> IO[bytes]:
    file = path.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _folder(project_dir: Path) -> Path:
    return project_dir.resolve() / ".ftzard" / "runs"


def _lease_file(project_dir: Path, run_id: str) -> Path | None:
    # An asset that is called outside of a run has "EPHEMERAL" for an id.
    return _folder(project_dir) / f"{run_id}.lease" if _RUN_ID.fullmatch(run_id) else None
