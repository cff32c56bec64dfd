"""Which texts are, exactly or nearly, one of others: what a test split must not share with what is trained on.

Two texts are *near* if they read the same without case, punctuation, spaces, web addresses and user names, or if few
of their tokens (words, or single characters of scripts that are written without spaces) have to be inserted, removed
or replaced to turn one into the other. How few depends on the length: in a short text one word is the message.

Shingles with MinHash only estimate a similarity, and poorly for texts of a dozen words; so candidates are found by the
partition of Li, Deng, Wang and Feng ("Pass-Join: a partition-based method for similarity joins", VLDB 2011): if k
edits lead from one text to another, one of any k + 1 parts of the first stands in the other unchanged, at most k places
further. What shares a part is then verified by its edit distance (rapidfuzz), so nothing is found that is not near,
and nothing near is missed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

# What makes no difference. `http` is what the cleaning step `replace_urls` leaves of an address.
_NOISE: Final = r"(?i)(?:https?://|\bwww\.)\S+|\bhttp\b|@+\w+"
_APOSTROPHE: Final = r"['\x{2019}`]"
_WORD: Final = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|[\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)
# The least number of tokens, of the shorter text, for one and for two edits.
_MIN_TOKENS: Final = {1: 6, 2: 8}
# One character stands for one token, so that an edit distance of tokens is one of characters.
_FIRST_CHARACTER: Final = 0x21
_SURROGATES: Final = range(0xD800, 0xE000)
_NUM_CHARACTERS: Final = 0x110000 - _FIRST_CHARACTER - len(_SURROGATES)
# At most so many pairs, the product, are looked at at a time.
_NUM_CANDIDATES_AT_A_TIME: Final = 16_384
_NUM_REFERENCES_AT_A_TIME: Final = 64

MAX_EDITS: Final = max(_MIN_TOKENS)
NEAR_SCHEMA: Final = pl.Schema({"candidate": pl.Int64, "reference": pl.Int64, "num_edits": pl.Int64})


@dataclass(frozen=True)
class _Alignment:
    """Where a part of a reference would stand in a candidate.

    Attributes:
        part: Number of the part, from 0.
        longer: By how many tokens the candidate is longer than the reference.
        shift: By how many tokens the part is further right in the candidate.
    """

    part: int
    longer: int
    shift: int


def find_near(references: pl.Series, candidates: pl.Series, max_edits: int = MAX_EDITS) -> pl.DataFrame:
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
    both = _read(pl.concat([references.alias("text"), candidates.alias("text")]))
    known = both.head(references.len()).with_columns(reference=pl.int_range(pl.len()))
    asked = both.slice(references.len()).with_columns(candidate=pl.int_range(pl.len()))
    found = [_same(known, asked)]
    for edits in range(1, max_edits + 1):
        asked = asked.join(found[-1], on="candidate", how="anti")
        found.append(_within(known, asked, edits))
    return pl.concat(found).sort("candidate")


def find_repeated(texts: pl.Series, max_edits: int = MAX_EDITS) -> pl.DataFrame:
    """Find the texts that are near an earlier one of the same series.

    Args:
        texts: Texts without null.
        max_edits: As for `find_near`.

    Returns:
        `NEAR_SCHEMA`, sorted by `candidate`, which occurs once: the positions of it and of one earlier text.
    """
    read = _read(texts.alias("text"))
    known = read.with_columns(reference=pl.int_range(pl.len()))
    asked = read.with_columns(candidate=pl.int_range(pl.len()))
    found = [_same(known, asked).filter(pl.col("candidate") != pl.col("reference"))]
    for edits in range(1, max_edits + 1):
        asked = asked.join(found[-1], on="candidate", how="anti")
        found.append(_within(known, asked, edits, earlier_only=True))
    return pl.concat(found).sort("candidate")


def is_near(references: pl.Series, candidates: pl.Series, max_edits: int = MAX_EDITS) -> pl.Series:
    """Say of each candidate whether it is near one of the references."""
    found = find_near(references, candidates, max_edits)["candidate"]
    return pl.Series("is_near", np.isin(np.arange(candidates.len()), found.to_numpy()), dtype=pl.Boolean)


def _read(texts: pl.Series) -> pl.DataFrame:
    """For each text what is compared: `same` (all its letters and digits) and `code` (a character for each token)."""
    rows = pl.DataFrame({"text": texts}).with_row_index("index")
    plain = pl.col("text").str.normalize("NFKC").str.replace_all(_NOISE, " ").str.replace_all(_APOSTROPHE, "")
    rows = rows.with_columns(words=plain.str.to_lowercase().str.extract_all(_WORD))
    flat = rows.select("index", word="words").explode("word").drop_nulls("word")
    vocabulary = flat.select(pl.col("word").unique().sort())
    characters = [_character(number) for number in range(vocabulary.height)]
    vocabulary = vocabulary.with_columns(code=pl.Series(characters, dtype=pl.String))
    codes = flat.join(vocabulary, on="word", how="left", maintain_order="left")
    codes = codes.group_by("index", maintain_order=True).agg(
        same=pl.col("word").str.join(""), code=pl.col("code").str.join(""), length=pl.len().cast(pl.Int64)
    )
    read = rows.join(codes, on="index", how="left", maintain_order="left")
    # A text of signs alone is compared as it is.
    return read.select(
        same=pl.col("same").fill_null(pl.col("text")),
        code=pl.col("code").fill_null(""),
        length=pl.col("length").fill_null(0),
    )


def _character(number: int) -> str:
    """The character of a token; beyond Unicode's million, some share one."""
    point = _FIRST_CHARACTER + number % _NUM_CHARACTERS
    return chr(point if point < _SURROGATES.start else point + len(_SURROGATES))


def _same(known: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    first = known.unique("same", keep="first", maintain_order=True)
    found = asked.join(first, on="same", how="inner")
    return found.select("candidate", "reference", pl.lit(0, pl.Int64).alias("num_edits"))


def _within(known: pl.DataFrame, asked: pl.DataFrame, edits: int, *, earlier_only: bool = False) -> pl.DataFrame:
    """Those that `edits` edits lead to, or fewer, where both texts are long enough for so many."""
    is_long = pl.col("length") >= _MIN_TOKENS[edits]
    known = known.filter(is_long).select("reference", "code", "length")
    asked = asked.filter(is_long).select("candidate", "code", "length")
    found = [NEAR_SCHEMA.to_frame()]
    for alignment in _alignments(edits):
        if asked.is_empty() or known.is_empty():
            break
        parts, places = _parts(known, alignment, edits), _places(asked, alignment, edits)
        near = _verified(parts, places, edits, earlier_only=earlier_only)
        asked = asked.join(near, on="candidate", how="anti")
        found.append(near)
    return pl.concat(found)


def _alignments(edits: int) -> Iterator[_Alignment]:
    """Where an unchanged part can stand: before it, and after it, are at most the edits that it leaves (Pass-Join)."""
    for longer in sorted(range(-edits, edits + 1), key=abs):
        for part in range(edits + 1):
            after = edits - part
            low, high = max(-part, longer - after), min(part, longer + after)
            yield from (_Alignment(part, longer, shift) for shift in range(low, high + 1))


def _part_start_and_length(length: pl.Expr, part: int, num_parts: int) -> tuple[pl.Expr, pl.Expr]:
    """Of one of nearly equal parts of a text of `length` tokens; the last ones are the longer ones."""
    least, num_longer = length // num_parts, length % num_parts
    before = (part - (num_parts - num_longer)).clip(lower_bound=0)
    return least * part + before, least + (part >= num_parts - num_longer).cast(pl.Int64)


def _parts(known: pl.DataFrame, alignment: _Alignment, edits: int) -> pl.DataFrame:
    start, length = _part_start_and_length(pl.col("length"), alignment.part, edits + 1)
    parts = known.with_columns(part=pl.col("code").str.slice(start, length))
    return parts.with_columns(rank=pl.int_range(pl.len()).over("length", "part"))


def _places(asked: pl.DataFrame, alignment: _Alignment, edits: int) -> pl.DataFrame:
    other = asked.with_columns(other_length=pl.col("length") - alignment.longer)
    start, length = _part_start_and_length(pl.col("other_length"), alignment.part, edits + 1)
    places = other.with_columns(start=start + alignment.shift, size=length)
    fits = (pl.col("start") >= 0) & (pl.col("start") + pl.col("size") <= pl.col("length"))
    return places.filter(fits).select(
        "candidate", "code", "other_length", part=pl.col("code").str.slice("start", "size")
    )


def _verified(parts: pl.DataFrame, places: pl.DataFrame, edits: int, *, earlier_only: bool) -> pl.DataFrame:
    """The candidates that share a part with a reference and are near it.

    Where many references share a part, as those of one form do, they are tried a few at a time, and who is found to be
    near one of them is not tried again.
    """
    parts = parts.rename({"length": "other_length", "code": "other_code"})
    is_wanted = pl.col("reference") < pl.col("candidate") if earlier_only else pl.lit(value=True)
    found, on = [NEAR_SCHEMA.to_frame()], ["other_length", "part"]
    num_rounds = math.ceil(parts.group_by(on).len()["len"].to_numpy().max() / _NUM_REFERENCES_AT_A_TIME)
    for number in range(num_rounds):
        known = parts.filter(pl.col("rank") // _NUM_REFERENCES_AT_A_TIME == number)
        places = places.join(known, on=on, how="semi")
        near = [
            _near(some.join(known, on=on).filter(is_wanted), edits)
            for some in places.iter_slices(_NUM_CANDIDATES_AT_A_TIME)
        ]
        found += near
        places = places.join(pl.concat([NEAR_SCHEMA.to_frame(), *near]), on="candidate", how="anti")
    return pl.concat(found)


def _near(pairs: pl.DataFrame, edits: int) -> pl.DataFrame:
    """One near reference for each candidate that has one."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    if pairs.is_empty():
        return NEAR_SCHEMA.to_frame()
    codes, others = pairs["code"].to_list(), pairs["other_code"].to_list()
    distances = cpdist(codes, others, scorer=Levenshtein.distance, score_cutoff=edits, dtype=np.int64)
    near = pairs.select("candidate", "reference", num_edits=pl.Series(distances)).filter(pl.col("num_edits") <= edits)
    return near.sort("candidate", "num_edits", "reference").unique("candidate", keep="first", maintain_order=True)
