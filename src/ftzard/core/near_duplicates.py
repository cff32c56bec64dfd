"""Which texts are, exactly or nearly, one of others: what a test split must not share with what is trained on.

Two texts are *near* if they read the same without case, punctuation, spaces, web addresses and user names, or if few
of their tokens (words, or single characters of scripts that are written without spaces) have to be inserted, removed
or replaced to turn one into the other. How few depends on the length: in a short text one word is the message.

Shingles with MinHash only estimate a similarity, and poorly for texts of a dozen words. Candidates are the texts that
share three of their rarest tokens and differ in few bits (`ftzard.core.text_sketches`), which whatever is near does.
They are verified by their edit distance (rapidfuzz), so nothing is found that is not near, and nothing near is missed.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import polars as pl

from ftzard.core.text_sketches import MAX_EDITS, MIN_TOKENS, Sketches, sketch
from ftzard.core.text_tokens import NUM_THREADS, Numbers, Positions, read_tokens

# The least number of tokens, of the shorter text, for as many edits as are looked for at most.
_MIN_TOKENS_OF_MOST: Final = 8
# One character stands for one token, so that an edit distance of tokens is one of characters.
_FIRST_CHARACTER: Final = 0x21
_SURROGATES: Final = range(0xD800, 0xE000)
_NUM_CHARACTERS: Final = 0x110000 - _FIRST_CHARACTER - len(_SURROGATES)
# At most so many texts are looked up, references of a key tried (twice as many each time), and pairs compared at once.
_NUM_ROWS_AT_A_TIME: Final = 1 << 15
_NUM_REFERENCES_AT_A_TIME: Final = 8
_NUM_PAIRS_AT_A_TIME: Final = 1 << 18
# A table of so many bits of a key for each one's says quickly of most keys that there are none.
_NUM_SPARE_BITS: Final = 3
_MIN_TABLE_BITS: Final = 8
_MAX_TABLE_BITS: Final = 26
_NUM_KEY_BITS: Final = 32
_HALF: Final = np.uint64(32)
_ROW_MASK: Final = np.uint64((1 << 32) - 1)

NEAR_SCHEMA: Final = pl.Schema({"candidate": pl.Int64, "reference": pl.Int64, "num_edits": pl.Int64})

Texts = pl.Series | Sketches
# Candidates, references and the edits between them, in three rows.
Found = np.ndarray[tuple[int, int], np.dtype[np.int64]]
_NONE: Final = np.zeros((3, 0), np.int64)


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
    if not len(references) or not len(candidates):
        # Nothing is near nothing, and the sketches of a million texts take a second.
        return NEAR_SCHEMA.to_frame()
    return _find(*_sketched(references, candidates), range(1, max_edits + 1))


def find_repeated(texts: Texts, max_edits: int = MAX_EDITS) -> pl.DataFrame:
    """Find the texts that are near an earlier one of the same series.

    Args:
        texts: Texts without null.
        max_edits: As for `find_near`.

    Returns:
        `NEAR_SCHEMA`, sorted by `candidate`, which occurs once: the positions of it and of one earlier text.
    """
    sketches = _sketched(texts, texts)[0]
    return _find(sketches, sketches, range(1, max_edits + 1), earlier_only=True)


def is_near(references: Texts, candidates: Texts, max_edits: int = MAX_EDITS) -> pl.Series:
    """Say of each candidate whether it is near one of the references."""
    known, asked = _sketched(references, candidates)
    # Which reference it is makes no difference here, nor by how many edits, so all are looked for at once.
    found = _find(known, asked, range(max_edits, max_edits + 1) if max_edits else ())["candidate"]
    return pl.Series("is_near", np.isin(np.arange(len(asked)), found.to_numpy()), dtype=pl.Boolean)


def _sketched(references: Texts, candidates: Texts) -> tuple[Sketches, Sketches]:
    """Sketches of one order."""
    asked = sketch(candidates) if isinstance(candidates, pl.Series) else candidates
    if references is candidates:
        return asked, asked
    if isinstance(references, pl.Series):
        return sketch(references, asked.order), asked
    if references.order is not asked.order:
        return sketch(references.text(np.arange(len(references))), asked.order), asked
    return references, asked


def _find(known: Sketches, asked: Sketches, all_edits: Sequence[int], *, earlier_only: bool = False) -> pl.DataFrame:
    same = _same(known, asked)
    found = [same.filter(pl.col("reference") < pl.col("candidate")) if earlier_only else same]
    is_open = np.ones(len(asked), dtype=bool)
    for edits in all_edits:
        is_open[found[-1]["candidate"].to_numpy()] = False
        found.append(_within(known, asked, is_open, edits, earlier_only=earlier_only))
    return pl.concat(found).sort("candidate")


def _same(known: Sketches, asked: Sketches) -> pl.DataFrame:
    """Those that read the same as a reference, with the first of these."""
    texts = pl.LazyFrame({"same": asked.same}).with_row_index("candidate")
    references = pl.LazyFrame({"same": known.same}).with_row_index("reference")
    # Few references have one, and only of those the first is looked for.
    first = references.join(texts, on="same", how="semi").group_by("same").agg(pl.col("reference").min())
    found = texts.join(first, on="same", maintain_order="left").with_columns(num_edits=0)
    return found.select(NEAR_SCHEMA.names()).cast(NEAR_SCHEMA).collect()


def _within(known: Sketches, asked: Sketches, is_open: Any, edits: int, *, earlier_only: bool) -> pl.DataFrame:
    """Those that `edits` edits lead to, or fewer, where the shorter text is long enough for so many."""
    rows = np.flatnonzero(is_open & (asked.lengths >= MIN_TOKENS))
    index = _index(known, asked, rows)
    probes = _probes(index, asked, rows)
    references, candidates = (index & _ROW_MASK).astype(np.int64), (probes & _ROW_MASK).astype(np.int64)
    first = np.searchsorted(index, probes & ~_ROW_MASK)
    last = np.searchsorted(index, probes) if earlier_only else np.searchsorted(index, probes | _ROW_MASK, side="right")
    # Side by side, because looking up the bits of each pair would be most of the work.
    bits = known.bits(references)
    is_open, found, at_a_time = is_open.copy(), [_NONE], _NUM_REFERENCES_AT_A_TIME

    def search(piece: slice) -> Found:
        counts = np.minimum(last[piece] - first[piece], at_a_time)
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(first[piece] - ends + counts, counts)
        differing = np.bitwise_count(np.repeat(asked.bits(candidates[piece]), counts) ^ bits[places])
        likely = np.flatnonzero(differing <= 2 * edits)
        owners = np.searchsorted(ends, likely, side="right")
        pairs = np.stack([candidates[piece][owners], references[places[likely]]])
        return _near(_distinct(pairs, known, asked, edits), known, asked, edits)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        while (left := (first < last) & is_open[candidates]).any():
            first, last, candidates = first[left], last[left], candidates[left]
            near = pool.map(search, _pieces(np.minimum(last - first, at_a_time)))
            found.append(_first_of_each(np.concatenate([_NONE, *near], axis=1)))
            is_open[found[-1][0]] = False
            first, at_a_time = first + at_a_time, at_a_time * 2
    return pl.DataFrame(dict(zip(NEAR_SCHEMA, np.concatenate(found, axis=1), strict=True)), schema=NEAR_SCHEMA)


def _index(known: Sketches, asked: Sketches, rows: Positions) -> Numbers:
    """The keys of the references that may be asked for, sorted, each with its reference in the lower half."""
    wanted = _Filter(asked.table.keys.shape[1] * len(rows))
    for some in _in_turn(rows):
        wanted.add(asked.keys(some))
    return wanted.keys_of(known, np.flatnonzero(known.lengths >= MIN_TOKENS))


def _probes(index: Numbers, asked: Sketches, rows: Positions) -> Numbers:
    """The keys that may be in the index, likewise."""
    there = _Filter(len(index))
    for some in _in_turn(index):
        there.add((some >> _HALF).astype(np.uint32))
    return there.keys_of(asked, rows)


class _Filter:
    """Says of most keys that are not among others that they are not."""

    def __init__(self, num_keys: int) -> None:
        num_bits = max(_MIN_TABLE_BITS, min(_MAX_TABLE_BITS, num_keys.bit_length() + _NUM_SPARE_BITS))
        self._shift = np.uint32(_NUM_KEY_BITS - num_bits)
        self._is_there = np.zeros(1 << num_bits, dtype=bool)

    def add(self, keys: Any) -> None:
        self._is_there[keys >> self._shift] = True

    def keys_of(self, sketches: Sketches, rows: Positions) -> Numbers:
        """Those keys of some texts that may be there, sorted, each before the text's number."""

        def find(some: Positions) -> Numbers:
            keys = sketches.keys(some)
            places, columns = np.nonzero(self._is_there[keys >> self._shift])
            found: Numbers = (keys[places, columns].astype(np.uint64) << _HALF) | some[places].astype(np.uint64)
            return found

        with ThreadPoolExecutor(NUM_THREADS) as pool:
            keys = np.concatenate([np.zeros(0, np.uint64), *pool.map(find, _in_turn(rows))])
        keys.sort()
        return keys


def _in_turn(rows: Any) -> Iterator[Any]:
    """Some after the other, so that what is looked up takes little memory."""
    return (rows[start : start + _NUM_ROWS_AT_A_TIME] for start in range(0, len(rows), _NUM_ROWS_AT_A_TIME))


def _pieces(counts: Positions) -> Iterator[slice]:
    """Where to cut, so that the pieces have not too many pairs."""
    pieces = np.cumsum(counts) // _NUM_PAIRS_AT_A_TIME
    ends = [*(np.flatnonzero(np.diff(pieces)) + 1).tolist(), len(counts)]
    return (slice(start, end) for start, end in zip([0, *ends], ends, strict=False))


def _distinct(pairs: Any, known: Sketches, asked: Sketches, edits: int) -> Any:
    """The pairs, each once, but those of too different lengths."""
    longer = asked.lengths[pairs[0]] - known.lengths[pairs[1]]
    pairs = pairs[:, np.abs(longer) <= edits].astype(np.uint64)
    pairs = np.unique((pairs[0] << _HALF) | pairs[1])
    return np.stack([pairs >> _HALF, pairs & _ROW_MASK]).astype(np.int64)


def _near(pairs: Any, known: Sketches, asked: Sketches, edits: int) -> Found:
    """The pairs that are near, and the edits between them."""
    if not pairs.size:
        return _NONE
    rows, row_places = np.unique(pairs[0], return_inverse=True)
    others, other_places = np.unique(pairs[1], return_inverse=True)
    read = read_tokens(pl.concat([asked.text(rows), known.text(others)], rechunk=True))
    places, distances = np.stack([row_places, other_places + len(rows)]), np.zeros(0, np.int64)
    # First without telling all tokens apart, which makes two texts nearer at most, and rules most pairs out quickly.
    for numbers in (lambda: read.tokens, lambda: np.unique(read.tokens, return_inverse=True)[1]):
        distances = _distances(_codes(numbers(), read.lengths), places, edits)
        is_near = distances <= edits
        pairs, places, distances = pairs[:, is_near], places[:, is_near], distances[is_near]
    shorter = read.lengths[places].min(axis=0)
    return np.concatenate([pairs, distances[None]])[:, (distances < MAX_EDITS) | (shorter >= _MIN_TOKENS_OF_MOST)]


def _distances(codes: Sequence[str], places: Any, edits: int) -> Any:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    one, other = np.array(codes, dtype=object)[places].tolist()
    return cpdist(one, other, scorer=Levenshtein.distance, score_cutoff=edits, dtype=np.int64)


def _first_of_each(near: Found) -> Found:
    """For each candidate the nearest reference, and of several the first."""
    near = near[:, np.lexsort((near[1], near[2], near[0]))]
    return near[:, np.unique(near[0], return_index=True)[1]]


def _codes(numbers: Any, lengths: Positions) -> list[str]:
    """A string for each text with a character for each token; beyond Unicode's million numbers, some share one."""
    points = (numbers % _NUM_CHARACTERS).astype(np.int64) + _FIRST_CHARACTER
    points = np.where(points < _SURROGATES.start, points, points + len(_SURROGATES))
    everything = points.astype("<u4").tobytes().decode("utf-32-le")
    ends = np.cumsum(lengths).tolist()
    return [everything[start:end] for start, end in zip([0, *ends], ends, strict=False)]
