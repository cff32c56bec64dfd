"""The gate: who becomes champion, how seldom by luck, and how surely after the labels it asked for."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import EvaluationConfig, GateConfig
from ftzard.core.gate import GateVerdict, compare, judge, num_rows_to_tell
from ftzard.core.predictions import predictions_frame
from ftzard.core.significance import mcnemar_exact, num_rows_needed, num_rows_needed_by_interval
from ftzard.errors import LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError

LABELS = ("negative", "positive")
CONFIG = EvaluationConfig(num_bootstrap_samples=200)


def frame(right: np.ndarray, true: np.ndarray) -> pl.DataFrame:
    """Answers that are right where `right` says so."""
    predicted = np.where(right, true, 1 - true)
    logits = np.where(np.arange(2) == predicted[:, None], 1.0, 0.0)
    return predictions_frame([f"{row:06}" for row in range(true.size)], [LABELS[code] for code in true], logits, LABELS)


def pair(num_rows: int, first: float, second: float, *, both: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two classifiers with these accuracies that are both right on a share `both` of the rows."""
    rng = np.random.default_rng(seed)
    drawn, true = rng.random(num_rows), rng.integers(2, size=num_rows)
    first_right = drawn < first
    second_right = (drawn < both) | ((drawn >= first) & (drawn < first + second - both))
    return frame(first_right, true), frame(second_right, true)


def verdict_of(challenger: pl.DataFrame, champion: pl.DataFrame | None, baseline: pl.DataFrame) -> GateVerdict:
    against_champion = None if champion is None else compare(challenger, champion, "champion", CONFIG)
    against_baseline = compare(challenger, baseline, "TF-IDF", CONFIG)
    return judge(against_champion, against_baseline, challenger.height, 0.1, CONFIG)[0]


GOOD, POOR = pair(400, 0.9, 0.7, both=0.68, seed=0)


def test_the_first_adapter_is_promoted_unless_tfidf_is_shown_to_be_better() -> None:
    assert verdict_of(GOOD, None, POOR) == "promote"
    assert verdict_of(GOOD, None, GOOD) == "promote"
    assert verdict_of(POOR, None, GOOD) == "keep"


def test_a_clear_gain_is_promoted_and_a_clear_loss_is_not() -> None:
    assert verdict_of(GOOD, POOR, POOR) == "promote"
    assert verdict_of(POOR, GOOD, POOR) == "keep"


def test_a_gain_over_the_champion_does_not_outweigh_a_loss_to_tfidf() -> None:
    best, _ = pair(400, 0.99, 0.9, both=0.9, seed=0)
    assert verdict_of(GOOD, POOR, best) == "keep"


def test_equal_answers_keep_the_champion() -> None:
    assert verdict_of(GOOD, GOOD, POOR) == "keep"


def test_a_gain_that_the_rows_cannot_tell_asks_for_labels_and_says_how_many() -> None:
    challenger, champion = pair(100, 0.85, 0.82, both=0.76, seed=3)
    comparison = compare(challenger, champion, "champion", CONFIG)
    verdict, reasons, more = judge(comparison, compare(challenger, champion, "TF-IDF", CONFIG), 100, 0.1, CONFIG)
    assert verdict == "need_more_labels"
    assert more is not None
    assert f"{more} more labelled examples" in reasons[0]
    needed = num_rows_to_tell(comparison.num_only_challenger / 100, comparison.num_only_other / 100, CONFIG)
    assert needed is not None
    assert more == pytest.approx((needed - 100) / 0.1, abs=1)


def test_a_gain_in_rare_labels_that_costs_as_many_rows_of_a_frequent_one_asks_for_labels_too() -> None:
    true = np.repeat([0, 1], [90, 10])
    champion = frame(np.concatenate([np.arange(90) >= 5, np.arange(10) < 5]), true)
    challenger = frame(np.concatenate([np.arange(90) >= 8, np.arange(10) < 8]), true)
    comparison = compare(challenger, champion, "champion", CONFIG)
    assert comparison.num_only_challenger == comparison.num_only_other == 3
    assert comparison.difference.value > 0
    verdict, _, more = judge(comparison, compare(challenger, champion, "TF-IDF", CONFIG), 100, 0.1, CONFIG)
    assert verdict == "need_more_labels"
    assert more is not None
    assert more > 100


def test_a_label_that_is_shown_to_suffer_keeps_the_champion() -> None:
    true = np.repeat([0, 1], [900, 100])
    champion = frame(np.concatenate([np.arange(900) >= 450, np.arange(100) < 95]), true)
    challenger = frame(np.concatenate([np.full(900, fill_value=True), np.arange(100) < 5]), true)
    lenient = EvaluationConfig(num_bootstrap_samples=200, gate=GateConfig(max_class_f1_drop=1.0))
    comparison = compare(challenger, champion, "champion", CONFIG)
    baseline = compare(challenger, challenger, "TF-IDF", CONFIG)
    verdict, reasons, _ = judge(comparison, baseline, 1000, 0.1, CONFIG)
    assert verdict == "keep"
    assert any("'positive'" in reason for reason in reasons)
    assert not any("'positive'" in reason for reason in judge(comparison, baseline, 1000, 0.1, lenient)[1])


def test_other_labels_other_rows_and_no_rows_are_errors() -> None:
    others = predictions_frame(["000000"], ["a"], np.array([[1.0, 0.0]]), ("a", "b"))
    with pytest.raises(LabelSetChangedError, match=r"tracking\.registered_model"):
        compare(GOOD, others, "champion", CONFIG)
    with pytest.raises(PredictionsMismatchError):
        compare(GOOD, POOR.head(10), "champion", CONFIG)
    with pytest.raises(TooFewExamplesError):
        compare(GOOD.head(0), POOR.head(0), "champion", CONFIG)


def share_promoted(num_pairs: int, num_rows: int, first: float, second: float, both: float) -> float:
    config = EvaluationConfig(num_bootstrap_samples=200)
    promoted = 0
    for seed in range(num_pairs):
        challenger, champion = pair(num_rows, first, second, both=both, seed=seed)
        comparison = compare(challenger, champion, "champion", config)
        promoted += (
            judge(comparison, compare(challenger, challenger, "TF-IDF", config), num_rows, 0.1, config)[0] == "promote"
        )
    return promoted / num_pairs


@pytest.mark.slow
def test_of_1000_pairs_that_are_equally_good_at_most_5_percent_are_promoted() -> None:
    assert share_promoted(1000, 300, 0.85, 0.85, both=0.78) <= 0.05


@pytest.mark.slow
def test_a_true_gain_of_3_points_is_found_in_at_least_80_percent_at_the_number_of_rows_promised() -> None:
    first, second, both = 0.88, 0.85, 0.82
    needed = num_rows_to_tell(first - both, second - both, CONFIG)
    assert needed is not None
    assert share_promoted(400, needed, first, second, both) >= 0.8


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_symmetric_and_a_probability(first: int, second: int) -> None:
    value = mcnemar_exact(first, second)
    assert value == pytest.approx(mcnemar_exact(second, first))
    assert 0 < value <= 1


def test_the_exact_test_by_hand() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(6, 0) == pytest.approx(2 * 0.5**6)
    assert mcnemar_exact(5, 5) == 1.0


@given(st.floats(0.01, 0.3), st.floats(0.0, 0.3))
def test_a_smaller_difference_or_more_power_needs_more_rows(first: float, second: float) -> None:
    needed = num_rows_needed(first + second, second, significance=0.05, power=0.8)
    finer = num_rows_needed(first / 2 + second, second, significance=0.05, power=0.8)
    surer = num_rows_needed(first + second, second, significance=0.05, power=0.9)
    assert needed is not None
    assert finer is not None
    assert surer is not None
    assert needed <= surer
    assert needed <= finer
    assert num_rows_needed(second, second, significance=0.05, power=0.8) is None


def test_rows_by_the_interval_agree_with_those_by_discordance_where_both_apply() -> None:
    challenger, champion = pair(2000, 0.88, 0.85, both=0.82, seed=1)
    comparison = compare(challenger, champion, "champion", CONFIG)
    difference = comparison.difference
    by_interval = num_rows_needed_by_interval(
        difference.value, difference.high - difference.low, 2000, significance=0.05, power=0.8
    )
    by_discordance = num_rows_needed(
        comparison.num_only_challenger / 2000, comparison.num_only_other / 2000, significance=0.05, power=0.8
    )
    assert by_discordance is not None
    assert by_interval == pytest.approx(by_discordance, rel=0.25)
    assert num_rows_needed_by_interval(0.0, 0.1, 100, significance=0.05, power=0.8) is None
