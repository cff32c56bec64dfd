"""Faults at chosen instants: a process killed, or refused by its disk, at its nth change of something that is stored.

What counts as a change is seen by an audit hook of Python (files opened for writing, renamed, removed, linked; programs
started, so every call of git) and by SQLAlchemy's events (every statement that writes, so every call of MLflow and of
Dagster's storage). What a library does below Python, such as polars or safetensors writing a file, or git within one
call, is met by faults after a time, and by `full`, which the kernel does.
"""

import errno
import functools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

Kind = Literal["none", "kill", "cut", "no_space", "io_error", "full"]

_CHANGES = frozenset(
    {
        "os.chmod",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "shutil.rmtree",
        "subprocess.Popen",
    }
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ERRNO = {"no_space": errno.ENOSPC, "io_error": errno.EIO}
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Fault:
    """What happens to a process.

    Attributes:
        kind: `kill`: SIGKILL to it and what it started. `cut`: the same, and of the file that it opened for writing
            with that change only a part is there; the change has to be the opening of a file, which Python sees, so
            files that are written in Rust, by SQLite or by git are not reached. `no_space` and `io_error`: each file
            that Python opens for writing from then on is refused. `full`: the kernel lets no file grow beyond `share`
            of a MiB from then on (RLIMIT_FSIZE), which refuses in the middle of a write, in whatever language.
        at_change: At which change, from 1; None: by time.
        after_s: After how many seconds, where it is by time.
        share: How much of the file is left, 0 to 1.
    """

    kind: Kind = "none"
    at_change: int | None = None
    after_s: float | None = None
    share: float = 0.0

    def __str__(self) -> str:
        """As printed where an invariant does not hold."""
        if self.kind == "none":
            return "no fault"
        when = f"at change {self.at_change}" if self.after_s is None else f"after {self.after_s:.2f} s"
        return f"{self.kind} to {self.share:.2f} {when}" if self.kind in {"cut", "full"} else f"{self.kind} {when}"


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        exit_code: 0, 1 for an error, -9 for a kill.
        num_changes: Changes it made; 0 where it was killed.
        openings: Which of them opened a file for writing.
        value: What the operation returned; None where it did not.
        error: Its error with the classes it is an instance of first; empty where there was none.
        duration_s: How long it took.
    """

    exit_code: int
    num_changes: int = 0
    openings: tuple[int, ...] = ()
    value: Any = None
    error: str = ""
    duration_s: float = 0.0

    @property
    def is_explained(self) -> bool:
        """Whether an error, if any, was one of FTzard's own."""
        return not self.error or "FtzardError" in self.error.partition("\n")[0]


def run_with(fault: Fault, operation: Callable[[], Any], *, timeout_s: float = _TIMEOUT_S) -> Outcome:
    """Run an operation in a process of its own, forked from this one, and let the fault happen to it.

    Whoever calls this must not have started threads; a library that does so on first use may be imported and not used.
    """
    start = time.monotonic()
    victim = Victim.start(fault, operation)
    outcome = victim.outcome(timeout_s)
    return Outcome(**{**vars(outcome), "duration_s": time.monotonic() - start})


class Victim:
    """An operation that runs in a process of its own."""

    def __init__(self, process: Any, receiver: Connection) -> None:
        self._process = process
        self._receiver = receiver

    @classmethod
    def start(cls, fault: Fault, operation: Callable[[], Any]) -> "Victim":
        """Fork; conditions are those of `run_with`."""
        receiver, sender = get_context("fork").Pipe(duplex=False)
        process = get_context("fork").Process(target=_victim, args=(fault, operation, sender))
        process.start()
        sender.close()
        return cls(process, receiver)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or has only its last word to say."""
        return self._receiver.poll() or not self._process.is_alive()

    def outcome(self, timeout_s: float = _TIMEOUT_S) -> Outcome:
        """Wait until it ends."""
        # Before the process is waited for, which waits itself until somebody takes what it says.
        has_spoken = self._receiver.poll(timeout_s)
        try:
            said = self._receiver.recv() if has_spoken else None
        except EOFError:
            said = ()
        self._process.join(timeout_s if has_spoken else 0)
        if self._process.is_alive() or said is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.join()
            return Outcome(1, error=f"TimeoutError\nit did not end within {timeout_s:g} s")
        num_changes, openings, value, error = said or (0, (), None, "")
        return Outcome(self._process.exitcode or 0, num_changes, openings, value, error)


def _victim(fault: Fault, operation: Callable[[], Any], sender: Connection) -> None:
    # A group of its own, which dies with it: what it started would otherwise finish the work after the kill.
    os.setpgid(0, 0)
    if "FTZARD_FAULTS_VERBOSE" not in os.environ:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
    counter = _Counter(fault)
    counter.install()
    value, error, code = None, "", 0
    try:
        value = operation()
    except BaseException as problem:  # noqa: BLE001 - told to who asked
        names = " ".join(kind.__name__ for kind in type(problem).__mro__)
        error, code = f"{names}\n{''.join(traceback.format_exception(problem))}", 1
    counter.end()
    sender.send((counter.num_changes, tuple(counter.openings), value, error))
    sender.close()
    os._exit(code)


class _Counter:
    def __init__(self, fault: Fault) -> None:
        self.num_changes = 0
        self.openings: list[int] = []
        self._fault = fault
        self._is_over = False
        self._is_on = False
        self._to_cut: tuple[str, int] | None = None

    def install(self) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        if self._fault.kind == "full":
            # What it starts is to be refused too, and not to be ended by the signal that comes with the refusal.
            start = subprocess.Popen.__init__
            subprocess.Popen.__init__ = functools.partialmethod(start, restore_signals=False)  # type: ignore[assignment]
        if self._fault.after_s is not None:
            timer = threading.Timer(self._fault.after_s, self._happen)
            timer.daemon = True
            timer.start()
        event.listen(Engine, "before_cursor_execute", self._on_statement)
        sys.addaudithook(self._on_audit)

    def end(self) -> None:
        self._is_over = True
        if self._to_cut is not None:
            self._cut()
        if self._is_on and self._fault.kind == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _on_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not self._is_over and not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            self._count()

    def _on_audit(self, name: str, args: tuple[Any, ...]) -> None:
        if self._is_over:
            return
        if name == "open" and isinstance(args[2], int) and args[2] & _WRITING and not _is_device(args[0]):
            self._count(args[0], args[2])
            if self._is_on and self._fault.kind in _ERRNO:
                code = _ERRNO[self._fault.kind]
                raise OSError(code, os.strerror(code), args[0])
        elif name in _CHANGES:
            self._count()

    def _count(self, opened: Any = None, flags: int = 0) -> None:
        if self._to_cut is not None:
            self._cut()
        self.num_changes += 1
        if opened is not None:
            self.openings.append(self.num_changes)
        if self.num_changes == self._fault.at_change:
            if self._fault.kind == "cut" and opened is not None:
                path = os.path.realpath(os.fsdecode(opened))
                # What was there before and is not written over was not written now.
                kept = Path(path).stat().st_size if Path(path).is_file() and not flags & os.O_TRUNC else 0
                self._to_cut = path, kept
            else:
                self._happen()

    def _cut(self) -> None:
        """All that came before the next change is there, but of the file only a part, as though killed in its write."""
        path, kept = self._to_cut or ("", 0)
        self._is_over = True
        if Path(path).is_file():
            os.truncate(path, kept + int(max(0, Path(path).stat().st_size - kept) * self._fault.share))
        os.killpg(0, signal.SIGKILL)

    def _happen(self) -> None:
        if self._is_over:
            return
        self._is_on = True
        if self._fault.kind in {"kill", "cut"}:
            os.killpg(0, signal.SIGKILL)
        if self._fault.kind == "full":
            size = int(self._fault.share * 2**20)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _is_device(path: Any) -> bool:
    return isinstance(path, int) or os.fspath(path) in {"/dev/null", b"/dev/null", "/dev/tty"}
