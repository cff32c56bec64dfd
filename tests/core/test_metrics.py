"""The metrics are scikit-learn's where it has them, for any number of confusion matrices at once."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.metrics import (
    FloatArray,
    IntArray,
    accuracy,
    balanced_accuracy,
    brier_scores,
    confusion_matrices,
    f1,
    log_losses,
    macro_f1,
    precision,
    recall,
)

Judged = tuple[IntArray, IntArray, FloatArray]


@st.composite
def judged(draw: st.DrawFn) -> Judged:
    """True labels, predicted labels and probabilities; few rows and skewed labels, so that labels are often absent."""
    num_labels = draw(st.integers(2, 5))
    num_rows = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = rng.dirichlet(np.full(num_labels, 0.5))
    probabilities = rng.dirichlet(np.full(num_labels, 0.3), size=num_rows) + 1e-9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    true = rng.choice(num_labels, size=num_rows, p=shares)
    return true, probabilities.argmax(axis=1), probabilities


@given(judged())
def test_decision_metrics_are_those_of_scikit_learn(rows: Judged) -> None:
    true, predicted, probabilities = rows
    labels = np.arange(probabilities.shape[1])
    confusion = confusion_matrices(true, predicted, labels.size)

    assert confusion.tolist() == sklearn.metrics.confusion_matrix(true, predicted, labels=labels).tolist()
    assert accuracy(confusion) == pytest.approx(sklearn.metrics.accuracy_score(true, predicted))
    with warnings.catch_warnings():
        # scikit-learn warns about predicted labels that do not occur; that it leaves them out is what is compared.
        warnings.simplefilter("ignore")
        assert balanced_accuracy(confusion) == pytest.approx(sklearn.metrics.balanced_accuracy_score(true, predicted))
    expected = sklearn.metrics.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for measured, reference in zip((precision(confusion), recall(confusion), f1(confusion)), expected, strict=False):
        assert measured == pytest.approx(reference)
    assert macro_f1(confusion) == pytest.approx(
        sklearn.metrics.f1_score(true, predicted, labels=labels, average="macro", zero_division=0)
    )


@given(judged())
def test_probability_metrics_are_those_of_scikit_learn(rows: Judged) -> None:
    true, _, probabilities = rows
    labels = np.arange(probabilities.shape[1])

    assert log_losses(probabilities, true).mean() == pytest.approx(
        sklearn.metrics.log_loss(true, probabilities, labels=labels)
    )
    reference = (
        sklearn.metrics.brier_score_loss(true, probabilities, labels=labels, scale_by_half=False)
        if labels.size > 2
        else 2 * sklearn.metrics.brier_score_loss(true, probabilities[:, 1], labels=labels, scale_by_half=True)
    )
    assert brier_scores(probabilities, true).mean() == pytest.approx(reference)


@given(st.lists(judged(), min_size=1, max_size=4))
def test_many_confusion_matrices_at_once_give_what_each_gives_alone(many: list[Judged]) -> None:
    size = min(true.size for true, _, _ in many)
    true = np.stack([true[:size] for true, _, _ in many])
    predicted = np.stack([predicted[:size] for _, predicted, _ in many])
    together = confusion_matrices(true, predicted, 5)

    for index in range(len(many)):
        alone = confusion_matrices(true[index], predicted[index], 5)
        assert together[index].tolist() == alone.tolist()
        for metric in (accuracy, balanced_accuracy, macro_f1, f1):
            assert metric(together)[index] == pytest.approx(metric(alone))


def test_a_label_that_neither_occurs_nor_is_predicted_has_an_f1_of_0_and_stays_in_the_macro_mean() -> None:
    confusion = np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])

    assert f1(confusion).tolist() == [1.0, 1.0, 0.0]
    assert macro_f1(confusion) == pytest.approx(2 / 3)
    assert balanced_accuracy(confusion) == 1.0


def test_a_constant_answer_has_a_balanced_accuracy_of_one_over_the_number_of_labels() -> None:
    assert balanced_accuracy(np.array([[90, 0], [10, 0]])) == 0.5


def test_a_certain_mistake_costs_a_finite_log_loss_and_the_largest_brier_score() -> None:
    probabilities, true = np.array([[1.0, 0.0]]), np.array([1])

    assert log_losses(probabilities, true)[0] == pytest.approx(36.04, abs=0.01)
    assert brier_scores(probabilities, true)[0] == 2.0


def test_an_empty_input_is_an_error_and_never_a_value() -> None:
    nothing = np.empty(0, dtype=np.int64)
    with pytest.raises(ValueError, match="at least one"):
        confusion_matrices(nothing, nothing, 2)
    for metric in (accuracy, balanced_accuracy, macro_f1, precision, recall, f1):
        with pytest.raises(ValueError, match="at least one row"):
            metric(np.zeros((2, 2), dtype=np.int64))
    for loss in (log_losses, brier_scores):
        with pytest.raises(ValueError, match="at least one"):
            loss(np.empty((0, 2)), nothing)


def test_a_label_index_outside_the_label_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        confusion_matrices(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="from 0 to 1"):
        confusion_matrices(np.array([0, 1]), np.array([0, -1]), 2)
