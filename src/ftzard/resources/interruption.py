"""How a process that trains ends when it is asked to, or when whoever started it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REQUESTS = (signal.SIGTERM, signal.SIGINT)
_LISTEN_S = 5.0


@dataclass
class Interruption:
    """Turns the first request to end into a `KeyboardInterrupt`, once: what follows is not to be disturbed.

    It is raised at the end of the optimizer step, whose weights are then whole and go into a checkpoint; where that is
    too long to wait for, in the middle of it.

    Attributes:
        patience_s: How long to wait for the end of the step; 0 where nothing would be kept.
        is_asked: Whether somebody asked.
    """

    patience_s: int = 0
    is_asked: bool = False

    def listen(self) -> None:
        """Begin."""
        signal.signal(signal.SIGALRM, self._raise)
        for number in _REQUESTS:
            signal.signal(number, self._note)

    def ignore(self) -> None:
        """The process is ending already."""
        signal.alarm(0)
        for number in _REQUESTS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """A step is whole: end here if somebody asked."""
        if self.is_asked:
            self._raise()

    def _note(self, *_: Any) -> None:
        self.is_asked = True
        self.ignore()
        if not self.patience_s:
            raise KeyboardInterrupt
        signal.alarm(self.patience_s)

    def _raise(self, *_: Any) -> None:
        signal.alarm(0)
        raise KeyboardInterrupt


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
