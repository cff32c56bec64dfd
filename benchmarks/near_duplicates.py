"""Whether edited copies of test rows are found among many other rows, and nothing else is.

5,000 real tweets, of which the first 1,000 are the test split; 200 of those, of five words and more, are edited (a kind
of edit each, in turn: case, punctuation, web address, user name, one word, two words) and put among the other 4,000. A
false hit is a row that is told to be near a test row without being a copy; those that were in the corpus already
(retweets, the same joke with another link) are told apart by a measure that knows nothing of ours, the similarity of
characters, and counted on their own. The times are those of 100,000 rows against 10,000, made of the words of the
tweets.
"""

import random
import re
import time
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from rapidfuzz import fuzz
from rapidfuzz.process import cdist

from benchmarks.report import Result, at_least, at_most
from ftzard.core.near_duplicates import find_near
from ftzard.core.tweets import sample_tweets

_NUM_TWEETS, _NUM_TEST, _NUM_COPIES = 5_000, 1_000, 200
_NUM_CANDIDATES, _NUM_REFERENCES = 100_000, 10_000
_SEED = 0
_MIN_WORDS = 5
# Of rapidfuzz's ratio of characters, from 0 to 100: above it two tweets are the same one in other clothes.
_MIN_SIMILARITY = 75
_MIN_RECALL, _MAX_FALSE_HITS, _MAX_SEARCH_S = 0.95, 0.01, 60

Edit = Callable[[str, random.Random, list[str]], str]


def run(num_candidates: int = _NUM_CANDIDATES, num_references: int = _NUM_REFERENCES) -> Result:
    """Measure recall, false hits and time."""
    draw = random.Random(_SEED)  # noqa: S311 - no secret
    tweets = sample_tweets(_NUM_TWEETS, seed=_SEED)["text"]
    test, others = tweets.head(_NUM_TEST), tweets.slice(_NUM_TEST)
    words = sorted({word for tweet in tweets for word in tweet.split() if word.isalpha()})
    copied = draw.sample([tweet for tweet in test if len(tweet.split()) >= _MIN_WORDS], _NUM_COPIES)
    kinds = [list(EDITS)[number % len(EDITS)] for number in range(_NUM_COPIES)]
    copies = pl.Series([EDITS[kind](tweet, draw, words) for kind, tweet in zip(kinds, copied, strict=True)])
    hits = find_near(test, pl.concat([copies.alias("text"), others.alias("text")]))["candidate"].to_numpy()
    is_found = np.isin(np.arange(_NUM_COPIES), hits)
    other_hits = hits[hits >= _NUM_COPIES] - _NUM_COPIES
    repeated = _repetitions(test, others)
    false_hits = np.setdiff1d(other_hits, repeated)
    figures = {
        "recall": float(is_found.mean()),
        "false_hits_of_other_rows": len(false_hits) / len(others),
        "earlier_repetitions_of_other_rows": len(np.intersect1d(other_hits, repeated)) / len(others),
        "search_s": _search_s(tweets, num_candidates, num_references),
    }
    bars = {
        "recall": at_least(_MIN_RECALL),
        "false_hits_of_other_rows": at_most(_MAX_FALSE_HITS),
        "search_s": at_most(_MAX_SEARCH_S),
    }
    by_kind = pl.DataFrame({"edit": kinds, "recall": is_found.astype(float)})
    table = by_kind.group_by("edit", maintain_order=True).agg(pl.len().alias("copies"), pl.col("recall").mean())
    return Result(figures, bars, table)


def _change_case(text: str, draw: random.Random, _: list[str]) -> str:
    return draw.choice([text.upper(), text.lower(), text.swapcase()])


def _change_punctuation(text: str, draw: random.Random, _: list[str]) -> str:
    bare = re.sub(r"[.,!?;:\"'()…-]+", "", text)
    return draw.choice([bare, f"{text}!!", f"({text}...)", text.replace(" ", ", ", 2)])


def _change_address(text: str, draw: random.Random, _: list[str]) -> str:
    address = f"https://t.co/{draw.randrange(16**8):08x}"
    found = re.search(r"https?://\S+", text)
    return text.replace(found.group(), draw.choice([address, ""])) if found else f"{text} {address}"


def _change_user(text: str, draw: random.Random, _: list[str]) -> str:
    name = f"@user{draw.randrange(1000)}"
    return re.sub(r"@\w+", name, text) if "@" in text else f"{name} {text}"


def _change_words(num_words: int) -> Edit:
    def change(text: str, draw: random.Random, words: list[str]) -> str:
        parts = text.split()
        for _ in range(num_words):
            place = draw.randrange(len(parts))
            new = draw.choice(words)
            kind = draw.choice(["replace", "insert", "delete", "misspell"])
            if kind == "insert":
                parts.insert(place, new)
            elif kind == "delete":
                parts.pop(place)
            else:
                parts[place] = new if kind == "replace" else f"{parts[place]}{draw.choice('aeiou')}"
        return " ".join(parts)

    return change


EDITS: Mapping[str, Edit] = {
    "case": _change_case,
    "punctuation": _change_punctuation,
    "web address": _change_address,
    "user name": _change_user,
    "one word": _change_words(1),
    "two words": _change_words(2),
}


def _repetitions(test: pl.Series, others: pl.Series) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Positions of rows that resemble a test row by their characters."""
    plain = [[re.sub(r"https?://\S+|@\w+", "", text).lower() for text in texts] for texts in (others, test)]
    similar = cdist(*plain, scorer=fuzz.ratio, score_cutoff=_MIN_SIMILARITY, dtype=np.uint8)
    return np.flatnonzero(similar.max(axis=1))


def _search_s(tweets: pl.Series, num_candidates: int, num_references: int) -> float:
    draw = np.random.default_rng(_SEED)
    words = np.array([word for tweet in tweets for word in tweet.split()])
    lengths = np.array([len(tweet.split()) for tweet in tweets])
    texts = pl.Series(
        [
            " ".join(words[draw.integers(len(words), size=length)])
            for length in draw.choice(lengths, num_candidates + num_references)
        ]
    )
    started = time.perf_counter()
    find_near(texts.head(num_references), texts.slice(num_references))
    return time.perf_counter() - started
