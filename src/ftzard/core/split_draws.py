"""What each example is drawn for: by its own hash, by that of its group, or by its time."""

from typing import Final, Literal

import numpy as np
import polars as pl

from ftzard.config import DataConfig

# A double holds 53 bits exactly, and the quotient below stays under 1.
_NUM_UNIFORM_BITS: Final = 53
# Hexadecimal ones that hold so many bits.
_NUM_DIGITS: Final = 14


def draw_splits(examples: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """The examples by hash, and in `place` what each was drawn for."""
    examples = examples.sort("text_hash", "batch", "row", "label")
    keys = examples["text_hash"]
    if config.group_column is not None and "group" in examples.columns:
        keys = examples.select(pl.coalesce(pl.format("group:{}", "group"), "text_hash")).to_series()
    position = _uniform(keys, config.seed, "split").to_numpy()
    is_test = position < config.test_fraction
    if config.time_column is not None and "time" in examples.columns:
        num_test = round(config.test_fraction * examples.height)
        newest = examples.filter(pl.col("time").is_not_null()).sort("time", "text_hash", descending=True).head(num_test)
        is_test = examples["text_hash"].is_in(newest["text_hash"].implode()).to_numpy()
        position = config.test_fraction + position * (1 - config.test_fraction)
    is_train = position >= config.test_fraction + config.validation_fraction
    place = pl.Series("place", np.select([is_test, is_train], ["test", "train"], "validation"))
    return examples.with_columns(place=pl.when(is_judged()).then(place).otherwise(pl.lit("train")))


def draw_sample(examples: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """The share `sample_fraction` of the examples, each drawn by its own hash."""
    if config.sample_fraction == 1:
        return examples
    return examples.filter(_uniform(examples["text_hash"], config.seed, "sample") < config.sample_fraction)


def is_judged() -> pl.Expr:
    """Whether there is one label, so that an answer can be right or wrong."""
    return pl.col("text_hash").is_unique()


def _uniform(text_hashes: pl.Series, seed: int, draw: Literal["sample", "split"]) -> pl.Series:
    """Draw one number in [0, 1) for each text, from its hash, the seed and the draw's name alone."""
    import polars_hash  # noqa: F401 - registers the namespace `chash`

    keyed = pl.lit(f"{seed}:{draw}:") + pl.col(draw)
    digits = keyed.chash.sha2_256().str.slice(0, _NUM_DIGITS)  # type: ignore[attr-defined]
    numbers = digits.str.to_integer(base=16, dtype=pl.Int64) // 2 ** (4 * _NUM_DIGITS - _NUM_UNIFORM_BITS)
    uniform = text_hashes.alias(draw).to_frame().lazy().select(numbers.cast(pl.Float64) / 2**_NUM_UNIFORM_BITS)
    return uniform.collect(engine="streaming").to_series().alias(draw)
