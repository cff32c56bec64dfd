"""DVC as a library, without the habits of its command line: no hints, no bars, no staging, no statistics."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ftzard.resources.dvc_databases import failing_with_the_disk

_LOGGER = logging.getLogger(__name__)
_LOCK_ATTEMPTS = 10
_LOCK_PAUSE_S = 0.2
_ANALYTICS = "DVC_NO_ANALYTICS"
# DVC draws its bars when the effective level of these two loggers lets errors through.
_BAR_LOGGERS = ("dvc.progress", "dvc_data.callbacks")
# Each has its own tree of loggers.
_PACKAGE_LOGGERS = ("dvc", "dvc_data", "dvc_objects")
# Loggers, the environment and DVC's terminal are the process's: one session at a time may have them changed.
_ONE_SESSION = threading.RLock()

T = TypeVar("T")


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._messages.append(record.getMessage() + (f": {type(cause).__name__}: {cause}" if cause else ""))


@contextmanager
def open_dvc(root: Path, complaints: list[str] | None = None) -> Iterator[Any]:
    """Open a fresh `dvc.repo.Repo` for one operation and close it afterwards.

    Args:
        root: The folder that holds `.dvc`.
        complaints: Takes the errors that DVC logs and does not raise, such as the reason why a transfer failed.

    Raises:
        dvc.exceptions.DvcException: DVC refused to open it, and whatever the operation raises.
    """
    from dvc.repo import Repo

    with quiet_dvc([] if complaints is None else complaints), failing_with_the_disk():
        # Whatever the person has configured, DVC must not stage files in their index.
        repo = Repo(os.fspath(root), config={"core": {"autostage": False}})
        try:
            yield repo
        finally:
            repo.close()


@contextmanager
def quiet_dvc(complaints: list[str]) -> Iterator[None]:
    """Within it DVC writes nothing to the terminal and to no log; its errors go to `complaints`.

    What is changed for that belongs to the whole process, is changed for one thread at a time and is restored.
    """
    from dvc.ui import ui

    with _ONE_SESSION, ExitStack() as restored:
        restored.enter_context(_without_analytics())
        collector = _Collector(complaints)
        for name in _PACKAGE_LOGGERS:
            restored.enter_context(_logging_to(logging.getLogger(name), collector))
        for name in _BAR_LOGGERS:
            logger = logging.getLogger(name)
            restored.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        console = ui.error_console
        restored.callback(setattr, console, "quiet", console.quiet)
        console.quiet = True
        yield


def retry_while_locked(operation: Callable[[], T]) -> T:
    """Try again while the person's own DVC command holds the lock; DVC waits three seconds itself each time."""
    from dvc.lock import LockError

    for _ in range(_LOCK_ATTEMPTS - 1):
        try:
            return operation()
        except LockError:
            time.sleep(_LOCK_PAUSE_S)
    return operation()


@contextmanager
def _logging_to(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


@contextmanager
def _without_analytics() -> Iterator[None]:
    before = os.environ.get(_ANALYTICS)
    os.environ[_ANALYTICS] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_ANALYTICS, None)
        else:
            os.environ[_ANALYTICS] = before


def cached_object(root: Path, name: str) -> Path:
    """Where DVC's cache has an object, if it has it; the repository is not opened for it.

    Args:
        root: The folder that holds `.dvc`.
        name: The object's MD5, of a folder with `.dir` at its end.
    """
    from dvc.config import Config

    configured = Config(os.fspath(root / ".dvc")).get("cache", {}).get("dir")
    cache = Path(configured) if configured else root / ".dvc" / "cache"
    return cache / "files" / "md5" / name[:2] / name[2:]
