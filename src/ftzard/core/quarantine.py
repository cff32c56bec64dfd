"""Rows that cannot be used, set aside with a reason, so that one of them does not stop the others.

What is set aside is a row. Where a file itself cannot be trusted (a quote that is never closed, a column that is
missing) nothing of it is used: whatever stands below might be anything.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.records import UNREADABLE_SCHEMA
from ftzard.errors import FtzardError, MalformedBatchError

_logger = logging.getLogger(__name__)

NUM_CULPRITS_SHOWN: Final = 5
_NUM_CHARACTERS_KEPT: Final = 200
_NUM_CHARACTERS_SHOWN: Final = 60

Unit = str
Reason = Literal[
    "too_few_fields",
    "too_many_fields",
    "broken_quotes",
    "stray_line_end",
    "not_json",
    "not_an_object",
    "wrong_value",
    "half_character",
]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        row: As in `RAW_SCHEMA`.
        reason: A code that can be counted.
        column: The column, or those, that the value is from; None where it is the whole row.
        value: What stands there, at most 200 characters of it.
        problem: What is wrong with it, in words.
        fix: What to do about it.
        num_lines: How many lines the row takes. A quote in the wrong place makes one row of several.
    """

    row: int
    reason: Reason
    column: str | None
    value: str
    problem: str
    fix: str
    num_lines: int = 1


@dataclass(frozen=True, eq=False)
class Parsed:
    """What a file holds.

    Attributes:
        rows: `PARSED_SCHEMA`.
        bad: The rows that cannot be read, in the order of the file; together with `rows` all that there are.
    """

    rows: pl.DataFrame
    bad: tuple[BadRow, ...] = ()


class NotARowError(Exception):
    """Internal: what a row holds cannot be read; the parsers turn it into a `BadRow`."""

    def __init__(self, reason: Reason, problem: str, fix: str) -> None:
        """Keep what a `BadRow` says."""
        super().__init__(problem)
        self.reason, self.problem, self.fix = reason, problem, fix

    def at(self, row: int, value: object, *, column: str | None = None, num_lines: int = 1) -> BadRow:
        """The same, said of a row."""
        return BadRow(row, self.reason, column, _kept(value), self.problem, self.fix, num_lines)


def refused_value(error: TypeError | ValueError, fix: str) -> NotARowError:
    """What an error says that a value of a wrong kind has made."""
    if isinstance(error, UnicodeEncodeError):
        problem = f"half a character stands at position {error.start + 1} (a lone surrogate)"
        return NotARowError("half_character", problem, fix)
    return NotARowError("wrong_value", str(error), fix)


def max_quarantined(num_rows: int, config: DataConfig) -> int:
    """How many of the rows of one file may be set aside.

    A file in which all rows are bad is never one of few.
    """
    # A tenth of ten rows is one, also in binary.
    return min(math.floor(config.max_quarantined_fraction * num_rows + 1e-9), num_rows - 1)


def require_few(parsed: Parsed, name: str, unit: Unit, config: DataConfig) -> Parsed:
    """Let what was parsed pass where few enough of its rows are bad, with a warning that names them.

    A bad row counts as often as it takes lines, so that one which has swallowed others is as bad as those.

    Args:
        parsed: Of one file.
        name: The file's name for messages.
        unit: What its rows are counted in.
        config: Says how many are few.

    Raises:
        MalformedBatchError: There are more. It names the first five.
    """
    if not parsed.bad:
        return parsed
    num_bad = sum(bad.num_lines for bad in parsed.bad)
    num_rows = parsed.rows.height + num_bad
    told = [f"{unit} {bad.row}: {_told(bad)}" for bad in parsed.bad]
    allowed = max_quarantined(num_rows, config)
    if num_bad > allowed or parsed.rows.is_empty():
        what = f"{culprits([f'{name}, {one}' for one in told])}; this is"
        raise too_many(MalformedBatchError, what, (num_bad, num_rows, name), parsed.bad[0].fix, config)
    _logger.warning("set aside %d of the %d rows of %s: %s", num_bad, num_rows, name, culprits(told))
    return parsed


def too_many(
    error: type[FtzardError], told: str, counts: tuple[int, int, str], fix: str, config: DataConfig
) -> FtzardError:
    """The error for a file with more bad rows than are set aside.

    Args:
        error: Its class.
        told: What is wrong with the first rows, up to where the count begins.
        counts: How many rows, of how many, of which file.
        fix: What to do about the first.
        config: Says how many are too many.
    """
    num_bad, num_rows, name = counts
    allowed = max_quarantined(num_rows, config)
    return error(
        f"{told} {num_bad} of the {num_rows} row(s) of {name}, and at most {allowed} may be set aside "
        f"(data.max_quarantined_fraction is {config.max_quarantined_fraction:g})",
        fix=f"{fix}; or raise data.max_quarantined_fraction, to go on without these rows",
    )


def culprits(told: Sequence[str]) -> str:
    """The first five of many, and how many more there are."""
    more = f" and {len(told) - NUM_CULPRITS_SHOWN} more" if len(told) > NUM_CULPRITS_SHOWN else ""
    return "; ".join(told[:NUM_CULPRITS_SHOWN]) + more


def unreadable_frame(bad: Sequence[BadRow], batch: str) -> pl.DataFrame:
    """The bad rows of a file as `UNREADABLE_SCHEMA`."""
    rows = [(batch, one.row, one.reason, one.column, one.value, one.problem) for one in bad]
    return pl.DataFrame(rows, schema=UNREADABLE_SCHEMA, orient="row")


def _told(bad: BadRow) -> str:
    value = repr(bad.value)
    short = value if len(value) <= _NUM_CHARACTERS_SHOWN else f"{value[: _NUM_CHARACTERS_SHOWN - 1]}…"
    return f"{bad.problem} ({f'column {bad.column!r}: ' if bad.column else ''}{short})"


def _kept(value: object) -> str:
    text = (value if isinstance(value, str) else repr(value))[: _NUM_CHARACTERS_KEPT + 1]
    # Half characters cannot be stored.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= _NUM_CHARACTERS_KEPT else f"{text[: _NUM_CHARACTERS_KEPT - 1]}…"
