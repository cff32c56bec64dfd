"""The population stability index, PSI: how far two histograms over the same bins are from each other.

It is the symmetrised Kullback-Leibler divergence of the two (Siddiqi, "Credit Risk Scorecards", 2006). Two small
samples of one population have different histograms, so that beside each value stands what chance would make of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ftzard.core.bootstrap import CONFIDENCE_LEVEL
from ftzard.core.metrics import FloatArray, IntArray

# The usual reading of a PSI: below the first nothing, from the second on a change that wants an explanation.
PSI_MODERATE: Final = 0.1
PSI_LARGE: Final = 0.25

# The share that stands for none; the convention, without which an empty bin would be infinitely far.
_SMALLEST_SHARE: Final = 1e-4
_NUM_BINS: Final = 10
_NUM_SIMULATED: Final = 500
_SEED: Final = 0


@dataclass(frozen=True)
class Stability:
    """A population stability index.

    Attributes:
        value: From 0, equal shares, upwards.
        chance: What 95 % of pairs of samples of these sizes, both from one population, stay below.
    """

    value: float
    chance: float

    @property
    def is_beyond_chance(self) -> bool:
        """Whether so few rows could hardly have brought it about."""
        return self.value > self.chance


def stability(counts: Sequence[int], other_counts: Sequence[int]) -> Stability | None:
    """The population stability index of two histograms over the same bins; the order of the two does not matter.

    sum over bins of (p - q) ln(p / q). What chance makes of it is simulated from the shares of both together: the
    chi-squared distribution that it has where rows are many (Yurdakul and Naranjo, "Statistical properties of the
    population stability index", Journal of Risk Model Validation 14, 2020) knows nothing of bins that a small sample
    leaves empty.

    Args:
        counts: Rows in each bin.
        other_counts: Likewise.

    Returns:
        None where either has no rows.
    """
    both = np.array([counts, other_counts], dtype=np.int64)
    sizes = both.sum(axis=1)
    if not sizes.all():
        return None
    both = both[:, both.any(axis=0)]
    rng, shares = np.random.default_rng(_SEED), both.sum(axis=0) / sizes.sum()
    # By size, so that the draws are the same whichever comes first.
    small, large = (rng.multinomial(size, shares, _NUM_SIMULATED) for size in sorted(sizes.tolist()))
    simulated = _psi(small, large)
    return Stability(float(_psi(both[0], both[1])), float(np.quantile(simulated, CONFIDENCE_LEVEL)))


def label_stability(
    counts: Sequence[int], other_counts: Sequence[int], num_rows: int, num_other_rows: int
) -> Stability | None:
    """The population stability index of two samples whose rows have any number of labels, or none.

    The sum over the labels of the index of having it and not having it. That is the symmetrised Kullback-Leibler
    divergence of the two where labels are independent of each other, as the classifier takes them to be, because
    divergences of independent parts add up; so it is read like any other. Rows that lose their labels, or have more of
    them, move it also where the labels' shares of all that is given stay.

    Args:
        counts: Rows with each label.
        other_counts: Likewise, of the other sample.
        num_rows: All rows.
        num_other_rows: Likewise, of the other sample.

    Returns:
        None where either has no rows.
    """
    sizes = np.array([num_rows, num_other_rows], dtype=np.int64)
    if not sizes.all():
        return None
    both = np.array([counts, other_counts], dtype=np.int64)
    rng, shares = np.random.default_rng(_SEED), both.sum(axis=0) / sizes.sum()
    small, large = (
        _with_the_rest(rng.binomial(size, shares, (_NUM_SIMULATED, shares.size)), size) for size in np.sort(sizes)
    )
    simulated = _psi(small, large).sum(axis=-1)
    found = _psi(*(_with_the_rest(*one) for one in zip(both, sizes, strict=True))).sum()
    return Stability(float(found), float(np.quantile(simulated, CONFIDENCE_LEVEL)))


def _with_the_rest(counts: IntArray, size: np.int64) -> IntArray:
    """Those that have a label and those that do not, on an axis of their own."""
    return np.stack([counts, size - counts], axis=-1)


def _psi(counts: IntArray, other_counts: IntArray) -> FloatArray:
    """PSI over the last axis."""
    shares, others = (
        np.maximum(side / side.sum(axis=-1, keepdims=True), _SMALLEST_SHARE) for side in (counts, other_counts)
    )
    return np.asarray(((shares - others) * np.log(shares / others)).sum(axis=-1))


def length_stability(lengths: FloatArray, others: FloatArray) -> Stability | None:
    """PSI of lengths, in bins that hold a tenth of `others` each, as far as equal lengths allow.

    Args:
        lengths: Shape (n,).
        others: Shape (m,), by which the bins are made.
    """
    if not lengths.size or not others.size:
        return None
    edges = np.unique(np.quantile(others, np.arange(1, _NUM_BINS) / _NUM_BINS, method="inverted_cdf"))
    binned = [np.bincount(np.searchsorted(edges, side), minlength=edges.size + 1) for side in (lengths, others)]
    return stability(binned[0].tolist(), binned[1].tolist())
