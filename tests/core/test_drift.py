"""Drift as Cliff's delta: checked against the pairs counted one by one, and against what it must not depend on."""

from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ftzard.core.drift import cliffs_delta, confidence_drift
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray
from ftzard.core.predictions import predictions_frame
from ftzard.errors import InvalidPredictionsError

_LABELS = ("negative", "positive")
# Few different values, so that there are ties.
_samples = arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 6).map(float))


def _delta(first: FloatArray, second: FloatArray) -> Interval:
    interval = cliffs_delta(first, second)
    assert interval is not None
    return interval


def _predictions(margins: list[float]) -> pl.DataFrame:
    logits = np.array([[0.0, margin] for margin in margins]).reshape(-1, 2)
    hashes = [str(index) for index in range(len(margins))]
    return predictions_frame(hashes, ["positive"] * len(margins), logits, _LABELS)


@given(_samples, _samples)
def test_it_is_the_share_of_pairs_above_minus_the_share_below(first: FloatArray, second: FloatArray) -> None:
    expected = np.sign(first[:, None] - second[None, :]).mean()
    assert _delta(first, second).value == pytest.approx(expected)


@given(_samples, _samples)
def test_the_two_samples_the_other_way_round_give_the_other_sign(first: FloatArray, second: FloatArray) -> None:
    one, other = _delta(first, second), _delta(second, first)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


@given(_samples, _samples, st.integers(2, 5))
def test_it_does_not_grow_with_the_number_of_rows_but_its_interval_narrows(
    first: FloatArray, second: FloatArray, times: int
) -> None:
    once, repeated = _delta(first, second), _delta(np.repeat(first, times), np.repeat(second, times))
    assert repeated.value == pytest.approx(once.value)
    assert repeated.high - repeated.low <= once.high - once.low + 1e-9


@given(_samples, _samples)
def test_it_and_its_interval_lie_between_minus_one_and_one(first: FloatArray, second: FloatArray) -> None:
    interval = _delta(first, second)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1


@given(_samples, _samples)
def test_only_the_order_of_the_values_counts(first: FloatArray, second: FloatArray) -> None:
    assert _delta(np.exp(first), np.exp(second)) == _delta(first, second)


@pytest.mark.parametrize(("num_first", "num_second"), [(30, 30), (20, 400)])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_covers_the_true_value_about_as_often_as_it_says(
    num_first: int, num_second: int, shift: float
) -> None:
    rng = np.random.default_rng(0)
    true = 2 * NormalDist().cdf(shift / 2**0.5) - 1
    intervals = [_delta(rng.normal(shift, 1, num_first), rng.normal(0, 1, num_second)) for _ in range(400)]
    assert 0.91 <= np.mean([interval.low <= true <= interval.high for interval in intervals]) <= 0.99


def test_samples_that_do_not_overlap_are_told_apart_for_certain_only_where_they_are_large() -> None:
    few, many = _delta(np.ones(2), np.zeros(2)), _delta(np.ones(200), np.zeros(200))
    assert (few.value, few.high) == (many.value, many.high) == (1.0, 1.0)
    assert few.low < 0
    assert many.low > 0.9


def test_it_is_undefined_where_there_is_nothing_to_compare() -> None:
    assert cliffs_delta(np.array([]), np.ones(3)) is None
    assert cliffs_delta(np.ones(3), np.array([])) is None
    assert confidence_drift(_predictions([1.0]), _predictions([])) is None


def test_a_champion_that_is_less_sure_of_what_comes_in_has_a_negative_drift() -> None:
    drift = confidence_drift(_predictions([3.0, -3.0, 4.0] * 10), _predictions([0.1, -0.2, 0.3] * 10))
    assert drift is not None
    assert drift.value == -1.0
    assert drift.high < -0.5


def test_it_does_not_matter_which_label_is_predicted_with_that_confidence() -> None:
    drift = confidence_drift(_predictions([2.0, 1.0]), _predictions([-2.0, -1.0]))
    assert drift is not None
    assert drift.value == 0


def test_predictions_of_incoming_files_bring_columns_of_their_own() -> None:
    incoming = _predictions([0.5]).with_columns(label=pl.lit(None, pl.String), champion_version=pl.lit("3"))
    assert confidence_drift(_predictions([1.0, 2.0]), incoming) is not None


def test_a_frame_that_holds_no_predictions_is_refused() -> None:
    with pytest.raises(InvalidPredictionsError, match="probabilities"):
        confidence_drift(_predictions([1.0]), pl.DataFrame({"text": ["a"]}))
    with pytest.raises(InvalidPredictionsError, match="logits"):
        confidence_drift(_predictions([1.0]).drop("logits"), _predictions([1.0]))
