"""Whether two classifiers differ on the rows both have answered, and how many rows it would take to tell."""

import math
from typing import Final

# Six rows that one system gets right and the other wrong are the fewest that a sign test (McNemar 1947) can call
# significant at 5 %, and only if all six favour the same one: 2 * 0.5**6 = 0.03, but 2 * 0.5**5 = 0.06. On fewer the
# bootstrap is not to be trusted: from one row it would draw an interval without width.
MIN_DISCORDANT_ROWS: Final = 6


def fewest_rows_to_tell(significance: float) -> int:
    """On how many rows two models must differ before any test can tell them apart.

    Args:
        significance: Two-sided level of the test, in (0, 0.5).
    """
    # With fewer, even if all favour one of the two, the exact test's 2 * 0.5**n would not be significant.
    return max(MIN_DISCORDANT_ROWS, math.ceil(1 - math.log2(significance)))


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
    difference: float, standard_error: float, num_rows: int, *, significance: float, power: float
) -> int | None:
    """How many rows it takes to find a difference of the size observed, of any statistic that is like a mean over rows.

    The sample size for paired proportions, with the correction for rows being counted in whole steps (Connor, "Sample
    size for testing differences in proportions for the paired-sample design", Biometrics 1987), in which the variance
    of the statistic stands where that of accuracy, which follows from the discordance, stood. Of accuracy it is the
    same number; of macro-F1 it also knows how much more a row of a rare label weighs.

    Args:
        difference: What was observed, first minus second.
        standard_error: Of that difference; it shrinks with the root of the number of rows.
        num_rows: Rows on which it was observed.
        significance: Two-sided level of the test.
        power: The chance with which the difference should be found.

    Returns:
        A number of rows, at least 1; None where there is no difference, because then no number is enough.
    """
    from scipy.stats import norm

    if difference == 0:
        return None
    variance = num_rows * standard_error**2
    z_test, z_power = float(norm.ppf(1 - significance / 2)), float(norm.ppf(power))
    # The first root is that of the variance if there were no difference.
    root = z_test * math.sqrt(variance + difference**2) + z_power * math.sqrt(variance)
    uncorrected = (root / difference) ** 2
    return math.ceil(uncorrected / 4 * (1 + math.sqrt(1 + 2 / (uncorrected * abs(difference)))) ** 2)
