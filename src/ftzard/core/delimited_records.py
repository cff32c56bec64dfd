"""The records of delimited text, each with the line it starts on; the bad one is told from the file that is lost.

A quote in the wrong place ends a record or swallows the next ones, and nothing in the file says which. What follows is
trusted only where every reading of the quotes agrees on it: the record's own quotes pair up, and so do those of the
record after it.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ftzard.core.detection import line_end
from ftzard.core.quarantine import NotARowError
from ftzard.errors import MalformedBatchError

_QUOTE: Final = '"'
_FIX: Final = 'balance the quotes: a text that begins with a quote also ends with one, and holds "" for each within'


class Record(NamedTuple):
    """A record that is not blank. A tuple, because there may be millions of them.

    Attributes:
        line: The 1-based line on which it starts.
        lines: Those that it takes.
        fields: Its values; none where there is a problem.
        problem: Why its quotes cannot be read; None where they can.
    """

    line: int
    lines: Sequence[str]
    fields: Sequence[str] = ()
    problem: NotARowError | None = None

    @property
    def text(self) -> str:
        """It as it stands in the file, without the last line end."""
        return _content(self.lines)

    @property
    def num_lines(self) -> int:
        """How many lines it takes, those that end otherwise than the file's included."""
        return len(self.lines) + _num_stray(self.text)


class _Lines(Iterator[str]):
    """The lines of a text, which are remembered until they are taken."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline=line_end(text))
        self._seen: list[str] = []
        self.is_at_end = False

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.is_at_end = True
            raise StopIteration
        self._seen.append(line)
        return line

    def take(self) -> list[str]:
        """What was read since the last time."""
        seen, self._seen = self._seen, []
        return seen


def read_records(text: str, name: str, delimiter: str) -> Iterator[Record]:
    """Yield each record; blank lines are passed over.

    Args:
        text: The file's text, line ends as they are in the file.
        name: The file's name for messages.
        delimiter: One character.

    Raises:
        MalformedBatchError: A quote is never closed, or may reach into the next record.
    """
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start, doubtful = 1, None
    while True:
        problem: csv.Error | None = None
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = error
        taken = lines.take()
        doubtful = problem or doubtful
        # An odd number of quotes is fine where they can be read, but not beside a record where they cannot.
        if doubtful and (_content(taken).count(_QUOTE) % 2 == 1 or (problem and lines.is_at_end)):
            raise _untrusted(name, start, reader.line_num, doubtful)
        if problem:
            yield Record(start, taken, problem=_refused(_content(taken), problem))
        elif len(fields) > 1 or any(one.strip() for one in fields):
            doubtful = None
            yield Record(start, taken, fields)
        start = reader.line_num + 1


def _content(lines: Sequence[str]) -> str:
    return "".join(lines).rstrip("\r\n")


def _num_stray(content: str) -> int:
    """How many lines end in a carriage return alone, within a line that ends as the others do."""
    return content.count("\r") - content.count("\r\n")


def _refused(content: str, error: csv.Error) -> NotARowError:
    if _num_stray(content) and _QUOTE not in content:
        return NotARowError(
            "stray_line_end", f"a carriage return stands within a line: {error}", "end all lines of the file alike"
        )
    return NotARowError("broken_quotes", f"the quotes cannot be read: {error}", _FIX)


def _untrusted(name: str, start: int, end: int, error: csv.Error) -> MalformedBatchError:
    return MalformedBatchError(
        f"{name}: the record that starts on line {start} cannot be parsed, at line {end}: {error}; its quotes do not "
        "pair up, so that nothing below it can be trusted",
        fix=_FIX,
    )
