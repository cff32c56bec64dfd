"""Which texts are, exactly or nearly, one of others: what a test split must not share with what is trained on.

Two texts are *near* if they read the same without case, punctuation, spaces, web addresses and user names, or if few
of their tokens (words, or single characters of scripts that are written without spaces) have to be inserted, removed
or replaced to turn one into the other. How few depends on the length: in a short text one word is the message.

Shingles with MinHash only estimate a similarity, and poorly for texts of a dozen words; so candidates are found by the
partition of Li, Deng, Wang and Feng ("Pass-Join: a partition-based method for similarity joins", VLDB 2011): if k
edits lead from one text to another, one of any k + 1 parts of the first stands in the other unchanged, at most k places
further. Of k + 2 parts two do, which far fewer texts share by chance. What shares two parts is verified by its edit
distance (rapidfuzz), so nothing is found that is not near, and nothing near is missed.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from ftzard.core.text_tokens import NUM_THREADS, Positions, RunHashes, TokenTexts, read_tokens

# The least number of tokens, of the shorter text, for one and for two edits.
_MIN_TOKENS: Final = {1: 6, 2: 8}
# One character stands for one token, so that an edit distance of tokens is one of characters.
_FIRST_CHARACTER: Final = 0x21
_SURROGATES: Final = range(0xD800, 0xE000)
_NUM_CHARACTERS: Final = 0x110000 - _FIRST_CHARACTER - len(_SURROGATES)
# At most so many tokens are searched, references of one candidate tried, and pairs compared at a time.
_NUM_TOKENS_AT_A_TIME: Final = 1 << 19
_NUM_REFERENCES_AT_A_TIME: Final = 64
_NUM_PAIRS_AT_A_TIME: Final = 1 << 18
# A table of so many bits of a key for each reference's says quickly of most keys that there are none.
_NUM_SPARE_BITS: Final = 4
_MAX_TABLE_BITS: Final = 26
_NUM_KEY_BITS: Final = 64
_SALTS: Final = tuple(np.array([3, 5, 7], np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1))

MAX_EDITS: Final = max(_MIN_TOKENS)
NEAR_SCHEMA: Final = pl.Schema({"candidate": pl.Int64, "reference": pl.Int64, "num_edits": pl.Int64})

Texts = pl.Series | TokenTexts
# Candidates, references and the edits between them, in three rows.
Found = np.ndarray[tuple[int, int], np.dtype[np.int64]]
_NONE: Final = np.zeros((3, 0), np.int64)


@dataclass(frozen=True)
class _Alignment:
    """Where two parts of a reference would stand in a candidate.

    Attributes:
        parts: Numbers of the parts, from 0.
        longer: By how many tokens the candidate is longer than the reference.
        shifts: By how many tokens each part is further right in the candidate.
    """

    parts: tuple[int, int]
    longer: int
    shifts: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Index:
    """References by the hashes of two of their parts: `keys` is sorted, `is_there` says which first bits occur."""

    keys: Any
    references: Any
    is_there: Any
    shift: np.uint64


def find_near(references: Texts, candidates: Texts, max_edits: int = MAX_EDITS) -> pl.DataFrame:
    """Find the candidates that are near one of the references.

    Args:
        references: Texts without null.
        candidates: Likewise.
        max_edits: Of tokens; 0: only what reads the same without case, punctuation and so on.

    Returns:
        `NEAR_SCHEMA`, sorted by `candidate`, which occurs once: the positions of it and of one reference that it is
        near, and the edits between them; 0 where they read the same. Which candidates are found does not depend on
        any order, which of several references is told does.
    """
    known, asked = (read_tokens(texts) if isinstance(texts, pl.Series) else texts for texts in (references, candidates))
    return _find(known, asked, max_edits, earlier_only=False)


def find_repeated(texts: Texts, max_edits: int = MAX_EDITS) -> pl.DataFrame:
    """Find the texts that are near an earlier one of the same series.

    Args:
        texts: Texts without null.
        max_edits: As for `find_near`.

    Returns:
        `NEAR_SCHEMA`, sorted by `candidate`, which occurs once: the positions of it and of one earlier text.
    """
    read = read_tokens(texts) if isinstance(texts, pl.Series) else texts
    return _find(read, read, max_edits, earlier_only=True)


def is_near(references: Texts, candidates: Texts, max_edits: int = MAX_EDITS) -> pl.Series:
    """Say of each candidate whether it is near one of the references."""
    found = find_near(references, candidates, max_edits)["candidate"]
    num_candidates = candidates.len() if isinstance(candidates, pl.Series) else len(candidates.same)
    return pl.Series("is_near", np.isin(np.arange(num_candidates), found.to_numpy()), dtype=pl.Boolean)


def _find(known: TokenTexts, asked: TokenTexts, max_edits: int, *, earlier_only: bool) -> pl.DataFrame:
    same = _same(known, asked)
    found = [same.filter(pl.col("reference") < pl.col("candidate")) if earlier_only else same]
    is_open = np.ones(len(asked.same), dtype=bool)
    for edits in range(1, max_edits + 1):
        is_open[found[-1]["candidate"].to_numpy()] = False
        found.append(_within(known, asked, is_open, edits, earlier_only=earlier_only))
    return pl.concat(found).sort("candidate")


def _same(known: TokenTexts, asked: TokenTexts) -> pl.DataFrame:
    first = pl.DataFrame({"same": known.same}).with_columns(reference=pl.int_range(pl.len()))
    first = first.unique("same", keep="first", maintain_order=True)
    rows = pl.DataFrame({"same": asked.same}).with_columns(candidate=pl.int_range(pl.len()))
    found = rows.join(first, on="same", how="inner")
    return found.select("candidate", "reference", pl.lit(0, pl.Int64).alias("num_edits"))


def _within(known: TokenTexts, asked: TokenTexts, is_open: Any, edits: int, *, earlier_only: bool) -> pl.DataFrame:
    """Those that `edits` edits lead to, or fewer, where both texts are long enough for so many."""
    rows = np.flatnonzero(is_open & (asked.lengths >= _MIN_TOKENS[edits]))
    long_known = np.flatnonzero(known.lengths >= _MIN_TOKENS[edits])
    if not len(rows) or not len(long_known):
        return NEAR_SCHEMA.to_frame()
    index = _index(known, long_known, edits)

    def search(some: Positions) -> Found:
        near = _near_in(index, known, asked.take(some).packed(), edits, some if earlier_only else None)
        return np.stack([some[near[0]], *near[1:]])

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = np.concatenate([_NONE, *pool.map(search, _pieces(rows, asked.lengths))], axis=1)
    return pl.DataFrame(dict(zip(NEAR_SCHEMA, found, strict=True)), schema=NEAR_SCHEMA)


def _near_in(index: _Index, known: TokenTexts, texts: TokenTexts, edits: int, before: Positions | None) -> Found:
    """The texts that are near a reference; `before`, if given, says before which position it has to stand for each."""
    windows, is_open, found = _Windows(texts, edits), np.ones(len(texts.same), dtype=bool), [_NONE]
    for alignment in _alignments(edits):
        keys, is_inside = windows.keys(alignment)
        rows = np.flatnonzero(is_inside & is_open & index.is_there[keys >> index.shift])
        if len(rows):
            found.append(_verified(index, known, texts, keys[rows], rows, edits, before))
            is_open[found[-1][0]] = False
    return np.concatenate(found, axis=1)


def _pieces(rows: Positions, lengths: Positions) -> Iterator[Positions]:
    """Rows in pieces of not too many tokens."""
    pieces = np.cumsum(lengths[rows]) // _NUM_TOKENS_AT_A_TIME
    yield from np.split(rows, np.flatnonzero(np.diff(pieces)) + 1)


def _alignments(edits: int) -> list[_Alignment]:
    """Where two unchanged parts can stand: before, between and after them are as many parts as there are edits.

    A part that is changed once shifts what follows by one token at most, so each stretch by as many as it has parts.
    """
    num_parts, found = edits + 2, []
    for one in range(num_parts):
        for other in range(one + 1, num_parts):
            before, between, after = one, other - one - 1, num_parts - other - 1
            found += [
                _Alignment((one, other), first + second + third, (first, first + second))
                for first in range(-before, before + 1)
                for second in range(-between, between + 1)
                for third in range(-after, after + 1)
            ]
    return sorted(found, key=lambda alignment: (abs(alignment.longer), *map(abs, alignment.shifts)))


def _index(known: TokenTexts, rows: Positions, edits: int) -> _Index:
    unshifted = [alignment for alignment in _alignments(edits) if alignment.longer == 0 and not any(alignment.shifts)]

    def keys(some: Positions) -> Any:
        windows = _Windows(known.take(some).packed(), edits)
        return np.concatenate([windows.keys(alignment)[0] for alignment in unshifted])

    pieces = list(_pieces(rows, known.lengths))
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        all_keys = np.concatenate(list(pool.map(keys, pieces)))
    num_bits = min(_MAX_TABLE_BITS, len(all_keys).bit_length() + _NUM_SPARE_BITS)
    shift = np.uint64(_NUM_KEY_BITS - num_bits)
    # This and the following are most of what a search takes of memory, so that nothing is kept longer than needed.
    is_there = np.zeros(1 << num_bits, dtype=bool)
    for some in np.array_split(all_keys, len(pieces)):
        is_there[some >> shift] = True
    order = np.argsort(all_keys)
    all_keys = all_keys[order]
    references = np.concatenate([np.tile(some.astype(np.int32), len(unshifted)) for some in pieces])[order]
    return _Index(all_keys, references, is_there, shift)


class _Windows:
    """The hashes of where parts of references would stand in texts, each made once."""

    def __init__(self, texts: TokenTexts, edits: int) -> None:
        self._starts, self._lengths, self._runs = texts.starts, texts.lengths, RunHashes.of(texts.tokens)
        self._num_parts, self._min_tokens = edits + 2, _MIN_TOKENS[edits]
        self._made: dict[tuple[int, int, int], tuple[Any, Any]] = {}

    def keys(self, alignment: _Alignment) -> tuple[Any, Any]:
        """For each text the key of the references that would be aligned so, and whether the parts are inside of it."""
        windows = [
            self._window(part, alignment.longer, shift)
            for part, shift in zip(alignment.parts, alignment.shifts, strict=True)
        ]
        (one, is_one_inside), (other, is_other_inside) = windows
        kind = np.uint64(alignment.parts[0] * self._num_parts + alignment.parts[1])
        lengths = (self._lengths - alignment.longer).astype(np.uint64)
        return lengths * _SALTS[0] + one * _SALTS[1] + other * _SALTS[2] + kind, is_one_inside & is_other_inside

    def _window(self, part: int, longer: int, shift: int) -> tuple[Any, Any]:
        if (part, longer, shift) not in self._made:
            length = self._lengths - longer
            start, size = _part_start_and_length(length, part, self._num_parts)
            start += shift
            is_inside = (length >= self._min_tokens) & (start >= 0) & (start + size <= self._lengths)
            first = np.where(is_inside, self._starts + start, 0)
            hashes = self._runs.hashes(first, np.where(is_inside, first + size, 0))
            self._made[part, longer, shift] = hashes, is_inside
        return self._made[part, longer, shift]


def _part_start_and_length(length: Positions, part: int, num_parts: int) -> tuple[Any, Any]:
    """Of one of nearly equal parts of a text of `length` tokens; the last ones are the longer ones."""
    least, num_longer = np.divmod(length, num_parts)
    before = np.maximum(part - (num_parts - num_longer), 0)
    return least * part + before, least + (part >= num_parts - num_longer)


def _verified(
    index: _Index,
    known: TokenTexts,
    texts: TokenTexts,
    keys: Any,
    rows: Positions,
    edits: int,
    before: Positions | None,
) -> Found:
    """The texts that share two parts with a reference and are near it.

    Where many references share them, as those of one form do, they are tried a few at a time, and who is found to be
    near one of them is not tried again.
    """
    first, last = np.searchsorted(index.keys, keys), np.searchsorted(index.keys, keys, side="right")
    found = [_NONE]
    while (is_open := first < last).any():
        first, last, rows = first[is_open], last[is_open], rows[is_open]
        counts = np.minimum(last - first, _NUM_REFERENCES_AT_A_TIME)
        places = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        pairs = np.stack([np.repeat(rows, counts), index.references[places].astype(np.int64)])
        if before is not None:
            pairs = pairs[:, pairs[1] < before[pairs[0]]]
        pieces = range(0, pairs.shape[1], _NUM_PAIRS_AT_A_TIME)
        near = [_near(pairs[:, start : start + _NUM_PAIRS_AT_A_TIME], known, texts, edits) for start in pieces]
        found.append(_first_of_each(np.concatenate([_NONE, *near], axis=1)))
        first = np.where(np.isin(rows, found[-1][0]), last, first + counts)
    return np.concatenate(found, axis=1)


def _near(pairs: Any, known: TokenTexts, texts: TokenTexts, edits: int) -> Found:
    """The pairs that are near, and the edits between them."""
    # First without telling all tokens apart, which makes two texts nearer at most, and rules most pairs out quickly.
    near = _at_most(edits, pairs, known, texts, lambda tokens: tokens)
    return _at_most(edits, near[:2], known, texts, lambda tokens: np.unique(tokens, return_inverse=True)[1])


def _at_most(edits: int, pairs: Any, known: TokenTexts, texts: TokenTexts, numbered: Callable[[Any], Any]) -> Found:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    if not pairs.size:
        return _NONE
    rows, row_places = np.unique(pairs[0], return_inverse=True)
    others, other_places = np.unique(pairs[1], return_inverse=True)
    some = [texts.take(rows).packed(), known.take(others).packed()]
    codes = np.array(_codes(numbered(np.concatenate([part.tokens for part in some])), some), dtype=object)
    one, other = codes[row_places].tolist(), codes[len(rows) + other_places].tolist()
    distances = cpdist(one, other, scorer=Levenshtein.distance, score_cutoff=edits, dtype=np.int64)
    return np.concatenate([pairs, distances[None]])[:, distances <= edits]


def _first_of_each(near: Found) -> Found:
    """For each candidate the nearest reference, and of several the first."""
    near = near[:, np.lexsort((near[1], near[2], near[0]))]
    return near[:, np.unique(near[0], return_index=True)[1]]


def _codes(numbers: Any, several: Sequence[TokenTexts]) -> list[str]:
    """A string for each text with a character for each token; beyond Unicode's million numbers, some share one."""
    points = (numbers % _NUM_CHARACTERS).astype(np.int64) + _FIRST_CHARACTER
    points = np.where(points < _SURROGATES.start, points, points + len(_SURROGATES))
    everything = points.astype("<u4").tobytes().decode("utf-32-le")
    ends = np.cumsum(np.concatenate([texts.lengths for texts in several])).tolist()
    return [everything[start:end] for start, end in zip([0, *ends], ends, strict=False)]
