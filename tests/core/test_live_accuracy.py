"""Live accuracy: from rows that chance chose, with intervals that keep their promise."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.label_sets import EMPTY
from ftzard.core.live_accuracy import live_accuracy
from ftzard.core.share_intervals import newcombe_interval, wilson_interval


def sidecar(*rows: tuple[str, str, str], version: str = "1") -> pl.DataFrame:
    """Of (row, arm, predicted label)."""
    columns = ["text_hash", "arm", "predicted_label"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        champion_version=pl.lit(version), uncertainty=pl.lit(0.3)
    )


def labels(**rows: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"text_hash": list(rows), "label": list(rows.values())}, schema={"text_hash": pl.String, "label": pl.String}
    )


QUEUE = sidecar(
    ("a", "control", "yes"), ("b", "control", "no"), ("c", "control", "no"),
    ("d", "strategy", "yes"), ("e", "strategy", "yes"), ("f", "strategy", "no"),
)  # fmt: skip


def test_accuracy_is_that_of_labelled_control_rows_alone() -> None:
    found = live_accuracy(QUEUE, labels(a="yes", b="yes", d="no", e="no"))
    assert found is not None
    assert (found.accuracy.value, found.num_control, found.num_strategy) == (0.5, 2, 2)
    assert found.strategy_error_rate is not None
    assert found.strategy_error_rate.value == 1
    assert found.gain is not None
    assert found.gain.value == 0.5


def test_of_sets_the_labels_are_judged_besides_on_the_same_rows() -> None:
    queue = sidecar(
        ("a", "control", "food|music"), ("b", "control", EMPTY), ("c", "control", "food"), ("d", "strategy", "travel"),
    )  # fmt: skip
    given_labels = labels(a="food", b="music|travel", c="food", d="food")
    found = live_accuracy(queue, given_labels, task="multi_label")
    assert found is not None
    # Two labels are right, one is given too many, and two are missed.
    assert found.label_f1 is not None
    assert found.label_f1.value == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert 0 <= found.label_f1.low < found.label_f1.value < found.label_f1.high <= 1
    assert found.accuracy.value == pytest.approx(1 / 3)
    assert live_accuracy(queue.reverse(), given_labels.reverse(), task="multi_label") == found
    single = live_accuracy(queue, given_labels)
    assert single is not None
    assert single.label_f1 is None
    nothing = live_accuracy(queue.filter(text_hash="b"), labels(b=EMPTY), task="multi_label")
    assert nothing is not None
    assert (nothing.accuracy.value, nothing.label_f1) == (1, None)


def drawn(name: str, size: int, right: list[bool]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A control arm of a file of so many rows, and the labels that make its predictions right or wrong."""
    hashes = [f"{name}{number}" for number in range(len(right))]
    queue = sidecar(*((one, "control", "yes") for one in hashes)).with_columns(
        num_drawn_from=pl.lit(size, dtype=pl.Int64)
    )
    return queue, labels(**{one: "yes" if good else "no" for one, good in zip(hashes, right, strict=True)})


def test_a_row_of_a_large_file_counts_for_more_than_one_of_a_small_file() -> None:
    large, small = drawn("a", 900, [True] * 3), drawn("b", 100, [False, True])
    answers = pl.concat([large[1], small[1]])
    found = live_accuracy([large[0], small[0]], answers)
    assert found is not None
    assert found.accuracy.value == pytest.approx(0.9 * 1 + 0.1 * 0.5)
    assert found.num_control == 5
    # As much as 1 / (0.9² / 3 + 0.1² / 2) equal rows tell, which are fewer than there are.
    assert found.accuracy.low < wilson_interval(95, 100).low
    assert live_accuracy([small[0], large[0]], answers.reverse()) == found
    # Where the file's rows that are labelled are fewer, each of them stands for more.
    fewer = live_accuracy([large[0], small[0]], answers.filter(~pl.col("text_hash").is_in(["a1", "a2"])))
    assert fewer is not None
    assert fewer.accuracy.value == pytest.approx(0.95)
    assert fewer.accuracy.low < found.accuracy.low


def test_of_files_that_are_drawn_from_alike_all_rows_count_the_same() -> None:
    first, second = drawn("a", 30, [True] * 3), drawn("b", 20, [False, True])
    answers = pl.concat([first[1], second[1]])
    found = live_accuracy([first[0], second[0]], answers)
    assert found is not None
    expected = wilson_interval(4, 5)
    assert (found.accuracy.value, found.accuracy.low, found.accuracy.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_where_a_queue_does_not_say_how_many_rows_it_was_drawn_from_all_rows_count_the_same() -> None:
    large, small = drawn("a", 900, [True] * 3), drawn("b", 100, [False, True])
    found = live_accuracy([large[0], small[0].drop("num_drawn_from")], pl.concat([large[1], small[1]]))
    assert found is not None
    assert found.accuracy == wilson_interval(4, 5)


def test_the_f1_of_the_labels_of_sets_counts_files_by_their_rows_too() -> None:
    queues = [
        sidecar((name, "control", "food")).with_columns(num_drawn_from=pl.lit(size, dtype=pl.Int64))
        for name, size in (("a", 3), ("b", 1))
    ]
    found = live_accuracy(queues, labels(a="food", b="music"), task="multi_label")
    assert found is not None
    assert found.label_f1 is not None
    assert found.label_f1.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))


def test_the_interval_holds_the_accuracy_on_all_that_came_in_where_files_are_of_very_different_size() -> None:
    rng, held, values = np.random.default_rng(0), 0, []
    files = [("a", 10_000, 20, 0.95), ("b", 500, 20, 0.6), ("c", 100, 6, 0.5)]
    truth = sum(size * accuracy for _, size, _, accuracy in files) / sum(size for _, size, _, _ in files)
    for _ in range(300):
        made = [drawn(name, size, (rng.random(n) < accuracy).tolist()) for name, size, n, accuracy in files]
        found = live_accuracy([queue for queue, _ in made], pl.concat([one for _, one in made]))
        assert found is not None
        values.append(found.accuracy.value)
        held += found.accuracy.low <= truth <= found.accuracy.high

    assert np.mean(values) == pytest.approx(truth, abs=0.01)
    assert 0.9 <= held / 300 <= 0.995


def test_without_a_labelled_control_row_nothing_is_claimed() -> None:
    assert live_accuracy(QUEUE, labels(d="no")) is None
    assert live_accuracy(QUEUE, labels()) is None
    assert live_accuracy([], labels(a="yes")) is None
    only_control = live_accuracy(QUEUE, labels(a="yes"))
    assert only_control is not None
    assert (only_control.gain, only_control.strategy_error_rate, only_control.num_strategy) == (None, None, 0)


def test_a_champion_is_judged_by_its_own_predictions() -> None:
    both = [QUEUE, sidecar(("a", "control", "no"), ("b", "control", "no"), version="2")]
    given_labels = labels(a="yes", b="no", c="no")
    first, second, all_together = (live_accuracy(both, given_labels, version) for version in ("1", "2", None))
    assert first is not None
    assert second is not None
    assert all_together is not None
    assert (first.accuracy.value, second.accuracy.value) == (1, 0.5)
    assert (all_together.num_control, all_together.accuracy.value) == (5, 0.8)
    assert live_accuracy(both, given_labels, "3") is None


def test_a_text_that_came_in_twice_counts_once_and_as_control_where_chance_asked_for_it() -> None:
    again = sidecar(("a", "strategy", "yes"), ("d", "control", "yes"))
    found = live_accuracy([QUEUE, again], labels(a="yes", d="no"))
    assert found is not None
    assert (found.num_control, found.num_strategy, found.accuracy.value) == (2, 0, 0.5)


def test_examples_of_a_pipeline_can_be_handed_over_as_they_are() -> None:
    examples = labels(a="yes").with_columns(batch=pl.lit("x"), row=pl.lit(1))
    found = live_accuracy(QUEUE, examples)
    assert found is not None
    assert found.num_control == 1


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263.
    interval = wilson_interval(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    all_right = wilson_interval(10, 10)
    assert (all_right.value, all_right.high) == (1, 1)
    assert all_right.low == pytest.approx(1 / (1 + 1.96**2 / 10), abs=1e-4)


def test_newcombes_interval_is_that_of_the_paper() -> None:
    # Newcombe 1998, table II, (a): 56/70 - 48/80, method 10.
    interval = newcombe_interval(56, 70, 48, 80)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_lies_in_0_and_1_holds_its_share_and_mirrors(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval = wilson_interval(successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1
    mirrored = wilson_interval(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (2, 1), (-1, 3)])
def test_what_is_no_share_has_no_interval(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(successes, trials)


def test_the_interval_of_20_rows_holds_the_true_accuracy_about_95_times_in_100() -> None:
    successes = np.random.default_rng(0).binomial(20, 0.85, size=2000)
    held = [
        wilson_interval(int(number), 20).low <= 0.85 <= wilson_interval(int(number), 20).high for number in successes
    ]
    assert 0.92 < np.mean(held) < 0.99
