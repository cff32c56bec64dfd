"""What of a text says quickly that it is not near another: the rarest of its tokens, and a bit for each of them.

Texts that k edits of tokens lead to have all but k of their tokens in common. So if all tokens stand in one order,
whatever that is, the first k + 3 of the one and the first k + 3 of the other have three in common (prefix filtering:
Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity joins in data cleaning", ICDE 2006; with more than
one token in common: Wang, Li and Feng, "Can we beat the prefix filtering?", SIGMOD 2012). With the rarest tokens first,
far fewer texts share three by chance. And where the bits of the tokens, each turned over once for each time that it
occurs, differ in more than 2 k places, there are more than k edits.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import polars as pl

from ftzard.core.text_tokens import NUM_THREADS, Numbers, Positions, mixed, read_short_tokens

# Shorter texts are near to equal ones only.
MIN_TOKENS: Final = 6
MAX_EDITS: Final = 2
_NUM_SHARED: Final = 3
_NUM_RAREST: Final = MAX_EDITS + _NUM_SHARED
_SHARED: Final = tuple(combinations(range(_NUM_RAREST), _NUM_SHARED))
# Where a text has more tokens, those are not sorted for the sake of the first ones.
_MAX_SORTED: Final = 64
_NUM_ROWS_AT_A_TIME, _NUM_TOKENS_AT_A_TIME = 1 << 15, 1 << 17
# Tokens are counted by their first bits, of many a sample: an order that is nearly that of rarity is as right.
_MAX_COUNTED: Final = 1 << 20
_MAX_TABLE_BITS: Final = 21
_NUM_SPARE_BITS: Final = 1
# How often, in levels that take a byte, so that all of them stay at hand: 8 from a number to twice as much.
_NUM_LEVELS_OF_TWICE: Final = 8
_NUM_HASH_BITS: Final = 64
# Of a token and of a key: should two share them, they are taken for one until the texts are compared.
_NUM_KEY_BITS: Final = 32
_BIT_MASK: Final = np.uint32(_NUM_HASH_BITS - 1)
_ONE: Final = np.uint64(1)
_SALTS: Final = tuple(np.array([3, 5, 7], np.uint64) * np.uint64(0x9E3779B97F4A7C15) | _ONE)


@dataclass(frozen=True, eq=False)
class _Table:
    """The sketches of all texts that were read together: what `Sketches` says of some of them."""

    texts: pl.Series
    same: Numbers
    lengths: Any
    keys: Any
    bits: Numbers
    order: Any


@dataclass(frozen=True, eq=False)
class Sketches:
    """What of texts is compared first.

    Attributes:
        table: These texts and, where they are some of others, those.
        rows: Which of those these are.
    """

    table: _Table
    rows: Positions

    def __len__(self) -> int:
        """How many texts these are."""
        return len(self.rows)

    @property
    def same(self) -> Numbers:
        """As of `TokenTexts`."""
        return self.table.same[self.rows]

    @property
    def lengths(self) -> Any:
        """As of `TokenTexts`."""
        return self.table.lengths[self.rows]

    @property
    def order(self) -> Any:
        """What begins the order of a token, by its first bits; only sketches with one order can be compared."""
        return self.table.order

    def keys(self, places: Positions) -> Any:
        """Of some of the texts, shape (texts, 10), 32 bits: each three of the rarest tokens, if there are enough."""
        return self.table.keys[self.rows[places]]

    def bits(self, places: Positions) -> Numbers:
        """Of some of the texts, 64 bits, each turned over as often as tokens occur that it stands for."""
        return self.table.bits[self.rows[places]]

    def take(self, places: Positions) -> "Sketches":
        """Some of the texts, in the given order; nothing but their places is copied."""
        return Sketches(self.table, self.rows[places])

    def text(self, places: Positions) -> pl.Series:
        """Some of the texts themselves; their tokens are read again where they matter."""
        return self.table.texts[self.rows[places]]


def sketch(texts: pl.Series, order: Any = None) -> Sketches:
    """Make sketches.

    Args:
        texts: Without null.
        order: That of other sketches, which these shall be compared with; None: by how often tokens occur in these.
    """
    read = read_short_tokens(texts)
    order = _order_of(read.tokens) if order is None else order
    starts = np.cumsum(read.lengths) - read.lengths
    keys, bits = np.zeros((texts.len(), len(_SHARED)), np.uint32), np.zeros(texts.len(), np.uint64)

    def fill(rows: Positions) -> None:
        tokens = read.tokens[starts[rows][:, None] + np.arange(read.lengths[rows[0]])]
        bits[rows] = np.bitwise_xor.reduce(_ONE << (tokens & _BIT_MASK).astype(np.uint64), axis=1)
        levels = order[tokens >> _shift(order)].astype(np.uint64)
        keys[rows] = _keys((levels << np.uint64(_NUM_KEY_BITS)) | tokens)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(fill, _of_one_length(read.lengths)))
    table = _Table(texts, read.same, read.lengths.astype(np.int32), keys, bits, order)
    return Sketches(table, np.arange(texts.len()))


def _order_of(tokens: Any) -> Any:
    num_bits = min(_MAX_TABLE_BITS, len(tokens).bit_length() + _NUM_SPARE_BITS)
    sample = tokens[:: 1 + len(tokens) // _MAX_COUNTED] >> np.uint32(_NUM_KEY_BITS - num_bits)
    counts = np.bincount(sample.astype(np.int64), minlength=1 << num_bits)
    return np.round(_NUM_LEVELS_OF_TWICE * np.log2(counts + 1)).astype(np.uint8)


def _shift(order: Any) -> np.uint32:
    return np.uint32(_NUM_KEY_BITS + 1 - len(order).bit_length())


def _of_one_length(lengths: Positions) -> Iterator[Positions]:
    """The texts that are long enough, in pieces of one length, neighbours together, and not too many tokens."""
    all_rows = np.flatnonzero(lengths >= MIN_TOKENS)
    for neighbours in np.split(all_rows, range(_NUM_ROWS_AT_A_TIME, len(all_rows), _NUM_ROWS_AT_A_TIME)):
        rows = neighbours[np.argsort(lengths[neighbours], kind="stable")]
        for some in np.split(rows, np.flatnonzero(np.diff(lengths[rows])) + 1):
            if len(some):
                at_a_time = max(1, _NUM_TOKENS_AT_A_TIME // int(lengths[some[0]]))
                yield from np.split(some, range(at_a_time, len(some), at_a_time))


def _keys(ordered: Any) -> Any:
    """For each row the keys of all threes of its first tokens."""
    if ordered.shape[1] > _MAX_SORTED:
        ordered = np.partition(ordered, _NUM_RAREST - 1, axis=1)[:, :_NUM_RAREST]
    first = mixed(np.sort(ordered, axis=1)[:, :_NUM_RAREST].T)
    salted = [[one * salt for one in first] for salt in _SALTS]
    keys = [salted[0][one] + salted[1][two] + salted[2][three] for one, two, three in _SHARED]
    return (np.stack(keys, axis=1) >> np.uint64(_NUM_HASH_BITS - _NUM_KEY_BITS)).astype(np.uint32)
