"""Faults at chosen instants: a process killed, or refused by its disk, at its nth change of something that is stored.

What counts as a change is seen by an audit hook of Python (files opened for writing, renamed, removed, linked; programs
started, so every call of git) and by SQLAlchemy's events (every statement that writes, so every call of MLflow and of
Dagster's storage). What a library does below Python, such as polars writing a file, is met by faults after a time.
"""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Literal

Kind = Literal["none", "kill", "no_space", "io_error"]

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
        kind: `kill`: SIGKILL; `no_space` and `io_error`: each file it opens for writing from then on is refused.
        at_change: Before which change, from 1; None: by time.
        after_s: After how many seconds, where it is by time.
    """

    kind: Kind = "none"
    at_change: int | None = None
    after_s: float | None = None

    def __str__(self) -> str:
        """As printed where an invariant does not hold."""
        if self.kind == "none":
            return "no fault"
        return f"{self.kind} {f'at change {self.at_change}' if self.after_s is None else f'after {self.after_s:.2f} s'}"


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        exit_code: 0, 1 for an error, -9 for a kill.
        num_changes: Changes it made; 0 where it was killed.
        value: What the operation returned; None where it did not.
        error: Its error with the classes it is an instance of first; empty where there was none.
    """

    exit_code: int
    num_changes: int = 0
    value: Any = None
    error: str = ""

    @property
    def is_explained(self) -> bool:
        """Whether an error, if any, was one of FTzard's own."""
        return not self.error or "FtzardError" in self.error.partition("\n")[0]


def run_with(fault: Fault, operation: Callable[[], Any]) -> Outcome:
    """Run an operation in a process of its own, forked from this one, and let the fault happen to it.

    Whoever calls this must not have started threads; a library that does so on first use may be imported and not used.
    """
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_victim, args=(fault, operation, sender))
    process.start()
    sender.close()
    process.join(_TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return Outcome(1, error=f"TimeoutError\nit did not end within {_TIMEOUT_S:g} s")
    try:
        num_changes, value, error = receiver.recv()
    except EOFError:
        num_changes, value, error = 0, None, ""
    return Outcome(process.exitcode or 0, num_changes, value, error)


def _victim(fault: Fault, operation: Callable[[], Any], sender: Connection) -> None:
    # A group of its own, which dies with it: what it started would otherwise finish the work after the kill.
    os.setpgid(0, 0)
    counter = _Counter(fault)
    counter.install()
    try:
        value = operation()
    except Exception as error:  # noqa: BLE001 - told to who asked
        names = " ".join(kind.__name__ for kind in type(error).__mro__)
        counter.is_over = True
        sender.send((counter.num_changes, None, f"{names}\n{''.join(traceback.format_exception(error))}"))
        sender.close()
        os._exit(1)
    counter.is_over = True
    sender.send((counter.num_changes, value, ""))
    sender.close()
    os._exit(0)


class _Counter:
    def __init__(self, fault: Fault) -> None:
        self.num_changes = 0
        self.is_over = False
        self._fault = fault
        self._is_on = False

    def install(self) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        if self._fault.after_s is not None:
            timer = threading.Timer(self._fault.after_s, self._happen)
            timer.daemon = True
            timer.start()
        event.listen(Engine, "before_cursor_execute", self._on_statement)
        sys.addaudithook(self._on_audit)

    def _on_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            self._count()

    def _on_audit(self, name: str, args: tuple[Any, ...]) -> None:
        if self.is_over:
            return
        if name == "open" and isinstance(args[2], int) and args[2] & _WRITING and not _is_device(args[0]):
            self._count()
            if self._is_on and self._fault.kind != "kill":
                code = _ERRNO[self._fault.kind]
                raise OSError(code, os.strerror(code), args[0])
        elif name in _CHANGES:
            self._count()

    def _count(self) -> None:
        self.num_changes += 1
        if self.num_changes == self._fault.at_change:
            self._happen()

    def _happen(self) -> None:
        self._is_on = True
        if self._fault.kind == "kill" and not self.is_over:
            os.killpg(0, signal.SIGKILL)


def _is_device(path: Any) -> bool:
    return isinstance(path, int) or os.fspath(path) in {"/dev/null", b"/dev/null", "/dev/tty"}
