"""What a value in a batch file stands for: a text, a label, a group or a time."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SHOWN: Final = 40
_MAX_LISTED: Final = 50


def canonical_label(value: object) -> str | None:
    """Write a label of any scalar type as text, so that 4, 4.0 and "4" are one label.

    Args:
        value: Text, a number, a truth value, or None or NaN for no label.

    Returns:
        Text as it is; `true` or `false`; an integral number without decimals; any other number in its shortest form;
        None for no label.

    Raises:
        TypeError: The value is of another type, or infinite.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and not math.isinf(value):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    message = f"the label {shorten(repr(value))} is neither text nor a finite number"
    raise TypeError(message)


def as_text(value: object) -> str | None:
    """Return a text as it is, or raise TypeError for what is none.

    Raises:
        UnicodeEncodeError: As `encodable`.
    """
    if value is None or isinstance(value, str):
        return encodable(value)
    message = f"the text {shorten(repr(value))} is not text"
    raise TypeError(message)


def encodable(value: str | None) -> str | None:
    """Return the value, or raise UnicodeEncodeError for half a character (a lone surrogate, as JSON can write it)."""
    if value is not None and not value.isascii():
        value.encode("utf-8")
    return value


def as_group(value: object) -> str | None:
    """What a row belongs to, written as a label is; None for nothing."""
    found = canonical_label(value)
    return encodable(found.strip() or None) if found is not None else None


def as_time(value: object) -> datetime | None:
    """The time of a row; UTC where it does not name a zone, None for no time.

    Raises:
        TypeError: The value is none.
        ValueError: The text is not ISO 8601, or the number is beyond the calendar.
    """
    if isinstance(value, str):
        return _written_time(value.strip())
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _EPOCH + timedelta(seconds=value)
        except OverflowError as error:
            message = f"the time {value!r} is beyond the calendar; seconds since 1970 are read, not milliseconds"
            raise ValueError(message) from error
    message = f"the time {shorten(repr(value))} is neither ISO 8601 nor seconds since 1970"
    raise TypeError(message)


def listed(columns: Sequence[str]) -> str:
    """The names of columns as messages show them: a file can have millions, and messages are kept."""
    more = f" and {len(columns) - _MAX_LISTED} more" if len(columns) > _MAX_LISTED else ""
    return f"{[shorten(column) for column in columns[:_MAX_LISTED]]}{more}"


def shorten(text: str) -> str:
    """A text as messages show it."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _written_time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return as_time(datetime.fromisoformat(text))
    return as_time(seconds)


# Column of `PLACEMENT_SCHEMA` -> what makes its value of a cell's.
PLACING: Final[Mapping[str, Callable[[object], object]]] = {"group": as_group, "time": as_time}
