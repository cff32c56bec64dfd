"""Metrics of sets of labels, against scikit-learn where both define them, and thresholds against every other choice."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    hamming_loss,
    precision_score,
    recall_score,
)

from ftzard.core import set_metrics
from ftzard.core.label_sets import BoolArray
from ftzard.core.metrics import FloatArray
from ftzard.core.set_thresholds import given_labels, tuned_thresholds

# In quarters, so that equal ones occur.
_PROBABILITIES = st.integers(0, 8).map(lambda eighths: eighths / 8)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[BoolArray, BoolArray, FloatArray]:
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 4)))
    true, predicted = (draw(arrays.arrays(np.bool_, shape)) for _ in range(2))
    return true, predicted, draw(arrays.arrays(np.float64, shape, elements=_PROBABILITIES))


def _rows(true: BoolArray) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.arange(len(true))[None]


@given(_answers())
def test_f1_precision_and_recall_are_those_of_scikit_learn(answers: tuple[BoolArray, BoolArray, FloatArray]) -> None:
    true, predicted, _ = answers
    counts = set_metrics.label_counts(true, predicted, _rows(true))
    # A single column would be taken for single labels.
    two = [np.column_stack([part, np.zeros(len(part), dtype=bool)]) for part in (true, predicted)]
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        expected = score(*two, average=None, zero_division=0)[: true.shape[1]]
        assert getattr(set_metrics, f"label_{name}")(counts)[0] == pytest.approx(expected)
    expected_macro = f1_score(*two, average=None, zero_division=0)[: true.shape[1]].mean()
    assert set_metrics.macro_f1(counts)[0] == pytest.approx(expected_macro)
    assert set_metrics.micro_f1(counts)[0] == pytest.approx(f1_score(*two, average="micro", zero_division=0))
    assert set_metrics.row_f1(true, predicted).mean() == pytest.approx(
        f1_score(*two, average="samples", zero_division=1)
    )


@given(_answers())
def test_hamming_loss_subset_accuracy_and_average_precision_are_those_of_scikit_learn(
    answers: tuple[BoolArray, BoolArray, FloatArray],
) -> None:
    true, predicted, probabilities = answers
    assert set_metrics.row_hamming(true, predicted).mean() == pytest.approx(
        hamming_loss(true.ravel(), predicted.ravel())
    )
    exact = [np.array_equal(one, other) for one, other in zip(true, predicted, strict=True)]
    assert set_metrics.row_exact(true, predicted).tolist() == exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        columns = zip(true.T, probabilities.T, strict=True)
        expected = np.mean([average_precision_score(*column) if column[0].any() else 0.0 for column in columns])
    found = set_metrics.average_precision(probabilities, true, _rows(true))
    assert found[0] == pytest.approx(expected)


@given(_answers())
def test_labels_are_confused_on_the_rows_that_miss_the_one_and_wrongly_get_the_other(
    answers: tuple[BoolArray, BoolArray, FloatArray],
) -> None:
    true, predicted, _ = answers
    found = set_metrics.confused_labels(true, predicted)
    nothing = true.shape[1]
    missed = [{*np.flatnonzero(row)} or {nothing} for row in true & ~predicted]
    wrong = [{*np.flatnonzero(row)} or {nothing} for row in predicted & ~true]
    assert found.shape == (nothing + 1, nothing + 1)
    for one, other in np.ndindex(found.shape):
        rows = [one in misses and other in gets for misses, gets in zip(missed, wrong, strict=True)]
        if one == other == nothing:
            rows = [not has.any() and not gets.any() for has, gets in zip(true, predicted, strict=True)]
        elif one == other:
            rows = (true & predicted)[:, one].tolist()
        assert found[one, other] == sum(rows)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_where_each_row_has_one_label_or_none_and_gets_one_or_none_that_is_the_confusion_matrix_of_scikit_learn(
    rows: list[tuple[int, int]],
) -> None:
    true, predicted = np.array(rows).T
    # Of four answers the last is to have none of three labels.
    answers = np.eye(4, dtype=bool)[:, :3]
    found = set_metrics.confused_labels(answers[true], answers[predicted])
    assert found.tolist() == confusion_matrix(true, predicted, labels=range(4)).tolist()


@given(_answers(), st.data())
def test_a_resample_has_the_scores_of_its_rows(
    answers: tuple[BoolArray, BoolArray, FloatArray], data: st.DataObject
) -> None:
    true, predicted, probabilities = answers
    rows = data.draw(arrays.arrays(np.int64, (2, 5), elements=st.integers(0, len(true) - 1)))
    counts = set_metrics.label_counts(true, predicted, rows)
    found = set_metrics.average_precision(probabilities, true, rows)
    for number, row in enumerate(rows):
        alone = set_metrics.label_counts(true[row], predicted[row], np.arange(5)[None])
        assert set_metrics.label_f1(counts)[number].tolist() == set_metrics.label_f1(alone)[0].tolist()
        own = set_metrics.average_precision(probabilities[row], true[row], np.arange(5)[None])
        assert found[number] == pytest.approx(own[0])


def test_a_row_without_labels_that_gets_none_is_right() -> None:
    true = np.array([[False, False], [True, False]])
    assert set_metrics.row_f1(true, true).tolist() == [1, 1]
    assert set_metrics.row_f1(true, ~true).tolist() == [0, 0]
    with pytest.raises(ValueError, match="at least one"):
        set_metrics.label_counts(true[:0], true[:0], np.zeros((1, 0), dtype=np.int64))


def test_losses_of_probabilities_are_means_over_the_labels() -> None:
    probabilities, true = np.array([[0.5, 0.25]]), np.array([[True, False]])
    assert set_metrics.row_log_losses(probabilities, true) == pytest.approx([(np.log(2) - np.log(0.75)) / 2])
    assert set_metrics.row_brier(probabilities, true) == pytest.approx([(0.25 + 0.0625) / 2])
    assert np.isfinite(set_metrics.row_log_losses(np.array([[0.0]]), np.array([[True]]))).all()


@given(_answers())
def test_no_other_threshold_has_a_better_f1_than_the_tuned_one(
    answers: tuple[BoolArray, BoolArray, FloatArray],
) -> None:
    true, _, probabilities = answers
    thresholds = tuned_thresholds(probabilities, true)
    assert ((thresholds >= 0) & (thresholds < 1)).all()

    def f1(cut: FloatArray) -> FloatArray:
        given = given_labels(probabilities, cut)
        counts = set_metrics.label_counts(true, given, _rows(true))
        return np.asarray(set_metrics.label_f1(counts)[0])

    best = np.max([f1(np.full(true.shape[1], cut)) for cut in np.linspace(0, 1.1, 45)], axis=0)
    assert f1(thresholds) == pytest.approx(best)


def test_a_threshold_stays_at_one_half_where_that_is_as_good_and_else_comes_as_near_as_it_can() -> None:
    scores = np.array([[0.1], [0.2], [0.6], [0.8]])
    assert tuned_thresholds(scores, np.array([[False], [False], [True], [True]])).tolist() == [0.5]
    assert tuned_thresholds(scores, np.array([[False], [True], [True], [True]])).tolist() == pytest.approx([0.15])
    assert tuned_thresholds(scores, np.array([[False], [False], [False], [True]])).tolist() == pytest.approx([0.7])
    assert tuned_thresholds(scores, np.zeros((4, 1), dtype=bool)).tolist() == [0.5]
