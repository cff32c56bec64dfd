"""How far a number measured on these rows may be from what other rows of the same kind would say.

The percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): draw as many rows
with replacement as there are, measure again, do so a few thousand times, and cut off 2.5 % at both ends. Two systems
are compared on the same resamples (Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP
2004), which cancels what makes a resample hard for both.

Rows are drawn from all rows and not within each label: new data brings its own share of each label, and an interval
that held the shares fixed would promise more than that.

Where rows of one user or thread belong together, users are drawn, each with all of its rows (the cluster bootstrap;
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8): new data brings other users.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.row_groups import Rows, num_drawn, num_rows
from ftzard.core.share_intervals import score_interval

# The convention of the field, and what every sentence and axis of the report says.
CONFIDENCE_LEVEL = 0.95
# What floating point leaves of a mean of ones.
_ROUNDING = 1e-9
# Bound the memory of what is judged at once: 32 MiB of row indices, and one confusion matrix a resample. Portions that
# fit in a processor's cache are also the fastest.
_MAX_INDICES_AT_ONCE = 2**22
_MAX_SAMPLES_AT_ONCE = 128

# From row indices of shape (b, n) to values of shape (b,), or (b, m) for m statistics at once. Where groups
# are drawn, a resample has other than n rows.
Statistic = Callable[[IntArray], FloatArray]


def resample_values(statistic: Statistic, rows: Rows, num_samples: int, seed: int) -> FloatArray:
    """Measure a statistic on bootstrap resamples.

    The resamples depend on rows, number and seed alone, so that two calls with different statistics see the same ones:
    their values are paired.

    Args:
        statistic: Measures many resamples at once.
        rows: n, the number of rows there are and the size of each resample; or the group of each row, of which as many
            are drawn as there are.
        num_samples: How many resamples are drawn.
        seed: Of `numpy.random.default_rng`.

    Returns:
        What `statistic` returns, for all resamples: shape (num_samples,) or (num_samples, m).

    Raises:
        ValueError: There are no rows or no resamples.
    """
    return np.concatenate([statistic(samples) for samples in _resamples(rows, num_samples, seed)])


def percentile_interval(value: float, values: FloatArray, confidence: float = CONFIDENCE_LEVEL) -> Interval:
    """Cut the middle, 95 % where nothing else is asked for, out of the values of resamples.

    Where the middle lies on one side of the value, the interval is widened to it. This happens to statistics that
    resampling biases, like the calibration error, and to F1 when a label is so rare that resamples miss it; a wider
    interval only claims less.

    Args:
        value: The statistic of the rows themselves.
        values: The statistic of the resamples, shape (num_samples,).
        confidence: The share of the values to keep, in (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value=float(value), low=min(float(low), float(value)), high=max(float(high), float(value)))


def share_interval(value: float, values: FloatArray, num_equal: float) -> Interval:
    """As `percentile_interval`, of a statistic that is 0 or 1 only where each row is at that end, like accuracy.

    Rows that are all right have no resample in which one is wrong, so that the interval would have no width, however
    few they are. There it is Wilson's of that many rows.

    Args:
        value: The statistic of the rows themselves, in [0, 1].
        values: The statistic of the resamples, shape (num_samples,).
        num_equal: The rows, or groups, that were drawn from.
    """
    interval = percentile_interval(value, values)
    is_at_an_end = value < _ROUNDING or value > 1 - _ROUNDING
    if not is_at_an_end:
        return interval
    end = score_interval(float(round(value)), num_equal)
    return Interval(interval.value, min(interval.low, end.low), max(interval.high, end.high))


def bootstrap_interval(
    statistic: Statistic, rows: Rows, num_samples: int, seed: int, *, is_share: bool = False
) -> Interval:
    """Measure a statistic of n rows with its interval.

    Args:
        statistic: Maps row indices of shape (b, n) to values of shape (b,).
        rows: n, at least 1, or the group of each row; from very few rows or groups the interval is too narrow, and from
            one it has no width, unless it is a share.
        num_samples: How many resamples are drawn.
        seed: Of the resamples.
        is_share: Whether `share_interval` holds for it.

    Raises:
        ValueError: There are no rows or no resamples.
    """
    values = resample_values(statistic, rows, num_samples, seed)
    value = float(statistic(np.arange(num_rows(rows))[None])[0])
    return share_interval(value, values, num_drawn(rows)) if is_share else percentile_interval(value, values)


def paired_difference(first: Statistic, second: Statistic, rows: Rows, num_samples: int, seed: int) -> Interval:
    """Measure how much larger a statistic is for the first of two systems that judged the same n rows.

    Args:
        first: Of the first system; maps row indices of shape (b, n) to values of shape (b,).
        second: Of the second system; each resample goes to both.
        rows: n, at least 1, or the group of each row.
        num_samples: How many resamples are drawn.
        seed: Of the resamples.

    Returns:
        first minus second.

    Raises:
        ValueError: There are no rows or no resamples.
    """
    return bootstrap_interval(lambda samples: first(samples) - second(samples), rows, num_samples, seed)


def _resamples(rows: Rows, num_samples: int, seed: int) -> Iterator[IntArray]:
    """Draw the resamples in portions of shape (b, n) that fit in memory; those of groups differ in size: one by one."""
    size = num_rows(rows)
    if size < 1 or num_samples < 1:
        message = f"a bootstrap needs rows and resamples, not {size} and {num_samples}"
        raise ValueError(message)
    rng = np.random.default_rng(seed)
    if not isinstance(rows, int):
        # Rows in the order of their groups, and where each group begins there.
        in_order, sizes = np.argsort(rows, kind="stable"), np.bincount(rows)
        starts = sizes.cumsum() - sizes
        for _ in range(num_samples):
            drawn = rng.integers(sizes.size, size=sizes.size)
            taken = sizes[drawn]
            offsets = np.arange(taken.sum()) - np.repeat(taken.cumsum() - taken, taken)
            yield in_order[np.repeat(starts[drawn], taken) + offsets][None]
        return
    at_once = min(max(1, _MAX_INDICES_AT_ONCE // size), _MAX_SAMPLES_AT_ONCE)
    for start in range(0, num_samples, at_once):
        yield rng.integers(size, size=(min(at_once, num_samples - start), size))
