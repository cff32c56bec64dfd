"""What a part of a step, such as a trial of a study, may write down of itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class ChildRun(Protocol):
    """A run of its own for a part of a step; a `ftzard.resources.tracked_run.TrackedRun` is one."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics at once."""

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics at a training step, soon."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""


# Opens a run, named as given; it ends FINISHED, FAILED where the block raises, KILLED where it is interrupted.
OpenChild = Callable[[str], AbstractContextManager[ChildRun]]


class _UntrackedRun:
    """Takes everything and keeps nothing."""

    def log_params(self, params: Mapping[str, object]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None: ...

    def report(self, metrics: Mapping[str, float], step: int) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...


@contextmanager
def untracked(name: str) -> Iterator[ChildRun]:
    """Open a run that is kept nowhere."""
    del name
    yield _UntrackedRun()
