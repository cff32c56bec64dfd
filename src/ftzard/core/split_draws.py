"""What each example is drawn for: by its own hash, by that of its group, or by its time."""

from typing import Final, Literal

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.row_groups import group_keys

# A double holds 53 bits exactly, and the quotient below stays under 1.
_NUM_UNIFORM_BITS: Final = 53
# Hexadecimal ones that hold so many bits.
_NUM_DIGITS: Final = 14
# Train texts that are near one of validation have no place in either.
IN_VALIDATION: Final = "in_validation_split"
PLACES: Final = pl.Enum(["train", "validation", "test", IN_VALIDATION])


def draw_splits(examples: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """The examples by hash, with what splits are made by.

    Returns:
        The examples with `is_judged` (whether there is one label, so that an answer can be right or wrong), `place`
        (what each was drawn for) and `is_sampled` (whether it is of the share `sample_fraction`).
    """
    examples = examples.sort("text_hash", "batch", "row", "label")
    keys = examples["text_hash"]
    if config.group_column is not None and "group" in examples.columns:
        keys = group_keys(examples)
    position = _uniform(keys, config.seed, "split")
    is_test = position < config.test_fraction
    if config.time_column is not None and "time" in examples.columns:
        num_test = round(config.test_fraction * examples.height)
        newest = examples.filter(pl.col("time").is_not_null()).sort("time", "text_hash", descending=True).head(num_test)
        is_test = examples["text_hash"].is_in(newest["text_hash"].implode())
        position = config.test_fraction + position * (1 - config.test_fraction)
    is_train = position >= config.test_fraction + config.validation_fraction
    hashes = examples["text_hash"]
    is_judged = hashes.ne_missing(hashes.shift(1)) & hashes.ne_missing(hashes.shift(-1))
    place = pl.when(is_judged & is_test).then(pl.lit("test", PLACES)).when(is_judged & ~is_train)
    return examples.with_columns(
        is_judged=is_judged,
        place=place.then(pl.lit("validation", PLACES)).otherwise(pl.lit("train", PLACES)),
        is_sampled=_is_sampled(examples["text_hash"], config),
    )


def _is_sampled(text_hashes: pl.Series, config: DataConfig) -> pl.Series | pl.Expr:
    """Each text is drawn by its own hash."""
    if config.sample_fraction == 1:
        return pl.lit(value=True)
    return _uniform(text_hashes, config.seed, "sample") < config.sample_fraction


def _uniform(text_hashes: pl.Series, seed: int, draw: Literal["sample", "split"]) -> pl.Series:
    """Draw one number in [0, 1) for each text, from its hash, the seed and the draw's name alone."""
    import polars_hash  # noqa: F401 - registers the namespace `chash`

    keyed = pl.lit(f"{seed}:{draw}:") + pl.col(draw)
    digits = keyed.chash.sha2_256().str.slice(0, _NUM_DIGITS)  # type: ignore[attr-defined]
    numbers = digits.str.to_integer(base=16, dtype=pl.Int64) // 2 ** (4 * _NUM_DIGITS - _NUM_UNIFORM_BITS)
    uniform = text_hashes.alias(draw).to_frame().lazy().select(numbers.cast(pl.Float64) / 2**_NUM_UNIFORM_BITS)
    return uniform.collect(engine="streaming").to_series().alias(draw)
