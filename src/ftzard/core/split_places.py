"""Where drawn examples go when what is near them is considered; the rules are those of `ftzard.core.splitting`."""

import numpy as np
import polars as pl

from ftzard.config import DataConfig
from ftzard.core.near_duplicates import is_near
from ftzard.core.split_draws import IN_VALIDATION, PLACES
from ftzard.core.text_sketches import Sketches


def with_groups_of(test: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """What belongs to a group of the test split is for test, whatever it was drawn for."""
    if "group" not in others.columns:
        return others
    groups = test["group"].drop_nulls().implode()
    place = pl.when(pl.col("group").is_in(groups)).then(pl.lit("test", PLACES)).otherwise("place")
    return others.with_columns(place=place)


def settle_first(drawn: pl.DataFrame, tokens: Sketches, config: DataConfig) -> pl.Series:
    """Where examples, whose texts are given as tokens too, go as long as there is no test split.

    Those of the sample, that is, and all that were drawn for test, so that a larger sample finds its share of the test
    split frozen already; null for the others.
    """
    positions = drawn.select((pl.col("place") == "test") | pl.col("is_sampled")).to_series().arg_true()
    settled = settle(drawn.select("place")[positions], tokens.take(positions.to_numpy()), config)
    if positions.len() == drawn.height:
        return settled
    return pl.Series("settled", [None], dtype=PLACES).new_from_index(0, drawn.height).scatter(positions, settled)


def test_of(drawn: pl.DataFrame) -> pl.Series:
    """The positions of what is test, of drawn examples with what they settled on."""
    return drawn.select((pl.col("settled") == "test") & pl.col("is_judged")).to_series().arg_true()


def keeps_together(config: DataConfig) -> bool:
    """Whether texts that are near each other go to one split, and not rows of one group or time."""
    return config.group_column is None and config.time_column is None


def settle(examples: pl.DataFrame, tokens: Sketches, config: DataConfig) -> pl.Series:
    """Where each example goes, what is near it considered."""
    if keeps_together(config):
        return _kept_together(examples["place"], tokens, config)
    is_train, validation = pl.col("place") == "train", (examples["place"] == "validation").arg_true()
    is_copy = is_near(tokens.take(validation.to_numpy()), tokens, config.near_duplicate_edits)
    place = pl.when(is_train & is_copy).then(pl.lit(IN_VALIDATION, PLACES)).otherwise("place")
    return examples.select(place.alias("place")).to_series()


def _kept_together(drawn: pl.Series, tokens: Sketches, config: DataConfig) -> pl.Series:
    """Where each example goes if groups stay together: the first of train, validation and test that one was drawn for.

    A place takes in what is near to what it has, then what is near to that, until nothing more is.
    """
    places = drawn.to_physical().to_numpy(writable=True)
    taken = np.zeros(len(places), dtype=bool)
    for place in (PLACES.categories.index_of(name) for name in ("train", "validation")):
        newest = ~taken & (places == place)
        while newest.any():
            taken |= newest
            open_ = np.flatnonzero(~taken & (places != place))
            some = tokens.take(np.flatnonzero(newest))
            near = is_near(some, tokens.take(open_), config.near_duplicate_edits).to_numpy()
            newest = np.zeros_like(taken)
            newest[open_[near]] = True
            places[newest] = place
    return pl.Series("place", places).cat.to(PLACES)
