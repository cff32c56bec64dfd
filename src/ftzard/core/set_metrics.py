"""Metrics of sets of labels as pure numpy functions; scikit-learn's definitions where it has them.

Metrics of decisions are functions of how many rows have a label, get it, and both: of any number of such counts at
once, so that the bootstrap judges thousands of resamples without a Python loop over them. Nothing here hides a failure
in a number: an empty input raises.
"""

from dataclasses import dataclass

import numpy as np

from ftzard.core.label_sets import BoolArray
from ftzard.core.metrics import SMALLEST_PROBABILITY, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """How often each of k labels was found, for any number of resamples; each array has shape (..., k).

    Attributes:
        hits: Rows that have the label and get it.
        given: Rows that get it.
        true: Rows that have it.
    """

    hits: FloatArray
    given: FloatArray
    true: FloatArray


def label_counts(true: BoolArray, given: BoolArray, samples: IntArray) -> LabelCounts:
    """Count in resamples of rows.

    Args:
        true: Which of n rows have which of k labels, shape (n, k).
        given: Which get which, shape (n, k).
        samples: Rows, shape (b, m), each an index in [0, n); the n rows themselves are `np.arange(n)[None]`.

    Returns:
        Counts of shape (b, k).

    Raises:
        ValueError: There are no rows, or the shapes differ.
    """
    if true.shape != given.shape or true.size == 0 or samples.size == 0:
        message = f"true and given labels must be as many and at least one, not {true.shape} and {given.shape}"
        raise ValueError(message)
    times = multiplicities(samples, len(true))
    # Whole numbers, which float64 adds exactly in any order.
    sums = [times @ part.astype(np.float64) for part in (true & given, given, true)]
    return LabelCounts(*sums)


def confused_labels(true: BoolArray, given: BoolArray) -> IntArray:
    """Count for each two labels the rows that miss the one and wrongly get the other.

    A set does not say which of its wrong labels stands for which of the missed ones, so that every pair counts: a row
    that misses two labels and gets three wrong ones adds one to each of six cells. Where nothing is wrongly given for
    what is missed, or nothing missed for what is wrongly given, `nothing` stands for it, behind the labels. Where each
    row has one label or none, and gets one or none, this is the confusion matrix with `none` as one more label.

    Args:
        true: Which of n rows have which of k labels, shape (n, k).
        given: Which get which, shape (n, k).

    Returns:
        Rows, shape (k + 1, k + 1). Beside the diagonal, row i and column j: those that have i and do not get it, and
        get j and do not have it. On the diagonal: those that have the label and get it; in the last place those that
        have none and get none.
    """
    missed, wrong = (_or_nothing(part) for part in (true & ~given, given & ~true))
    confused = missed.T @ wrong
    # No label is missed and wrong in the same row, so that the product's own diagonal is empty but for the last place.
    found, nothing = (true & given).sum(axis=0), (~(true | given).any(axis=1)).sum()
    np.fill_diagonal(confused, np.append(found, nothing))
    return np.asarray(confused, dtype=np.int64)


def _or_nothing(labels: BoolArray) -> FloatArray:
    """A column more for rows without any, shape (n, k + 1)."""
    return np.column_stack([labels, ~labels.any(axis=1)]).astype(np.float64)


def multiplicities(samples: IntArray, num_rows: int) -> FloatArray:
    """How often each of n rows is in each of b resamples, shape (b, n)."""
    offsets = np.arange(len(samples), dtype=np.int64)[:, None] * num_rows
    counts = np.bincount((samples + offsets).ravel(), minlength=len(samples) * num_rows)
    return counts.reshape(len(samples), num_rows).astype(np.float64)


def label_precision(counts: LabelCounts) -> FloatArray:
    """Per label, the share of the rows that get it that have it; 0 where none gets it. Shape (..., k)."""
    return _ratio(counts.hits, counts.given)


def label_recall(counts: LabelCounts) -> FloatArray:
    """Per label, the share of the rows that have it that get it; 0 where none has it. Shape (..., k)."""
    return _ratio(counts.hits, counts.true)


def label_f1(counts: LabelCounts) -> FloatArray:
    """Per label, the harmonic mean of precision and recall; 0 where it is never found. Shape (..., k)."""
    return _ratio(2 * counts.hits, counts.given + counts.true)


def macro_f1(counts: LabelCounts) -> FloatArray:
    """Mean F1 over all labels, each counting the same however rare.

    A label that neither occurs nor is given has F1 0 and stays in the mean, as for single labels. Shape (...), range 0
    to 1, higher is better.
    """
    return np.asarray(label_f1(counts).mean(axis=-1))


def micro_f1(counts: LabelCounts) -> FloatArray:
    """F1 over all pairs of a row and a label; 0 where no label is had or given at all.

    Shape (...), range 0 to 1, higher is better.
    """
    whole = counts.given.sum(axis=-1) + counts.true.sum(axis=-1)
    return _ratio(2 * counts.hits.sum(axis=-1), whole)


def row_f1(true: BoolArray, given: BoolArray) -> FloatArray:
    """F1 of each row's set, shape (n,); its mean is the samples-F1 (Godbole and Sarawagi 2004).

    Where a row has no label and gets none, that is right and counts as 1 (`zero_division=1` in scikit-learn). Range 0
    to 1, higher is better.
    """
    whole = true.sum(axis=1) + given.sum(axis=1)
    return np.asarray(np.where(whole == 0, 1.0, 2 * (true & given).sum(axis=1) / np.maximum(whole, 1)))


def row_exact(true: BoolArray, given: BoolArray) -> FloatArray:
    """1 where a row gets exactly its set, else 0, shape (n,); its mean is the subset accuracy. Higher is better."""
    return np.asarray((true == given).all(axis=1), dtype=np.float64)


def row_hamming(true: BoolArray, given: BoolArray) -> FloatArray:
    """Share of the labels that are wrong about a row, shape (n,); its mean is the Hamming loss. Lower is better."""
    return np.asarray((true != given).mean(axis=1))


def row_log_losses(probabilities: FloatArray, true: BoolArray) -> FloatArray:
    """Mean binary cross entropy over the labels of each row, shape (n,), in nats, from 0 to 36; lower is better."""
    of_truth = np.where(true, probabilities, 1.0 - probabilities)
    return np.asarray(-np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0)).mean(axis=1))


def row_brier(probabilities: FloatArray, true: BoolArray) -> FloatArray:
    """Mean squared distance between probability and truth over the labels of each row, shape (n,); lower is better."""
    return np.asarray(((probabilities - true) ** 2).mean(axis=1))


def average_precision(probabilities: FloatArray, true: BoolArray, samples: IntArray) -> FloatArray:
    """Mean over the labels of the area under precision over recall, as steps: sum of (R_i - R_i-1) P_i.

    No threshold has a say in it. A label that no row has counts as 0, as in scikit-learn.

    Args:
        probabilities: Shape (n, k); rows that are equally probable are taken together.
        true: Shape (n, k).
        samples: As for `label_counts`.

    Returns:
        Shape (b,), range 0 to 1, higher is better.
    """
    # Rows first, so that what is taken of them lies together.
    times = np.ascontiguousarray(multiplicities(samples, len(true)).T)
    columns = zip(probabilities.T, true.T, strict=True)
    return np.asarray(np.mean([_average_precision(scores, truth, times) for scores, truth in columns], axis=0))


def _average_precision(scores: FloatArray, truth: BoolArray, times: FloatArray) -> FloatArray:
    """Of one label; `times` has shape (n, b). Only where recall rises, precision counts."""
    if not truth.any():
        return np.zeros(times.shape[1])
    order = np.argsort(-scores, kind="stable")
    # The groups of equal scores that have the label, by the places of their last row.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    places = np.flatnonzero(truth[order])
    group = np.searchsorted(ends, places)
    rising, starts = np.unique(group, return_index=True)
    gained = np.add.reduceat(times[order[places]], starts, axis=0)
    parts = np.concatenate([[0], ends[rising[:-1]] + 1])
    given = np.add.reduceat(times[order[: ends[rising[-1]] + 1]], parts, axis=0).cumsum(axis=0)
    hits = gained.cumsum(axis=0)
    return _ratio((gained * _ratio(hits, given)).sum(axis=0), hits[-1])


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Divide, with 0 where there is nothing to divide by."""
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
