"""Drift of batches: what it is by hand, and what it must not depend on."""

import math
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core import answer_scenario
from tests.core.model_scenario import examples

from ftzard.config import DataConfig
from ftzard.core import data_drift
from ftzard.core.cleaning import hash_texts
from ftzard.core.conversations import write_messages
from ftzard.core.data_drift import (
    MAX_BATCHES,
    MIN_ROWS,
    BatchDrift,
    batch_drifts,
    drift_metrics,
    drift_table,
    incoming_drifts,
    two_sample_auc,
)
from ftzard.core.population_stability import Stability, label_stability, length_stability, stability
from ftzard.core.records import EXAMPLE_SCHEMA

_COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8).filter(
    lambda bins: all(sum(side) for side in zip(*bins, strict=True))
)
_WORDS = {"sea": ("ship", "wave", "harbour", "gull"), "land": ("tree", "hill", "road", "barn")}


def _stability(counts: list[int], others: list[int]) -> Stability:
    found = stability(counts, others)
    assert found is not None
    return found


def _texts(num: int, seed: int, *words: str, batch: str = "a.csv") -> pl.DataFrame:
    draw = random.Random(seed)  # noqa: S311  # toy texts are no secret
    texts = pl.Series([f"{' '.join(draw.choices(words, k=4))} {draw.randrange(10**9)}" for _ in range(num)])
    labels = pl.Series("label", draw.choices(["x", "y"], k=num))
    rows = pl.DataFrame([texts.alias("text"), hash_texts(texts), labels]).with_row_index("row", 2)
    return rows.with_columns(batch=pl.lit(batch)).select(EXAMPLE_SCHEMA.names()).cast(EXAMPLE_SCHEMA)


def test_the_index_is_the_sum_over_bins_of_difference_times_log_ratio() -> None:
    by_hand = (0.5 - 0.4) * math.log(0.5 / 0.4) + (0.3 - 0.3) * 0 + (0.2 - 0.3) * math.log(0.2 / 0.3)
    assert _stability([50, 30, 20], [40, 30, 30]).value == pytest.approx(by_hand)


def test_by_the_usual_reading_a_tenth_is_moderate_and_a_quarter_is_large() -> None:
    assert 0.1 < _stability([50, 50], [66, 34]).value < 0.25
    assert _stability([50, 50], [75, 25]).value > 0.25


@given(_COUNTS)
def test_equal_shares_have_no_drift_and_the_order_of_the_two_does_not_matter(bins: list[tuple[int, int]]) -> None:
    counts, others = map(list, zip(*bins, strict=True))
    one, other = _stability(counts, others), _stability(others, counts)
    assert one.value == pytest.approx(other.value)
    assert one.chance == pytest.approx(other.chance)
    assert one.value >= 0
    assert _stability(counts, [3 * count for count in counts]).value == pytest.approx(0)


def test_the_index_of_labels_that_go_together_is_the_sum_of_those_of_each() -> None:
    both = label_stability([30, 10], [20, 15], 50, 40)
    assert both is not None
    each = [_stability([30, 20], [20, 20]), _stability([10, 40], [15, 25])]
    assert both.value == pytest.approx(sum(one.value for one in each))
    assert max(one.chance for one in each) < both.chance < sum(one.chance for one in each)
    turned = label_stability([20, 15], [30, 10], 40, 50)
    assert turned is not None
    assert turned.value == pytest.approx(both.value)
    assert turned.chance == both.chance
    assert label_stability([0], [0], 0, 5) is None
    nobody_has_one = label_stability([], [], 5, 5)
    assert nobody_has_one is not None
    assert (nobody_has_one.value, nobody_has_one.is_beyond_chance) == (0, False)


def test_chance_moves_the_labels_of_two_samples_of_one_population_beyond_what_it_is_said_to_once_in_twenty() -> None:
    rng = np.random.default_rng(0)
    drawn = [[rng.binomial(size, [0.4, 0.2, 0.05]).tolist() for size in (60, 200)] for _ in range(200)]
    found = [label_stability(one, other, 60, 200) for one, other in drawn]
    assert 0.01 < np.mean([one is not None and one.is_beyond_chance for one in found]) < 0.12


@given(_COUNTS, st.integers(2, 20))
def test_more_rows_make_it_no_larger_and_leave_less_to_chance(bins: list[tuple[int, int]], times: int) -> None:
    counts, others = map(list, zip(*bins, strict=True))
    once = _stability(counts, others)
    repeated = _stability([times * count for count in counts], [times * count for count in others])
    assert repeated.value == pytest.approx(once.value)


def test_chance_shrinks_with_the_rows_and_is_what_samples_of_one_population_stay_below() -> None:
    rng = np.random.default_rng(1)
    shares = [0.6, 0.3, 0.05, 0.05]
    for size, other_size in ((15, 200), (300, 300)):
        pairs = [(rng.multinomial(size, shares), rng.multinomial(other_size, shares)) for _ in range(300)]
        found = [_stability(one.tolist(), other.tolist()) for one, other in pairs]
        assert np.mean([one.is_beyond_chance for one in found]) <= 0.1
    assert _stability([300, 100], [300, 100]).chance < _stability([30, 10], [30, 10]).chance / 5


def test_an_empty_side_has_no_index_and_a_missing_label_is_not_infinitely_far() -> None:
    assert stability([0, 0], [1, 2]) is None
    assert length_stability(np.array([]), np.array([1.0])) is None
    assert 1 < _stability([10, 0], [5, 5]).value < 10


def test_lengths_are_compared_by_the_deciles_of_the_others() -> None:
    others = np.arange(1000.0)
    same, longer = length_stability(others[::7], others), length_stability(others + 900, others)
    assert same is not None
    assert longer is not None
    assert same.value < 0.01
    assert longer.value > 5
    equal = length_stability(np.ones(5), np.ones(9))
    assert equal == Stability(0.0, 0.0)


def test_two_samples_of_one_kind_cannot_be_told_apart_and_two_kinds_can() -> None:
    words = (*_WORDS["sea"], *_WORDS["land"])
    same = two_sample_auc(_texts(150, 1, *words), _texts(150, 2, *words), 0)
    other = two_sample_auc(_texts(150, 1, *_WORDS["sea"]), _texts(150, 2, *_WORDS["land"]), 0)
    assert same is not None
    assert other is not None
    assert same.low <= 0.5 <= same.high
    assert 0.35 < same.value < 0.65
    assert other.value > 0.99
    assert other.low > 0.9


def test_what_is_compared_is_as_many_rows_of_both_and_no_text_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_drift, "MAX_ROWS", 60)
    large, small = _texts(400, 1, *_WORDS["sea"]), _texts(90, 2, *_WORDS["land"])
    labelled = data_drift._labelled(pl.concat([small, large.head(5)]), large)
    assert dict(labelled["label"].value_counts().iter_rows()) == {"batch": 60, "rest": 60}
    assert labelled["text"].n_unique() == 120


def test_too_few_rows_are_not_compared() -> None:
    few, many = _texts(MIN_ROWS - 1, 1, *_WORDS["sea"]), _texts(50, 2, *_WORDS["land"])
    assert two_sample_auc(few, many, 0) is None
    assert two_sample_auc(many, many.clear(), 0) is None


def test_each_batch_is_compared_with_what_others_brought_into_training() -> None:
    usual = [_texts(80, seed, *_WORDS["sea"], batch=f"{seed}.csv") for seed in (1, 2)]
    odd = _texts(80, 3, *_WORDS["land"], batch="odd.csv").with_columns(label=pl.lit("x"))
    train = pl.concat([*usual, odd])
    drifts = batch_drifts(train, train, ["odd.csv", "2.csv", "gone.csv"], DataConfig())
    found, other = drifts
    assert [drift.batch for drift in drifts] == ["odd.csv", "2.csv"]
    assert (found.num_rows, found.num_others, found.num_compared) == (80, 160, 80)
    assert found.auc is not None
    assert found.auc.value > 0.99
    assert set(found.words) & set(_WORDS["land"])
    assert not set(found.words) & set(_WORDS["sea"])
    assert found.answers is not None
    assert found.answers.value > 0.25
    # Half of what it is compared with is as it is.
    assert other.auc is not None
    assert other.auc.value < found.auc.value
    assert drifts == batch_drifts(train.reverse(), train.reverse(), ["odd.csv", "2.csv"], DataConfig())


def test_files_without_labels_are_compared_with_all_that_is_trained_on_but_for_labels() -> None:
    train = _texts(120, 1, *_WORDS["sea"])
    alike, odd = (
        _texts(60, seed, *_WORDS[place], batch=f"{place}.csv").with_columns(label=pl.lit(None, pl.String))
        for seed, place in ((2, "sea"), (3, "land"))
    )
    first, second = incoming_drifts([odd, alike.clear(), alike], train, DataConfig())
    assert (first.batch, second.batch) == ("land.csv", "sea.csv")
    assert first.auc is not None
    assert first.auc.value > 0.99
    assert set(first.words) & set(_WORDS["land"])
    assert second.auc is not None
    assert second.auc.low <= 0.5
    assert (first.answers, second.answers) == (None, None)
    assert first.num_others == 120
    assert len(incoming_drifts([odd] * 30, train, DataConfig())) == data_drift.MAX_BATCHES


def test_the_cost_is_bounded_whatever_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_drift, "_MAX_COUNTED", 50)
    train = pl.concat([_texts(300, 1, *_WORDS["sea"]), _texts(200, 2, *_WORDS["sea"], batch="b.csv")])
    (drift,) = batch_drifts(train, train, ["b.csv"], DataConfig())
    assert (drift.num_rows, drift.num_others) == (200, 300)
    drawn = train.sort("text_hash").filter(pl.col("batch") == "b.csv").head(50)
    others = train.sort("text_hash").filter(pl.col("batch") == "a.csv").head(50)
    counts = [[frame.filter(label=label).height for label in ("x", "y")] for frame in (drawn, others)]
    assert drift.answers == stability(*counts)


def test_a_batch_that_is_all_of_the_training_data_has_nothing_to_be_compared_with() -> None:
    train = examples(40, 1)
    (drift,) = batch_drifts(train, train, ["toy.csv"], DataConfig())
    assert drift == BatchDrift("toy.csv", 40, 0, 0, None, (), None, None, None)


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_of_free_answers_the_lengths_are_compared(task: str) -> None:
    rows = answer_scenario.examples(60, 1, task)
    own = rows.head(20).with_columns(batch=pl.lit("b.csv"), label=pl.col("label") + "!" * 40)
    config = answer_scenario.config(task).data
    (drift,) = batch_drifts(pl.concat([own, rows.slice(20)]), rows.slice(20), ["b.csv"], config)
    assert drift.answers is not None
    assert drift.answers.value > 0.25
    assert drift.lengths is not None


def test_messages_are_told_apart_by_what_is_said_in_them() -> None:
    rows = pl.concat([_texts(40, 1, *_WORDS["sea"]), _texts(40, 2, *_WORDS["land"], batch="b.csv")])
    messages = [write_messages([{"role": "user", "content": text}]) for text in rows["text"]]
    rows = rows.with_columns(text=pl.Series(messages))
    config = DataConfig(task="generation", messages_column="messages")
    (drift,) = batch_drifts(rows, rows, ["b.csv"], config)
    assert drift.words
    assert {word for words in drift.words for word in words.split()} <= set(_WORDS["land"])


def test_metrics_are_few_and_the_table_has_a_row_for_each_however_many_batches_there_are() -> None:
    frames = [_texts(3, number, *_WORDS["sea"], batch=f"{number}.csv") for number in range(MAX_BATCHES + 5)]
    train = pl.concat(frames)
    names = [f"{number}.csv" for number in range(MAX_BATCHES + 5)]
    drifts = batch_drifts(train, train, names, DataConfig())
    assert len(drifts) == MAX_BATCHES
    table = drift_table(drifts)
    assert table["batch"].to_list() == names[:MAX_BATCHES]
    assert [drift.lengths and drift.lengths.chance for drift in drifts] == table["psi_lengths_by_chance"].to_list()
    assert set(drift_metrics(drifts)) == {f"drift_psi_{what}_{which}" for what in ("answers", "lengths")
                                          for which in ("max", "newest")}  # fmt: skip
    assert drift_table([]).is_empty()
    assert drift_metrics([]) == {}
