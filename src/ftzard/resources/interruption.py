"""How a process that trains ends when it is asked to, or when whoever started it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Final

_REQUESTS = (signal.SIGTERM, signal.SIGINT)
# How long a request waits for the end of an optimizer step.
_PATIENCE_S: Final = 5.0
_MOMENT_S: Final = 0.05
_LISTEN_S: Final = 5.0


@dataclass
class Interruption:
    """Answers a request to end (Ctrl-C, SIGTERM) by a `KeyboardInterrupt`, once: what follows is not to be disturbed.

    It is raised at the end of the optimizer step, whose weights are then whole and go into a checkpoint; where that is
    too long to wait for, in the middle of it. Elsewhere it could cut an update in two, or come in a finalizer, which
    swallows it, and the request with it. Never while something is logged.

    Attributes:
        patience_s: How long a request waits for the end of the step.
        is_asked: Whether somebody asked.
    """

    patience_s: float = _PATIENCE_S
    is_asked: bool = False
    _handlers: dict[int, Any] = field(default_factory=dict)
    _number: int | None = None
    _due_s: float | None = None
    _has_checked: bool = False
    _timer: threading.Timer | None = None
    # Whether who asks twice does not want to wait. A process that others end is asked in several ways at once.
    _may_be_hurried: ClassVar[bool] = False

    def listen(self) -> None:
        """Begin. A handler that was not set from Python could not be put back, and stays."""
        for number in _REQUESTS:
            handler = signal.getsignal(number)
            if handler is not None:
                self._handlers[number] = handler
                signal.signal(number, self._note)

    def ignore(self) -> None:
        """The process is ending already."""
        self._cancel()
        for number in _REQUESTS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """A step is whole: end here if somebody asked. Before the first one there is nothing to wait for."""
        self._has_checked = True
        if self._number is not None:
            self._answer(self._number, None)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.ignore()
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        now = time.monotonic()
        if self._due_s is not None and now < self._due_s and not self._may_be_hurried:
            return
        if _is_logging(frame):
            self._ask_again(number, _MOMENT_S)
        elif self._has_checked and self._due_s is None:
            self._due_s = now + self.patience_s
            self._ask_again(number, self.patience_s)
        else:
            self._answer(number, frame)

    def _ask_again(self, number: int, after_s: float) -> None:
        self._cancel()
        self._number, self._timer = number, threading.Timer(after_s, os.kill, (os.getpid(), number))
        self._timer.daemon = True
        self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Deferral(Interruption):
    """Lets whatever answered a request before answer it, and goes."""

    _may_be_hurried = True

    def release(self) -> int | None:
        """Put back what was there before; a request that nobody has answered yet, if there is one."""
        self._cancel()
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)
        waiting, self._number = self._number, None
        return waiting

    def _answer(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers.get(number)
        self.release()
        if callable(handler):
            handler(number, frame)
        else:
            signal.raise_signal(number)


def _is_logging(frame: FrameType | None) -> bool:
    """Whether something is just being logged.

    Dagster stores what is logged as events, under a lock that an exception may leave locked: the next event, which says
    that the step was interrupted, would wait for it for ever.
    """
    while frame is not None:
        if frame.f_globals.get("__name__") == "logging":
            return True
        frame = frame.f_back
    return False


@contextmanager
def deferred_requests(patience_s: float = _PATIENCE_S) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM wait for a moment at which work is whole, in a process that is not ours alone.

    As with `Interruption`; but it is whatever answered them before that answers, in Dagster by an exception of its own,
    and at once where somebody asks again.

    Args:
        patience_s: How long a request waits.

    Yields:
        To be called when work is whole. Before its first call a request waits for the end of a log record alone.
        Outside of the main thread, where no signal arrives, nothing is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    requests = _Deferral(patience_s)
    requests.listen()
    try:
        yield requests.check
    except BaseException:
        requests.release()
        raise
    if (number := requests.release()) is not None:
        signal.raise_signal(number)


def end_with_standard_input(end: Callable[[], None]) -> None:
    """Call a function when whoever started this process is gone: it holds the other end of a pipe."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        end()

    threading.Thread(target=watch, name="ftzard-parent", daemon=True).start()


def end_without_heartbeat(path: Path, silence_s: float, end: Callable[[], None]) -> None:
    """Call a function when whoever started this process is gone: it writes something else into a file all the time.

    Not the file's time is looked at: the clocks of two machines differ.

    Args:
        path: The file.
        silence_s: For how long it may stay as it is.
        end: The function.
    """

    def watch() -> None:
        last, heard = b"", time.monotonic()
        while time.monotonic() - heard <= silence_s:
            with suppress(OSError):
                if (content := path.read_bytes()) != last:
                    last, heard = content, time.monotonic()
            time.sleep(min(_LISTEN_S, silence_s / 4))
        end()

    threading.Thread(target=watch, name="ftzard-heartbeat", daemon=True).start()


def ask_to_end() -> None:
    """Ask this process to end."""
    os.kill(os.getpid(), signal.SIGTERM)
