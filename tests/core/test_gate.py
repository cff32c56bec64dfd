"""The gate: who becomes champion, how seldom by luck, and how surely after the labels it asked for."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import EvaluationConfig, GateConfig
from ftzard.core import comparison as comparison_module
from ftzard.core.bootstrap import resample_values
from ftzard.core.comparison import Comparison, compare
from ftzard.core.gate import GateVerdict, judge, num_rows_to_tell
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import predictions_frame
from ftzard.core.significance import mcnemar_exact, num_rows_needed
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
    needed = num_rows_to_tell(comparison, 100, CONFIG)
    assert needed is not None
    assert more == pytest.approx((needed - 100) / 0.1, abs=1)


def test_with_a_frozen_test_split_it_names_the_refreeze_and_counts_what_is_held_for_it() -> None:
    challenger, champion = pair(100, 0.85, 0.82, both=0.76, seed=3)
    comparison = compare(challenger, champion, "champion", CONFIG)
    beside = compare(challenger, champion, "TF-IDF", CONFIG)
    needed = num_rows_to_tell(comparison, 100, CONFIG)
    assert needed is not None

    def asked(num_held: int | None) -> tuple[str, int]:
        verdict, (reason,), more = judge(comparison, beside, 100, 0.1, CONFIG, num_held)
        assert verdict == "need_more_labels"
        assert more is not None
        return reason, more

    growing, alone = asked(None)
    assert "refreeze" not in growing
    assert asked(0)[1] == alone
    assert "`ftzard splits refreeze`" in asked(0)[0]
    half = (needed - 100) // 2
    assert asked(half)[1] == pytest.approx(alone - half / 0.1, abs=1)
    reason, more = asked(needed - 100)
    assert more == 0
    assert f"with the {needed - 100} rows that are held for the test split and `ftzard splits refreeze`" in reason


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


def test_a_gain_in_rare_labels_does_not_outweigh_being_shown_right_on_fewer_rows() -> None:
    true = np.repeat([0, 1], [1960, 40])
    champion = frame(np.concatenate([np.arange(1960) >= 10, np.arange(40) < 4]), true)
    challenger = frame(np.concatenate([np.arange(1960) >= 50, np.arange(40) < 30]), true)
    comparison = compare(challenger, champion, "champion", CONFIG)
    assert comparison.is_shown_better
    fewer = frame(np.concatenate([np.arange(1960) >= 80, np.arange(40) < 34]), true)
    comparison = compare(fewer, champion, "champion", CONFIG)
    assert comparison.is_shown_better
    assert comparison.is_shown_right_less_often
    verdict, reasons, more = judge(comparison, compare(fewer, champion, "TF-IDF", CONFIG), 2000, 0.1, CONFIG)
    assert (verdict, more) == ("keep", None)
    assert "right on fewer rows" in reasons[0]


def at_level(significance: float, num_samples: int = 1000) -> EvaluationConfig:
    return EvaluationConfig(num_bootstrap_samples=num_samples, gate=GateConfig(significance=significance))


def test_the_configured_level_decides_how_much_has_to_be_shown() -> None:
    challenger, champion = pair(400, 0.85, 0.82, both=0.78, seed=3)
    strict, usual, lenient = (
        compare(challenger, champion, "champion", at_level(level)) for level in (0.001, 0.05, 0.4)
    )
    assert strict.difference.low < usual.difference.low < 0 < lenient.difference.low
    assert strict.label_differences["positive"].low < lenient.label_differences["positive"].low
    assert strict.standard_error == usual.standard_error == lenient.standard_error
    verdicts = {
        level: judge(comparison, compare(challenger, challenger, "TF-IDF", CONFIG), 400, 0.1, at_level(level))
        for level, comparison in ((0.05, usual), (0.4, lenient))
    }
    assert [verdict for verdict, _, _ in verdicts.values()] == ["need_more_labels", "promote"]
    assert "(95 % interval" in verdicts[0.05][1][0]
    assert "(60 % interval" in verdicts[0.4][1][0]
    needed = [num_rows_to_tell(one, 400, at_level(0.05)) or 0 for one in (lenient, usual, strict)]
    assert needed == sorted(set(needed))


def test_a_strict_level_takes_more_rows_on_which_the_two_differ() -> None:
    right = np.full(100, fill_value=True)
    champion = frame(np.arange(100) >= 7, np.arange(100) % 2)
    challenger = frame(right, np.arange(100) % 2)
    assert compare(challenger, champion, "champion", at_level(0.05)).is_told_apart
    assert not compare(challenger, champion, "champion", at_level(0.01)).is_told_apart


def test_all_labels_and_their_mean_are_of_the_same_resamples_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def count(*arguments: Any) -> Any:
        drawn.append(arguments[2])
        return resample_values(*arguments)

    monkeypatch.setattr(comparison_module, "resample_values", count)
    comparison = compare(GOOD, POOR, "champion", CONFIG)
    assert drawn == [200]
    mean = sum(interval.value for interval in comparison.label_differences.values()) / 2
    assert comparison.difference.value == pytest.approx(mean)
    assert comparison.difference.value == pytest.approx(comparison.macro_f1 - comparison.other_macro_f1)


Shares = tuple[float, ...]
SHARES: dict[str, Shares] = {
    "two labels": (0.5, 0.5),
    "three balanced labels": (1 / 3, 1 / 3, 1 / 3),
    "a rare third label": (0.475, 0.475, 0.05),
}


def outcomes(shares: Shares, first: float, second: float, both: float) -> FloatArray:
    """How often each true label meets each pair of answers, shape (k, k, k); errors go evenly to the other labels."""
    num = len(shares)
    share = np.zeros((num, num, num))
    for true in range(num):
        wrong = [label for label in range(num) if label != true]
        share[true, true, true] = both
        share[true, true, wrong] = (first - both) / (num - 1)
        share[true, wrong, true] = (second - both) / (num - 1)
        share[true][np.ix_(wrong, wrong)] = (1 - first - second + both) / (num - 1) ** 2
        share[true] *= shares[true]
    return share


def compared(counts: IntArray, config: EvaluationConfig = CONFIG) -> Comparison:
    """What the gate sees of as many rows of each outcome."""
    num = counts.shape[0]
    labels = [f"label {index}" for index in range(num)]
    codes = np.repeat(np.arange(counts.size), counts.ravel())
    true, first, second = np.unravel_index(codes, counts.shape)
    names = [f"{row:06}" for row in range(true.size)]
    known = [labels[code] for code in true]
    one, other = (predictions_frame(names, known, np.eye(num)[answers], labels) for answers in (first, second))
    return compare(one, other, "champion", config)


def share_promoted(num_pairs: int, num_rows: int, share: FloatArray) -> float:
    rng = np.random.default_rng(0)
    # TF-IDF answers as the challenger does, so that the champion alone decides.
    same = compared((share * 1000).astype(np.int64) * np.eye(share.shape[0], dtype=np.int64)[None])
    found = (compared(rng.multinomial(num_rows, share.ravel()).reshape(share.shape)) for _ in range(num_pairs))
    return sum(judge(one, same, num_rows, 0.1, CONFIG)[0] == "promote" for one in found) / num_pairs


@pytest.mark.slow
def test_of_1000_pairs_that_are_equally_good_at_most_5_percent_are_promoted() -> None:
    assert share_promoted(1000, 300, outcomes(SHARES["two labels"], 0.85, 0.85, 0.78)) <= 0.05


@pytest.mark.slow
def test_of_1000_equal_pairs_with_a_rare_label_at_most_5_percent_are_promoted() -> None:
    assert share_promoted(1000, 300, outcomes(SHARES["a rare third label"], 0.85, 0.85, 0.78)) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_a_true_gain_of_3_points_is_found_in_at_least_80_percent_at_the_number_of_rows_promised(name: str) -> None:
    share = outcomes(SHARES[name], 0.88, 0.85, 0.82)
    # A look at so many rows that what is observed is the truth.
    counts = np.rint(share * 20_000).astype(np.int64)
    truth = compared(counts, EvaluationConfig())
    assert truth.num_only_challenger - truth.num_only_other == pytest.approx(0.03 * counts.sum(), abs=10)
    needed = num_rows_to_tell(truth, int(counts.sum()), CONFIG)
    assert needed is not None
    assert share_promoted(600, needed, share) >= 0.8


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_symmetric_and_a_probability(first: int, second: int) -> None:
    value = mcnemar_exact(first, second)
    assert value == pytest.approx(mcnemar_exact(second, first))
    assert 0 < value <= 1


def test_the_exact_test_by_hand() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(6, 0) == pytest.approx(2 * 0.5**6)
    assert mcnemar_exact(5, 5) == 1.0


@given(st.floats(0.001, 0.3), st.floats(0.001, 0.1), st.integers(10, 5000))
def test_a_smaller_difference_a_larger_error_or_more_power_needs_more_rows(
    difference: float, error: float, num_rows: int
) -> None:
    def needed(difference: float, error: float, power: float = 0.8, significance: float = 0.05) -> int:
        found = num_rows_needed(difference, error, num_rows, significance=significance, power=power)
        assert found is not None
        return found

    usual = needed(difference, error)
    assert 1 <= usual <= needed(difference / 2, error)
    assert usual <= needed(difference, 2 * error)
    assert usual <= needed(difference, error, power=0.9)
    assert usual <= needed(difference, error, significance=0.01)
    assert usual == needed(-difference, error)


def test_without_a_difference_no_number_of_rows_is_enough() -> None:
    assert num_rows_needed(0.0, 0.1, 100, significance=0.05, power=0.8) is None


def connor(first: float, second: float) -> float:
    """Connor 1987 for accuracy, at 5 % and 80 % power, from the shares of rows that only one of the two gets right."""
    discordance, difference = first + second, first - second
    root = 1.959964 * math.sqrt(discordance) + 0.841621 * math.sqrt(discordance - difference**2)
    uncorrected = (root / difference) ** 2
    return uncorrected / 4 * (1 + math.sqrt(1 + 2 / (uncorrected * difference))) ** 2


@given(st.floats(0.01, 0.1), st.floats(0.0, 0.2))
def test_of_accuracy_it_is_the_sample_size_from_the_discordance(difference: float, second: float) -> None:
    discordance = difference + 2 * second
    error = math.sqrt((discordance - difference**2) / 1000)
    found = num_rows_needed(difference, error, 1000, significance=0.05, power=0.8)
    assert found == pytest.approx(connor(difference + second, second), abs=1.01)
