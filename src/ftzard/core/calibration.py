"""Calibration: does a classifier that is 80 % sure come true in 80 % of the cases?

Both views, the reliability diagram's bins and the expected calibration error, look at the probability of the predicted
label in equal-width bins (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2).
"""

import numpy as np

from ftzard.core.evaluation_report import ReliabilityBin
from ftzard.core.metrics import FloatArray, IntArray


def bin_indices(confidences: FloatArray, num_bins: int) -> IntArray:
    """Say into which of `num_bins` equal-width bins over (0, 1] each confidence falls.

    Args:
        confidences: Probabilities of the predicted labels, shape (n,), each in [0, 1].
        num_bins: The number of bins, at least 1.

    Returns:
        Shape (n,), from 0 to num_bins - 1; a confidence on an edge belongs to the bin below it, 0 to the first.

    Raises:
        ValueError: A confidence is outside [0, 1] or NaN.
    """
    if not ((confidences >= 0) & (confidences <= 1)).all():
        message = "confidences must be from 0 to 1"
        raise ValueError(message)
    return np.digitize(confidences, _edges(num_bins)[1:-1], right=True).astype(np.int64)


def reliability_bins(confidences: FloatArray, correct: FloatArray, num_bins: int) -> tuple[ReliabilityBin, ...]:
    """Compare confidence and accuracy in equal-width bins.

    Args:
        confidences: Probabilities of the predicted labels, shape (n,).
        correct: 1 where the predicted label is the true one, else 0, shape (n,).
        num_bins: The number of bins.

    Returns:
        `num_bins` bins from 0 to 1, the empty ones too.

    Raises:
        ValueError: There are no rows, or a confidence is outside [0, 1].
    """
    _check_rows(confidences, correct)
    bins = bin_indices(confidences, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    confidence_sums = np.bincount(bins, weights=confidences, minlength=num_bins)
    hits = np.bincount(bins, weights=correct, minlength=num_bins)
    edges = _edges(num_bins)
    return tuple(
        ReliabilityBin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            num_examples=int(count),
            mean_confidence=float(confidence_sums[index] / count) if count else None,
            accuracy=float(hits[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_calibration_errors(
    confidences: FloatArray, correct: FloatArray, num_bins: int, samples: IntArray
) -> FloatArray:
    """Mean distance between confidence and accuracy over the bins, weighted by their examples (Guo et al., equation 3).

    A finite sample makes even a perfectly calibrated classifier look off by chance, so that the value is biased
    upwards, the more the fewer examples a bin has.

    Args:
        confidences: Probabilities of the predicted labels, shape (n,).
        correct: 1 where the predicted label is the true one, else 0, shape (n,).
        num_bins: The number of bins.
        samples: Rows to judge, shape (b, m), each an index in [0, n); the n rows themselves are `np.arange(n)[None]`.

    Returns:
        Shape (b,), range 0 to 1, lower is better.

    Raises:
        ValueError: There are no rows, or a confidence is outside [0, 1].
    """
    _check_rows(confidences, correct)
    num_samples, num_rows = samples.shape
    bins = bin_indices(confidences, num_bins)
    offsets = np.arange(num_samples, dtype=np.int64)[:, None] * num_bins
    gaps = np.bincount(
        (bins[samples] + offsets).ravel(),
        weights=(confidences - correct)[samples].ravel(),
        minlength=num_samples * num_bins,
    )
    return np.asarray(np.abs(gaps.reshape(num_samples, num_bins)).sum(axis=1) / num_rows)


def _edges(num_bins: int) -> FloatArray:
    return np.linspace(0.0, 1.0, num_bins + 1)


def _check_rows(confidences: FloatArray, correct: FloatArray) -> None:
    if confidences.size == 0 or confidences.shape != correct.shape:
        message = f"confidences and outcomes must be as many and at least one: {confidences.shape}, {correct.shape}"
        raise ValueError(message)
