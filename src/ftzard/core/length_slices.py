"""Scores by length of text: what is right on average may be wrong of the long ones."""

from collections.abc import Callable

import numpy as np
import polars as pl

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import Statistic, resample_values, share_interval
from ftzard.core.evaluation_report import SLICE_NAMES, SliceName, SliceScores
from ftzard.core.metrics import IntArray
from ftzard.core.row_groups import Rows, num_drawn, part_of

# Takes rows, shape (n,); gives what measures accuracy and macro-F1 on resamples of them: shape (b, m) to (b, 2).
SliceStatistic = Callable[[IntArray], Statistic]


def text_lengths(test: pl.DataFrame) -> IntArray:
    """Characters of each text of a frame of `EXAMPLE_SCHEMA`, shape (n,)."""
    return test["text"].str.len_chars().to_numpy().astype(np.int64)


def slices_by_length(
    lengths: IntArray, statistic_of: SliceStatistic, drawn: Rows, config: EvaluationConfig
) -> tuple[SliceScores, ...]:
    """Judge the thirds of the rows by length; equal lengths stay together, which may leave a third out.

    Args:
        lengths: Characters of each row's text, shape (n,).
        statistic_of: Of some of the rows.
        drawn: How many rows, or the group of each.
        config: Number of resamples and the seed.
    """
    # A cut that is itself a length, so that who belongs where does not hang on interpolation.
    cuts = np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf")
    thirds = np.digitize(lengths, cuts, right=True)
    return tuple(
        _slice_scores(name, lengths[rows], statistic_of(rows), part_of(drawn, rows), config)
        for third, name in enumerate(SLICE_NAMES)
        if (rows := np.flatnonzero(thirds == third)).size
    )


def _slice_scores(
    name: SliceName, lengths: IntArray, statistic: Statistic, drawn: Rows, config: EvaluationConfig
) -> SliceScores:
    values = statistic(np.arange(lengths.size)[None])[0]
    resampled = resample_values(statistic, drawn, config.num_bootstrap_samples, config.seed)
    return SliceScores(
        name=name,
        min_num_characters=int(lengths.min()),
        max_num_characters=int(lengths.max()),
        num_examples=int(lengths.size),
        accuracy=share_interval(float(values[0]), resampled[:, 0], num_drawn(drawn)),
        macro_f1=share_interval(float(values[1]), resampled[:, 1], num_drawn(drawn)),
    )
