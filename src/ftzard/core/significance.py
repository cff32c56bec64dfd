"""Whether two classifiers differ on the rows both have answered, and how many rows it would take to tell."""

import math


def mcnemar_exact(num_only_first: int, num_only_second: int) -> float:
    """Test whether one of two classifiers is right more often than the other, from the rows on which they differ.

    The exact conditional test (McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 1947): if both were equally good, each such row would be a fair coin.

    Args:
        num_only_first: Rows that only the first got right.
        num_only_second: Rows that only the second got right.

    Returns:
        The two-sided p-value, in (0, 1]; 1 where they differ on no row.
    """
    from scipy.stats import binomtest

    num_discordant = num_only_first + num_only_second
    if num_discordant == 0:
        return 1.0
    return float(binomtest(num_only_first, num_discordant, 0.5).pvalue)


def num_rows_needed(
    share_only_first: float, share_only_second: float, *, significance: float, power: float
) -> int | None:
    """How many rows it takes to find a difference of the size observed.

    The sample size for paired proportions (Connor, "Sample size for testing differences in proportions for the
    paired-sample design", Biometrics 1987), with the correction for the exact test being made of steps.

    Args:
        share_only_first: Share of the rows that only the first classifier gets right.
        share_only_second: Share of the rows that only the second gets right.
        significance: Two-sided level of the test.
        power: The chance with which the difference should be found.

    Returns:
        A number of rows, at least 1; None where the shares are equal, because then no number is enough.
    """
    from scipy.stats import norm

    discordance, difference = share_only_first + share_only_second, abs(share_only_first - share_only_second)
    if difference == 0:
        return None
    z_test, z_power = norm.ppf(1 - significance / 2), norm.ppf(power)
    root = z_test * math.sqrt(discordance) + z_power * math.sqrt(discordance - difference**2)
    uncorrected = float((root / difference) ** 2)
    return math.ceil(uncorrected / 4 * (1 + math.sqrt(1 + 2 / (uncorrected * difference))) ** 2)


def num_rows_needed_by_interval(
    value: float, width: float, num_rows: int, *, significance: float, power: float
) -> int | None:
    """How many rows it takes to find a difference of any statistic, from its bootstrap interval.

    The usual sample size of a normal test (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 25),
    with the standard error read off the interval; it shrinks with the root of the number of rows.

    Args:
        value: The difference observed.
        width: From the lower to the upper end of its 95 % interval.
        num_rows: Rows that both rest on.
        significance: Two-sided level of the test.
        power: The chance with which the difference should be found.

    Returns:
        A number of rows, at least 1; None where no difference was observed, because then no number is enough.
    """
    from scipy.stats import norm

    if value == 0:
        return None
    error = width / (2 * float(norm.ppf(0.975)))
    distance = float(norm.ppf(1 - significance / 2) + norm.ppf(power))
    return max(1, math.ceil(num_rows * (distance * error / value) ** 2))
