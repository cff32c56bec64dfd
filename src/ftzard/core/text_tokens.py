"""Texts as rows of tokens, each a number: what texts are compared by, and a million of them in seconds.

A token is a word without case and apostrophes, or a single character of a script that is written without spaces; web
addresses and user names are none. Tokens are told apart by hashes of 64 bits, those of up to eight letters without any
collision. Should two others ever collide, two texts count as near that are not, never the other way round.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

# What makes no difference. `http` is what the cleaning step `replace_urls` leaves of an address.
_NOISE: Final = r"(?i)(?:https?://|\bwww\.)\S+|\bhttp\b|@+\w+"
# What begins it, as numbers of four bytes and of two; what separates words is a zero.
_HTTP, _WWW, _WW = (int.from_bytes(start, "little") for start in (b"http", b"www\0", b"ww"))
_NUM_HTTP_LETTERS: Final = 4
_AT, _FIRST_BEYOND_ASCII = ord("@"), 0x80
_APOSTROPHE: Final = r"['\x{2019}`]"
_WORD: Final = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|[\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)
_SEPARATOR, _NOTHING = 0, 1
_NO_LETTERS: Final = bytes([_SEPARATOR, _NOTHING])
_NUM_ROWS_AT_ONCE: Final = 16_384
# Numpy and polars let others work while they do.
NUM_THREADS: Final = min(4, os.cpu_count() or 1)
# Bytes are hashed in words of so many, of which the first few or all count.
_WORD_BYTES: Final = 8
_NUM_SHORT_BITS: Final = 32
_MASKS: Final = np.array([(1 << (8 * number)) - 1 for number in range(_WORD_BYTES + 1)], np.uint64)
_SIDE: Final = bytes(_WORD_BYTES)
# The golden ratio's.
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
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
        lengths: The number of tokens of each text.
        tokens: The hashes of the tokens, one text after the other.
    """

    same: Numbers
    lengths: Positions
    tokens: Any

    @classmethod
    def joined(cls, parts: Sequence["TokenTexts"], dtype: type[np.unsignedinteger[Any]]) -> "TokenTexts":
        """All texts of several; the dtype is that of the tokens."""
        return cls(
            np.concatenate([np.zeros(0, np.uint64), *(part.same for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]),
            np.concatenate([np.zeros(0, dtype), *(part.tokens for part in parts)]),
        )


def read_tokens(texts: pl.Series) -> TokenTexts:
    """Read texts without null."""
    return TokenTexts.joined([_read(piece) for piece in _pieces(texts)], np.uint64)


def read_short_tokens(texts: pl.Series) -> TokenTexts:
    """Read many texts without null, of whose tokens half of the hash is enough."""

    def read(piece: pl.Series) -> TokenTexts:
        found = _read(piece)
        return replace(found, tokens=(found.tokens >> np.uint64(_NUM_SHORT_BITS)).astype(np.uint32))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return TokenTexts.joined(list(pool.map(read, _pieces(texts))), np.uint32)


def mixed(numbers: Any) -> Any:
    """Spread what differs over all bits."""
    for shift, factor in _MIXING:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(_LAST_SHIFT))


def _pieces(texts: pl.Series) -> Iterator[pl.Series]:
    return (texts.slice(start, _NUM_ROWS_AT_ONCE) for start in range(0, texts.len(), _NUM_ROWS_AT_ONCE))


def _read(texts: pl.Series) -> TokenTexts:
    texts = texts.cast(pl.String)
    data, row_starts = _joined(texts)
    lower = _lower(data)
    if (odd := _odd(data, lower, row_starts)).size:
        data, row_starts = _joined(texts.clone().scatter(odd, _canonical(texts[odd])))
        lower = _lower(data)
    # The sides, too, are none of the texts.
    row_starts += len(_SIDE)
    if (gone := np.flatnonzero(np.frombuffer(lower, np.uint8) == _NOTHING)).size:
        lower = lower.replace(bytes([_NOTHING]), b"")
        row_starts -= np.searchsorted(gone, row_starts)
    classes = np.frombuffer(lower, np.uint8)
    is_word = classes != _SEPARATOR
    changes = np.flatnonzero(is_word[1:] != is_word[:-1]) + 1
    token_starts, token_lengths = changes[::2], changes[1::2] - changes[::2]
    starts = np.searchsorted(token_starts, row_starts)
    # In the letters alone.
    rows = np.concatenate([[0], np.cumsum(token_lengths)])[starts]
    same = _hashes_of_rows(lower.translate(None, _NO_LETTERS), rows)
    is_empty = rows[:-1] == rows[1:]
    if is_empty.any():
        signs, sign_starts = _joined(texts.filter(pl.Series(is_empty)))
        # With the line end, which no row of letters has.
        same[is_empty] = _hashes_of_rows(signs, sign_starts)
    return TokenTexts(same, np.diff(starts), _hashes(lower, token_starts, token_lengths))


def _hashes_of_rows(data: bytes, ends: Positions) -> Any:
    """The hashes of one row after the other, the first of which begins at the first of the ends."""
    import pyarrow as pa

    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
    rows = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends) - 1, buffers)
    return pl.Series(rows).hash().to_numpy(writable=True)


def _hashes(data: bytes, starts: Positions, lengths: Positions) -> Any:
    """The hashes of runs of bytes, of which none ends with zeros: sums over their words of eight bytes, each mixed."""
    data = b"".join([data, _SIDE])
    words = np.ndarray((len(data) - _WORD_BYTES + 1,), "<u8", data, 0, (1,))
    hashes = mixed((words[starts] & _MASKS[np.minimum(lengths, _WORD_BYTES)]) + _BASE)
    longer = np.flatnonzero(lengths > _WORD_BYTES)
    if not longer.size:
        return hashes
    counts = (lengths[longer] - 1) // _WORD_BYTES
    ends = np.cumsum(counts)
    places = np.arange(1, ends[-1] + 1) - np.repeat(ends - counts, counts)
    left = np.minimum(np.repeat(lengths[longer], counts) - _WORD_BYTES * places, _WORD_BYTES)
    further = words[np.repeat(starts[longer], counts) + _WORD_BYTES * places] & _MASKS[left]
    further = mixed(further + (places + 1).astype(np.uint64) * _BASE)
    hashes[longer] += np.add.reduceat(further, ends - counts)
    return hashes


def _odd(data: bytes, lower: bytes, row_starts: Positions) -> Positions:
    """The texts in which more than ASCII's letters, digits and signs may matter: noise, and all other characters."""
    num_bytes = len(data)
    # From here on as long as the sides allow what comes later to be looked at.
    classes = np.frombuffer(lower, np.uint8)[len(_SIDE) :]
    pairs = np.ndarray((num_bytes,), "<u2", lower, len(_SIDE), (1,))
    fours = np.ndarray((num_bytes,), "<u4", lower, len(_SIDE), (1,))
    http = np.flatnonzero(fours == _HTTP)
    # A word that only begins so is none: what comes next is no letter, or an s and then none.
    ends = classes[http + _NUM_HTTP_LETTERS]
    next_ends = np.where(ends == ord("s"), classes[http + _NUM_HTTP_LETTERS + 1], ends)
    www = np.flatnonzero(pairs == _WW)
    found = [http[next_ends <= _NOTHING], www[fours[www] == _WWW]]
    if not data.isascii() or b"@" in data:
        characters = np.frombuffer(data, np.uint8)
        found += [np.flatnonzero(characters == _AT), np.flatnonzero(characters >= _FIRST_BEYOND_ASCII)]
    return np.unique(np.searchsorted(row_starts, np.concatenate(found), side="right") - 1)


def _canonical(texts: pl.Series) -> pl.Series:
    """Texts of which what follows makes the tokens."""
    text, rows = pl.col("text"), texts.to_frame("text")
    is_ascii = rows.select(text.str.len_bytes() == text.str.len_chars()).to_series()
    plain = text.str.normalize("NFKC").str.replace_all(_NOISE, " ").str.replace_all(_APOSTROPHE, "")
    words = plain.str.to_lowercase().str.extract_all(_WORD).list.join(" ")
    found = rows.filter(is_ascii).select(text.str.replace_all(_NOISE, " ")), rows.filter(~is_ascii).select(words)
    places = pl.concat([is_ascii.arg_true(), (~is_ascii).arg_true()])
    return pl.concat(found).to_series()[places.arg_sort()]


def _joined(texts: pl.Series) -> tuple[bytes, Positions]:
    """The UTF-8 of all texts, a line end after each, and where each begins; after the last, where a next would."""
    data = texts.str.join(chr(10)).cast(pl.Binary).item() + b"\n"
    return data, np.concatenate([[0], np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1)])


def _lower(data: bytes) -> bytes:
    """The class of each byte, with what is none on both sides: something is to the left and to the right of each."""
    return b"".join([_SIDE, data.translate(_CLASSES), _SIDE])


def _classes() -> bytes:
    """For each byte the lower-case letter or digit, or what it is instead; beyond ASCII only words are left."""
    classes = np.full(256, _SEPARATOR, np.uint8)
    for first, last in ((b"0", b"9"), (b"a", b"z"), (b"\x80", b"\xff")):
        classes[first[0] : last[0] + 1] = np.arange(first[0], last[0] + 1)
    classes[ord("A") : ord("Z") + 1] = classes[ord("a") : ord("z") + 1]
    classes[[ord("'"), ord("`")]] = _NOTHING
    return classes.tobytes()


_CLASSES: Final = _classes()
