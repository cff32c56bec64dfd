"""How far a long computation is: a line in the log every few seconds, and a bar for a person at a terminal."""

import logging
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_LOG_INTERVAL_S = 10.0


@dataclass(frozen=True)
class Progress:
    """Where a computation is.

    Attributes:
        done: Units that are finished: optimizer steps in training, examples in inference.
        total: Units in all.
        num_tokens: Real tokens computed so far, without padding.
        seconds: Wall-clock time so far.
        loss: Of the last optimizer step; None in inference.
    """

    done: int
    total: int
    num_tokens: int
    seconds: float
    loss: float | None = None

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second; 0 before the clock has moved."""
        return self.num_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """What the rest takes at the speed so far; 0 at the end and before the first unit."""
        return self.seconds / self.done * (self.total - self.done) if self.done else 0.0

    def __str__(self) -> str:
        """One line for a log."""
        loss = "" if self.loss is None else f", loss {self.loss:.3f}"
        left = int(self.seconds_left)
        return f"{self.done}/{self.total}{loss}, {self.tokens_per_s:.0f} tokens/s, {left // 60}:{left % 60:02d} left"


class ProgressReporter:
    """Logs progress at intervals and draws a bar if standard error is a terminal.

    Args:
        what: What is counted, for the log and the bar.
        total: Units in all.
        logger: Of the module whose progress it is.
    """

    def __init__(self, what: str, total: int, logger: logging.Logger) -> None:
        """Start the clock."""
        self._what = what
        self._total = total
        self._logger = logger
        self._started = time.perf_counter()
        self._logged = self._started
        self._bar = self._make_bar()

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar off the terminal's line."""
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    def update(self, done: int, num_tokens: int, loss: float | None = None) -> Progress:
        """Report where the computation is and return it."""
        now = time.perf_counter()
        progress = Progress(done, self._total, num_tokens, now - self._started, loss)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if loss is not None:
                self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        if now - self._logged >= _LOG_INTERVAL_S or done == self._total:
            self._logged = now
            self._logger.info("%s %s", self._what, progress)
        return progress

    def _make_bar(self) -> Any:
        if not sys.stderr.isatty():
            return None
        from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm ships no types

        return tqdm(total=self._total, desc=self._what, file=sys.stderr, leave=False)
