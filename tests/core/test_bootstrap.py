"""Intervals hold what they promise: their value always, the truth 95 times in 100."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.core import bootstrap
from ftzard.core.bootstrap import (
    Statistic,
    bootstrap_interval,
    paired_difference,
    percentile_interval,
    resample_values,
)
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.share_intervals import wilson_interval

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def mean_of(values: FloatArray) -> Statistic:
    def measure(samples: IntArray) -> FloatArray:
        return np.asarray(values[samples].mean(axis=1))

    return measure


@settings(max_examples=40)
@given(VALUES, st.integers(0, 2**31))
def test_an_interval_holds_its_value_and_stays_within_what_can_be_resampled(values: list[float], seed: int) -> None:
    rows = np.array(values)
    interval = bootstrap_interval(mean_of(rows), rows.size, 100, seed)

    assert interval.low <= interval.value <= interval.high
    assert interval.value == pytest.approx(rows.mean())
    assert rows.min() - 1e-6 <= interval.low
    assert interval.high <= rows.max() + 1e-6


@settings(max_examples=40)
@given(VALUES, st.integers(0, 2**31))
def test_a_system_compared_with_itself_differs_by_exactly_nothing(values: list[float], seed: int) -> None:
    statistic = mean_of(np.array(values))

    assert paired_difference(statistic, statistic, len(values), 100, seed) == Interval(0.0, 0.0, 0.0)


def test_the_interval_of_mean_accuracy_holds_the_truth_in_about_95_of_100_experiments() -> None:
    rng = np.random.default_rng(0)
    num_experiments, truth, held = 400, 0.8, 0
    for experiment in range(num_experiments):
        correct = (rng.random(150) < truth).astype(np.float64)
        interval = bootstrap_interval(mean_of(correct), correct.size, 300, experiment)
        held += interval.low <= truth <= interval.high

    assert 0.92 <= held / num_experiments <= 0.98


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_share_of_all_or_of_none_is_no_certainty(end: float) -> None:
    found = bootstrap_interval(mean_of(np.full(30, end)), 30, 100, 0, is_share=True)
    wilson = wilson_interval(int(30 * end), 30)
    assert (found.value, found.low, found.high) == pytest.approx((wilson.value, wilson.low, wilson.high))
    # Groups are what is drawn: ten rows each of three users tell less.
    grouped = bootstrap_interval(mean_of(np.full(30, end)), np.arange(30) // 10, 100, 0, is_share=True)
    assert grouped.high - grouped.low == pytest.approx(1 - wilson_interval(3, 3).low)
    inside = mean_of(np.append(np.full(29, end), 0.5))
    assert bootstrap_interval(inside, 30, 100, 0, is_share=True) == bootstrap_interval(inside, 30, 100, 0)


@pytest.mark.parametrize("num_rows", [10, 30])
def test_the_interval_of_an_accuracy_that_few_rows_hardly_tell_from_1_holds_it_95_times_in_100(num_rows: int) -> None:
    rng, held = np.random.default_rng(0), 0
    for experiment in range(300):
        correct = (rng.random(num_rows) < 0.95).astype(np.float64)
        interval = bootstrap_interval(mean_of(correct), num_rows, 200, experiment, is_share=True)
        held += interval.low <= 0.95 <= interval.high

    assert held / 300 >= 0.93


def test_pairing_makes_the_interval_of_two_systems_that_fail_on_the_same_rows_narrower() -> None:
    rng = np.random.default_rng(0)
    hard = (rng.random(300) < 0.7).astype(np.float64)
    better = np.where(rng.random(300) < 0.05, 1.0, hard)
    paired = paired_difference(mean_of(better), mean_of(hard), 300, 1000, seed=1)
    unpaired = percentile_interval(
        paired.value, resample_values(mean_of(better), 300, 1000, 1) - resample_values(mean_of(hard), 300, 1000, 2)
    )

    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 2


def test_the_same_seed_gives_the_same_resamples_whatever_is_measured() -> None:
    seen: list[IntArray] = []

    def look(samples: IntArray) -> FloatArray:
        seen.append(samples)
        return np.zeros(len(samples))

    for seed in (7, 7, 8):
        resample_values(look, 20, 100, seed)

    assert seen[0].tolist() == seen[1].tolist()
    assert seen[0].tolist() != seen[2].tolist()


def test_resamples_come_in_portions_and_all_of_them_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_MAX_INDICES_AT_ONCE", 70)
    shapes: list[tuple[int, ...]] = []

    def look(samples: IntArray) -> FloatArray:
        shapes.append(samples.shape)
        return samples[:, :2].astype(np.float64)

    assert resample_values(look, 10, 16, 0).shape == (16, 2)
    assert shapes == [(7, 10), (7, 10), (2, 10)]


def test_an_interval_is_widened_to_a_value_that_resampling_biases() -> None:
    assert percentile_interval(0.0, np.linspace(0.2, 0.3, 101)).low == 0.0
    assert percentile_interval(1.0, np.linspace(0.2, 0.3, 101)).high == 1.0


def test_the_interval_cuts_off_two_and_a_half_percent_at_both_ends() -> None:
    interval = percentile_interval(500.0, np.arange(1001.0))

    assert (interval.low, interval.high) == pytest.approx((25.0, 975.0))


def test_an_interval_that_does_not_hold_its_value_or_is_no_number_cannot_be_made() -> None:
    for value, low, high in ((0.5, 0.6, 0.7), (0.5, 0.3, 0.4), (float("nan"), 0.0, 1.0), (0.0, -float("inf"), 1.0)):
        with pytest.raises(ValueError, match="Interval"):
            Interval(value, low, high)


def test_no_rows_or_no_resamples_is_an_error() -> None:
    for num_rows, num_samples in ((0, 100), (10, 0)):
        with pytest.raises(ValueError, match="needs rows and resamples"):
            bootstrap_interval(mean_of(np.ones(10)), num_rows, num_samples, 0)
