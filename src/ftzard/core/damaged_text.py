"""Bytes that are no text in an encoding: each counted, the first of them shown, and U+FFFD in their place."""

import codecs
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from ftzard.core.detection import line_end

_HANDLER: Final = "ftzard_counted_replacement"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_NUM_SHOWN: Final = 5
# With so many a file is something else, and counting them all would take long.
_MAX_COUNTED: Final = 1_000_000


class _EndlessError(Exception):
    pass


@dataclass
class Damage:
    """What of some bytes is no text.

    Attributes:
        encoding: That they were read in.
        data: All the bytes.
        num_bytes: How many of them are no text.
        num_good_sequences: How many characters beyond ASCII were read.
        is_endless: Whether counting was given up, so that `num_bytes` is less than there are.
    """

    encoding: str
    data: bytes = field(repr=False)
    num_bytes: int = 0
    num_good_sequences: int = 0
    is_endless: bool = False
    _num_replacements: int = 0
    _first: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def num_all_bytes(self) -> int:
        """How many bytes there are."""
        return len(self.data)

    @property
    def fraction(self) -> float:
        """The share of them that is no text; 0 of no bytes."""
        return self.num_bytes / len(self.data) if self.data else 0.0

    @property
    def allowing_fraction(self) -> float:
        """A round limit that would allow this."""
        fraction = 1e-6
        while fraction < self.fraction:
            fraction *= 10
        return min(fraction, 1.0)

    @property
    def places(self) -> str:
        """The first of them, each with its bytes, offset, line and what is wrong with it."""
        shown = [
            f"byte {self.data[start:end].hex(' ')} at byte offset {start}, line {self._line(start)} ({reason})"
            for start, end, reason in self._first
        ]
        num_more = self._num_replacements - len(shown)
        return "; ".join(shown) + (f"; and {num_more} more places" if num_more else "")

    def add(self, start: int, end: int, reason: str) -> None:
        """Count some of them."""
        self.num_bytes += end - start
        self._num_replacements += 1
        if len(self._first) < _NUM_SHOWN:
            self._first.append((start, end, reason))
        if self.num_bytes > _MAX_COUNTED:
            self.is_endless = True
            raise _EndlessError

    def count_good(self, text: str) -> None:
        """Count the characters that were read."""
        num_ascii = len(text.encode("ascii", errors="ignore"))
        self.num_good_sequences = len(text) - num_ascii - self._num_replacements

    def _line(self, offset: int) -> int:
        before = self.data[:offset].decode(self.encoding, errors="ignore")
        return before.count(line_end(before)) + 1


_current: ContextVar[tuple[Damage, int]] = ContextVar("ftzard_damage")


def decode_damaged(data: bytes, encoding: str, start: int = 0) -> tuple[str, Damage]:
    """Decode bytes with U+FFFD for each sequence that is no text.

    Args:
        data: The bytes of a file.
        encoding: A Python codec name.
        start: Where the text begins.

    Returns:
        The text, and the count. After a million such bytes the text is empty, and the count endless.
    """
    damage = Damage(encoding, data)
    token = _current.set((damage, start))
    try:
        text = data[start:].decode(encoding, errors=_HANDLER)
    except _EndlessError:
        return "", damage
    finally:
        _current.reset(token)
    damage.count_good(text)
    return text, damage


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    damage, start = _current.get()
    end = max(error.end, error.start + 1)
    damage.add(start + error.start, start + end, error.reason)
    return _REPLACEMENT, end


codecs.register_error(_HANDLER, _replace)
