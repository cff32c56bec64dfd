"""Reliability bins and the expected calibration error say how far confidence is from accuracy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.calibration import bin_indices, expected_calibration_errors, reliability_bins

CONFIDENCES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50)


def ece(confidences: list[float], correct: list[float], num_bins: int) -> float:
    rows = np.arange(len(confidences))[None]
    return float(expected_calibration_errors(np.array(confidences), np.array(correct), num_bins, rows)[0])


@given(CONFIDENCES, st.integers(2, 20))
def test_the_bins_hold_every_example_once_and_lie_around_their_mean_confidence(
    rows: list[tuple[float, bool]], num_bins: int
) -> None:
    confidences, correct = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    bins = reliability_bins(confidences, correct, num_bins)

    assert len(bins) == num_bins
    assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
    assert sum(one.num_examples for one in bins) == len(rows)
    for one in bins:
        if one.num_examples:
            assert one.mean_confidence is not None
            assert one.low - 1e-9 <= one.mean_confidence <= one.high + 1e-9
        else:
            assert one.mean_confidence is None
            assert one.accuracy is None


@given(CONFIDENCES, st.integers(2, 20))
def test_the_calibration_error_is_the_weighted_gap_of_the_bins(rows: list[tuple[float, bool]], num_bins: int) -> None:
    confidences, correct = [row[0] for row in rows], [float(row[1]) for row in rows]
    gaps = [
        one.num_examples / len(rows) * abs(one.accuracy - one.mean_confidence)
        for one in reliability_bins(np.array(confidences), np.array(correct), num_bins)
        if one.accuracy is not None and one.mean_confidence is not None
    ]
    assert ece(confidences, correct, num_bins) == pytest.approx(sum(gaps))


def test_a_calibrated_classifier_has_no_error_and_a_sure_one_that_is_wrong_the_largest() -> None:
    assert ece([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0], 10) == 0.0
    assert ece([1.0, 1.0], [0, 0], 10) == 1.0


def test_overconfidence_in_one_bin_is_not_set_off_by_underconfidence_in_another() -> None:
    assert ece([0.6, 0.9], [1, 0], 10) == pytest.approx((0.4 + 0.9) / 2)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    assert bin_indices(np.array([0.0, 0.25, 0.5, 0.500001, 1.0]), 4).tolist() == [0, 0, 1, 2, 3]


def test_each_resample_is_judged_by_its_own_rows() -> None:
    confidences, correct = np.array([0.9, 0.6]), np.array([1.0, 0.0])
    errors = expected_calibration_errors(confidences, correct, 10, np.array([[0, 0], [1, 1], [0, 1]]))

    assert errors == pytest.approx(np.array([0.1, 0.6, 0.35]))


def test_an_empty_input_or_a_confidence_that_is_no_probability_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        reliability_bins(np.empty(0), np.empty(0), 10)
    with pytest.raises(ValueError, match="at least one"):
        expected_calibration_errors(np.empty(0), np.empty(0), 10, np.empty((1, 0), dtype=np.int64))
    for wrong in (1.1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            bin_indices(np.array([0.5, wrong]), 10)
