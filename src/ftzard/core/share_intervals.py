"""Intervals of shares and of their differences by formula, which hold also where a share is 0 or 1."""

import math
from typing import Final

from ftzard.core.evaluation_report import Interval

# The normal quantile of a two-sided interval of 95 %.
_Z: Final = 1.959963984540054


def score_interval(share: float, num_trials: float) -> Interval:
    """Wilson's, of a share that was measured on as much as so many equal rows (Wilson, JASA 22, 1927).

    Args:
        share: In [0, 1].
        num_trials: Above 0, not always whole: rows of which some count for more than others tell as much as fewer.
    """
    scale = 1 + _Z**2 / num_trials
    middle = (share + _Z**2 / (2 * num_trials)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / num_trials + _Z**2 / (4 * num_trials**2))
    # At the ends the formula gives 0 and 1 but for rounding.
    return Interval(value=share, low=max(0.0, min(middle - half, share)), high=min(1.0, max(middle + half, share)))


def wilson_interval(num_successes: int, num_trials: int) -> Interval:
    """A share with its 95 % score interval.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927: the shares that a
    two-sided test at 5 % would not reject. It stays inside 0 and 1, and has a width also where all succeed.

    Raises:
        ValueError: There are no trials, or fewer than successes.
    """
    if not 0 <= num_successes <= num_trials or num_trials == 0:
        message = f"{num_successes} of {num_trials} is no share"
        raise ValueError(message)
    return score_interval(num_successes / num_trials, num_trials)


def newcombe_interval(first_successes: int, first_trials: int, second_successes: int, second_trials: int) -> Interval:
    """The difference of two independent shares, first minus second, with its 95 % interval.

    Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in Medicine 17, 1998,
    method 10: from the Wilson intervals of both.

    Raises:
        ValueError: As `wilson_interval`.
    """
    first = wilson_interval(first_successes, first_trials)
    second = wilson_interval(second_successes, second_trials)
    difference = first.value - second.value
    low = difference - math.hypot(first.value - first.low, second.high - second.value)
    high = difference + math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value=difference, low=max(-1.0, low), high=min(1.0, high))
