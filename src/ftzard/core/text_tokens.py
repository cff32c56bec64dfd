"""Texts as rows of tokens, each a number: what texts are compared by, and a million of them in seconds.

A token is a word without case and apostrophes, or a single character of a script that is written without spaces; web
addresses and user names are none. Tokens, and runs of them, are told apart by polynomial hashes of 64 bits, of which
the hash of any part follows by one subtraction (Karp and Rabin, "Efficient randomized pattern-matching algorithms",
1987). Should two ever collide, two texts count as near that are not, never the other way round.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl

# What makes no difference. `http` is what the cleaning step `replace_urls` leaves of an address.
_NOISE: Final = r"(?i)(?:https?://|\bwww\.)\S+|\bhttp\b|@+\w+"
_MAYBE_NOISE: Final = r"(?i)http|www|@"
_APOSTROPHE: Final = r"['\x{2019}`]"
_WORD: Final = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|[\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)
_SEPARATOR, _NOTHING = 0, 1
_NUM_ROWS_AT_ONCE: Final = 16_384
# Numpy and polars let others work while they do.
NUM_THREADS: Final = min(4, os.cpu_count() or 1)
# Any odd number has an inverse; this one is the golden ratio's.
_BASE: Final = 0x9E3779B97F4A7C15
_NUM_BITS: Final = 64
# Enough for nearly all that is hashed at once; they are kept.
_NUM_POWERS: Final = 1 << 21
# The last steps of splitmix64 (Steele, Lea and Flood 2014).
_MIXING: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31

Numbers = np.ndarray[tuple[int], np.dtype[np.uint64]]
Positions = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class TokenTexts:
    """Texts as they are compared.

    Attributes:
        same: For each text the hash of its letters and digits in a row; of a text of signs alone, that of the text.
        starts: Where the tokens of each text begin in `tokens`.
        lengths: The number of tokens of each text.
        tokens: The hashes of the tokens of these texts and, where they are some of others, of those.
    """

    same: Numbers
    starts: Positions
    lengths: Positions
    tokens: Numbers

    def take(self, rows: Positions) -> "TokenTexts":
        """Some of the texts, in the given order, without a copy of the tokens."""
        return TokenTexts(self.same[rows], self.starts[rows], self.lengths[rows], self.tokens)

    def packed(self) -> "TokenTexts":
        """The same texts with their own tokens alone, one text after the other."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts - starts, self.lengths)
        return TokenTexts(self.same, starts, self.lengths, self.tokens[places])


def read_tokens(texts: pl.Series) -> TokenTexts:
    """Read texts without null."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        parts = list(pool.map(_read, _pieces(texts)))
    lengths = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)])
    return TokenTexts(
        np.concatenate([np.zeros(0, np.uint64), *(part.same for part in parts)]),
        np.cumsum(lengths) - lengths,
        lengths,
        np.concatenate([np.zeros(0, np.uint64), *(part.tokens for part in parts)]),
    )


@dataclass(frozen=True, eq=False)
class RunHashes:
    """The hashes of all runs of numbers; equal runs have equal hashes wherever they are.

    Attributes:
        sums: Of the numbers, each times a power of the base, before each place.
        inverses: What takes away the power of a place.
    """

    sums: Numbers
    inverses: Numbers

    @classmethod
    def of(cls, numbers: Numbers) -> "RunHashes":
        """Make ready for `hashes`."""
        powers, inverses = _powers(max(_NUM_POWERS, 1 << len(numbers).bit_length()))
        sums = np.zeros(len(numbers) + 1, np.uint64)
        np.cumsum(numbers * powers[: len(numbers)], out=sums[1:])
        return cls(sums, inverses)

    def hashes(self, starts: Any, ends: Any) -> Any:
        """The hash of each run from a start up to before an end."""
        return (self.sums[ends] - self.sums[starts]) * self.inverses[starts]


def mixed(numbers: Any) -> Any:
    """Spread what differs over all bits."""
    for shift, factor in _MIXING:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(_LAST_SHIFT))


def _pieces(texts: pl.Series) -> Iterator[pl.Series]:
    return (texts.slice(start, _NUM_ROWS_AT_ONCE) for start in range(0, texts.len(), _NUM_ROWS_AT_ONCE))


def _read(texts: pl.Series) -> TokenTexts:
    data, row_starts = _joined(_canonical(texts))
    data = _CLASSES[data]
    is_kept = data != _NOTHING
    row_starts = np.concatenate([[0], np.cumsum(is_kept)])[row_starts]
    data = data[is_kept]
    is_word = data != _SEPARATOR
    changes = np.flatnonzero(np.diff(is_word, prepend=False, append=False))
    # From here on in the letters alone.
    before = np.concatenate([[0], np.cumsum(is_word)])
    letters = data[is_word].astype(np.uint64)
    token_starts, token_ends = before[changes[::2]], before[changes[1::2]]
    rows = before[row_starts]
    runs = RunHashes.of(letters)
    same = mixed(runs.hashes(rows[:-1], rows[1:]))
    starts = np.searchsorted(token_starts, rows)
    is_empty = rows[:-1] == rows[1:]
    if is_empty.any():
        signs, sign_starts = _joined(texts.filter(pl.Series(is_empty)))
        sign_runs = RunHashes.of(signs.astype(np.uint64))
        same[is_empty] = mixed(sign_runs.hashes(sign_starts[:-1], sign_starts[1:] - 1))
    return TokenTexts(same, starts[:-1], np.diff(starts), mixed(runs.hashes(token_starts, token_ends)))


def _canonical(texts: pl.Series) -> pl.Series:
    """Texts of which what follows makes the tokens; most are it already, those in ASCII without any noise."""
    text = pl.col("text")
    is_ascii = text.str.len_bytes() == text.str.len_chars()
    rows = texts.cast(pl.String).to_frame("text")
    kinds = rows.select(is_ascii=is_ascii, may_be_noisy=text.str.contains(_MAYBE_NOISE))
    noisy = kinds.select(pl.col("is_ascii") & pl.col("may_be_noisy")).to_series().arg_true()
    others = (~kinds["is_ascii"]).arg_true()
    plain = text.str.normalize("NFKC").str.replace_all(_NOISE, " ").str.replace_all(_APOSTROPHE, "")
    words = plain.str.to_lowercase().str.extract_all(_WORD).list.join(" ")
    found = rows["text"].scatter(noisy, rows[noisy].select(text.str.replace_all(_NOISE, " ")).to_series())
    return found.scatter(others, rows[others].select(words).to_series())


def _joined(texts: pl.Series) -> tuple[Any, Positions]:
    """The UTF-8 of all texts, a line end after each, and where each begins; after the last, where a next would."""
    data = np.frombuffer(f"{texts.str.join(chr(10)).item()}\n".encode(), np.uint8)
    return data, np.concatenate([[0], np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1)])


def _classes() -> Any:
    """For each byte the lower-case letter or digit, or what it is instead; beyond ASCII only words are left."""
    classes = np.full(256, _SEPARATOR, np.uint8)
    for first, last in ((b"0", b"9"), (b"a", b"z"), (b"\x80", b"\xff")):
        classes[first[0] : last[0] + 1] = np.arange(first[0], last[0] + 1)
    classes[ord("A") : ord("Z") + 1] = classes[ord("a") : ord("z") + 1]
    classes[[ord("'"), ord("`")]] = _NOTHING
    return classes


_CLASSES: Final = _classes()


@lru_cache(maxsize=1)
def _powers(number: int) -> tuple[Any, Any]:
    """The powers of the base, from 0 to `number` - 1, and what undoes each."""
    both = []
    for base in (_BASE, pow(_BASE, -1, 1 << _NUM_BITS)):
        factors = np.full(number, base, np.uint64)
        factors[0] = 1
        both.append(np.multiply.accumulate(factors))
    return both[0], both[1]
