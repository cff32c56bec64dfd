"""FTzard's log records in Dagster's log, where a run is watched."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


class _ForwardingHandler(logging.Handler):
    """Hands the core's log records to Dagster's log, so that progress is seen where the run is watched."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage())


@contextmanager
def logs_forwarded_to(log: dg.DagsterLogManager) -> Iterator[None]:
    """Forward the package's log records of level INFO and above while the block runs."""
    package = logging.getLogger("ftzard")
    handler, level = _ForwardingHandler(log), package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
