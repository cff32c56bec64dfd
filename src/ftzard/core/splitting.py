"""Train, validation and test: disjoint by content, and the same tomorrow when there is more data.

Where an example goes depends on nothing but its text, the seed and the fractions, so adding, removing or reordering
other examples never moves it, and a test set stays unseen for as long as the project lives. The exception is a text
with several labels, where `data.conflicting_labels` keeps them: it is trained on, because no answer to it can be
judged.

The price is exact stratification: to give each split exactly its share of each label, one would have to count, and
then one more example could move another. Instead each label's share is right in expectation, because the draw does not
know the label; with n examples of a label, of which a share p goes to a split, the count is binomial, with a standard
deviation of sqrt(n p (1 - p)). `stratification_error` says how far off it came out.
"""

import hashlib
import itertools
import json
from typing import Final, Literal

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning import labels_of
from ftzard.core.records import EXAMPLE_SCHEMA, Splits
from ftzard.errors import TooFewExamplesError

# A double holds 53 bits exactly, and the quotient below stays under 1.
_NUM_UNIFORM_BITS: Final = 53


def split(examples: pl.DataFrame, config: DataConfig) -> Splits:
    """Split the examples by the hash of their texts.

    Two independent draws are made for each: one against `sample_fraction`, one for the split. On the line from 0 to 1
    test comes first, then validation, then train: a change of `validation_fraction` does not touch test, and a larger
    `sample_fraction` only adds.

    Args:
        examples: `EXAMPLE_SCHEMA`, in any order.
        config: Gives seed and fractions, and the labels that must occur.

    Returns:
        Three disjoint frames; with `sample_fraction` 1 every example is in one of them. `validation` is empty only
        where `validation_fraction` is 0.

    Raises:
        TooFewExamplesError: There are fewer examples than labels, `train` or `test` lacks a label, or `validation`
            is empty although it should not be.
    """
    labels = labels_of(examples, config)
    sampled = examples.select(EXAMPLE_SCHEMA.names()).sort("text_hash", "batch", "row", "label")
    if config.sample_fraction < 1:
        is_sampled = _uniform(sampled["text_hash"], config.seed, "sample") < config.sample_fraction
        sampled = sampled.filter(is_sampled)
    if sampled.height < max(1, len(labels)):
        raise TooFewExamplesError(
            f"{sampled.height} example(s) for {len(labels)} label(s), of {examples.height} before "
            f"data.sample_fraction={config.sample_fraction:g}",
            fix="add labelled examples, or raise data.sample_fraction",
        )
    position = _uniform(sampled["text_hash"], config.seed, "split")
    is_judged = sampled.select(pl.len().over("text_hash") == 1).to_series()
    is_test = is_judged & (position < config.test_fraction)
    is_validation = is_judged & ~is_test & (position < config.test_fraction + config.validation_fraction)
    splits = Splits(
        train=sampled.filter(~is_test & ~is_validation),
        validation=sampled.filter(is_validation),
        test=sampled.filter(is_test),
    )
    _check(splits, labels, config)
    return splits


def stratification_error(splits: Splits) -> float:
    """Say how far the splits are from equal shares of labels.

    Returns:
        The largest absolute difference, over splits and labels, between the label's share in the split and its share
        in all splits together; from 0 (exactly stratified) to 1, lower is better. Empty splits do not count; 0 if
        all are empty.
    """
    frames = [frame for _, frame in _named(splits) if not frame.is_empty()]
    if not frames:
        return 0.0
    overall = _shares(pl.concat(frames))
    return max(abs(_shares(frame).get(label, 0.0) - share) for frame in frames for label, share in overall.items())


def overlap(splits: Splits) -> dict[tuple[str, str], int]:
    """Count the texts that two splits share.

    Returns:
        For each pair of names of splits, the number of distinct `text_hash` in both; 0 is what must be.
    """
    hashes = {name: set(frame["text_hash"].to_list()) for name, frame in _named(splits)}
    return {(one, other): len(hashes[one] & hashes[other]) for one, other in itertools.combinations(hashes, 2)}


def test_fingerprint(test: pl.DataFrame) -> str:
    """Identify a test set by what is in it: SHA-256, in hexadecimal, of its sorted pairs of text hash and label.

    Two evaluations can be compared if their fingerprints are equal; order, batch and row do not matter.
    """
    pairs = sorted(test.select("text_hash", "label").iter_rows())
    return hashlib.sha256(json.dumps(pairs).encode("utf-8")).hexdigest()


def _uniform(text_hashes: pl.Series, seed: int, draw: Literal["sample", "split"]) -> pl.Series:
    """Draw one number in [0, 1) for each text, from its hash, the seed and the draw's name alone."""
    prefix = f"{seed}:{draw}:"
    digests = (hashlib.sha256(f"{prefix}{text_hash}".encode()).digest() for text_hash in text_hashes)
    scale = 2**_NUM_UNIFORM_BITS
    numbers = [(int.from_bytes(digest[:8], "big") >> (64 - _NUM_UNIFORM_BITS)) / scale for digest in digests]
    return pl.Series(draw, numbers, dtype=pl.Float64)


def _named(splits: Splits) -> tuple[tuple[str, pl.DataFrame], ...]:
    return ("train", splits.train), ("validation", splits.validation), ("test", splits.test)


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame["label"].value_counts().iter_rows())


def _shares(frame: pl.DataFrame) -> dict[str, float]:
    return {label: count / frame.height for label, count in _counts(frame).items()}


def _check(splits: Splits, labels: tuple[str, ...], config: DataConfig) -> None:
    lacking = [f"{name} is empty" for name, frame in _named(splits) if name != "validation" and frame.is_empty()]
    if labels:
        lacking = _lacking_labels(splits, labels)
    if splits.validation.is_empty() and config.validation_fraction > 0:
        lacking.append("validation is empty")
    if lacking:
        num_examples = sum(frame.height for _, frame in _named(splits))
        raise TooFewExamplesError(
            f"{num_examples} examples are too few for the fractions {config.train_fraction:g}, "
            f"{config.validation_fraction:g} and {config.test_fraction:g}: {'; '.join(lacking)}",
            fix="add labelled examples; or set another data.seed, or larger fractions for the splits that lack some "
            "(validation_fraction=0 does without validation); or raise data.sample_fraction if it is below 1",
        )


def _lacking_labels(splits: Splits, labels: tuple[str, ...]) -> list[str]:
    return [
        f"{name} has no {label!r} (its counts: {_counts(frame) or 'none at all'})"
        for name, frame in _named(splits)
        if name != "validation"
        for label in labels
        if label not in _counts(frame)
    ]
