"""Rows of one user tell less than as many rows of others: they are drawn together wherever luck is measured."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ftzard.config import DataConfig, EvaluationConfig
from ftzard.core.baseline import tfidf_predictions
from ftzard.core.bootstrap import bootstrap_interval, resample_values
from ftzard.core.comparison import Comparison, compare
from ftzard.core.evaluation import evaluate
from ftzard.core.frame_schemas import schema_of
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import predictions_frame
from ftzard.core.records import EXAMPLE_SCHEMA
from ftzard.core.row_groups import Rows, group_sums, part_of, rows_of
from ftzard.core.splitting import split
from ftzard.testing import make_examples

LABELS = ("a", "b")
CONFIG = EvaluationConfig(num_bootstrap_samples=300)


def answers(right: np.ndarray, true: np.ndarray) -> pl.DataFrame:
    logits = np.eye(2)[np.where(right, true, 1 - true)]
    hashes = [f"{number:032x}" for number in range(true.size)]
    return predictions_frame(hashes, [LABELS[code] for code in true], logits, LABELS)


def users_of(frame: pl.DataFrame, num_each: int) -> pl.DataFrame:
    number = pl.int_range(pl.len()) // num_each
    return frame.select("text_hash", group=pl.format("user {}", number))


def moody_pair(num_users: int, num_each: int, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Equally good ones, of which one or the other suits a user better."""
    size = num_users * num_each
    true, suits = rng.integers(2, size=size), np.repeat(rng.integers(2, size=num_users), num_each)
    first, second = (np.where(suits == which, 0.95, 0.7) for which in (0, 1))
    return answers(rng.random(size) < first, true), answers(rng.random(size) < second, true)


def test_a_resample_holds_all_rows_of_each_group_that_was_drawn_and_as_many_groups_as_there_are() -> None:
    groups = np.array([2, 0, 1, 1, 2, 2])

    def look(samples: IntArray) -> FloatArray:
        counts = np.bincount(samples[0], minlength=6)
        for group in range(3):
            assert len(set(counts[groups == group])) == 1
        return np.array([sum(counts[groups == group][0] for group in range(3))], dtype=np.float64)

    assert set(resample_values(look, groups, 50, 0)) == {3.0}


def test_the_interval_holds_the_truth_in_about_95_of_100_experiments_also_where_rows_come_in_groups() -> None:
    rng, held, alone = np.random.default_rng(0), 0, 0
    groups: Rows = np.repeat(np.arange(40), 10)
    for experiment in range(200):
        correct = (rng.random(400) < np.repeat(rng.choice([0.6, 1.0], 40), 10)).astype(np.float64)
        drawn, single = (
            bootstrap_interval(lambda rows: correct[rows].mean(axis=1), rows, 200, experiment)  # noqa: B023
            for rows in (groups, 400)
        )
        held += drawn.low <= 0.8 <= drawn.high
        alone += single.low <= 0.8 <= single.high

    assert 0.9 <= held / 200 <= 0.99
    assert alone / 200 < 0.85


def test_of_equally_good_challengers_few_are_promoted_where_each_suits_other_users() -> None:
    rng, promoted, alone = np.random.default_rng(0), 0, 0
    for _ in range(150):
        challenger, champion = moody_pair(20, 10, rng)
        grouped = compare(challenger, champion, "champion", CONFIG, users_of(challenger, 10))
        promoted += grouped.is_shown_better
        alone += compare(challenger, champion, "champion", CONFIG).is_shown_better

    assert promoted / 150 <= 0.07
    assert alone / 150 > 0.1


def test_a_few_users_show_nothing_however_many_rows_they_wrote() -> None:
    true = np.zeros(400, dtype=np.int64)
    true[::2] = 1
    good, poor = answers(np.ones(400, dtype=bool), true), answers(np.arange(400) % 4 > 0, true)
    found = compare(good, poor, "champion", CONFIG, users_of(good, 80))

    assert (found.num_only_challenger, found.num_groups_won) == (100, (5, 0))
    assert not found.is_shown_better
    assert compare(good, poor, "champion", CONFIG).is_shown_better
    assert found.details["groups in which it is right more often"] == 5
    worse = compare(poor, good, "champion", CONFIG, users_of(good, 40))
    assert worse.is_shown_right_less_often
    assert "exact sign test on groups, 0 against 10" in worse.fewer_rows_told


def test_rows_without_a_group_stand_alone_and_what_was_stored_before_groups_is_still_read() -> None:
    test = pl.DataFrame({"text_hash": ["x", "y", "z"], "group": ["u", None, None]})
    assert rows_of(test) == 3
    rows = rows_of(test.with_columns(group=pl.Series(["u", "u", None])))
    assert isinstance(rows, np.ndarray)
    assert rows[0] == rows[1] != rows[2]
    assert sorted(group_sums(np.array([1, 2, 4]), rows)) == [3.0, 4.0]
    part = part_of(rows, np.array([1, 2]))
    assert isinstance(part, np.ndarray)
    assert sorted(part) == [0, 1]
    assert "num_groups_won" in Comparison.__dataclass_fields__


@pytest.mark.parametrize("is_grouped", [False, True])
def test_the_test_split_holds_the_groups_of_its_rows_and_keeps_its_schema(is_grouped: bool) -> None:
    config = DataConfig(train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3)
    frame = make_examples((f"text number {number} of these", LABELS[number % 2]) for number in range(200))
    if is_grouped:
        config = replace(config, group_column="user")
        frame = frame.with_columns(group=pl.format("user {}", pl.int_range(pl.len()) // 2))
    splits = split(frame, config)

    expected = dict(frame.select("text_hash", "group").iter_rows()) if is_grouped else {}
    assert ("group" in splits.test.columns) == is_grouped
    if is_grouped:
        assert dict(splits.test.select("text_hash", "group").iter_rows()).items() <= expected.items()
    assert splits.labelled.schema == splits.train.schema == EXAMPLE_SCHEMA
    schema = schema_of("splits", "test", splits.test)
    assert schema is not None
    schema.validate(splits.test)


def test_the_report_draws_users_where_the_test_split_says_who_wrote_what() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(2, size=200)
    right = rng.random(200) < np.repeat(rng.choice([0.5, 1.0], 10), 20)
    predictions = answers(right, true)
    test = predictions.select("text_hash", text=pl.format("text {}", pl.int_range(pl.len())), label="label")
    train = test.with_columns(text_hash=pl.col("text_hash").str.reverse())
    grouped = test.with_columns(users_of(test, 20)["group"])
    reports = [evaluate(predictions, train, one, CONFIG) for one in (test, grouped)]
    alone, together = (report.adapter.metrics for report in reports)

    assert together["accuracy"].value == alone["accuracy"].value
    assert ["200 test examples of 10 groups" in report.sentence for report in reports] == [False, True]
    widths = [one["accuracy"].high - one["accuracy"].low for one in (alone, together)]
    assert widths[1] > 1.5 * widths[0]


def test_the_report_tells_no_two_apart_that_the_gate_does_not() -> None:
    number = np.arange(120)
    true = number % 2
    # TF-IDF learns nothing from these texts; of six users one is right as often with either.
    test = pl.DataFrame(
        {
            "text_hash": [f"{one:032x}" for one in number],
            "text": [f"same {one}" for one in number],
            "label": [LABELS[code] for code in true],
            "group": [f"user {one // 20}" for one in number],
        }
    )
    train = test.with_columns(text_hash=pl.col("text_hash").str.reverse(), text=pl.format("word {}", "label"))
    baseline = tfidf_predictions(train, test, LABELS, CONFIG.seed)
    is_tied = number < 20
    right = np.where(is_tied, baseline["predicted_label"] != baseline["label"], True)  # noqa: FBT003
    report = evaluate(answers(right, true), train, test, CONFIG)
    gate = compare(answers(right, true), baseline, "TF-IDF", CONFIG, test)

    assert gate.num_groups_won == (5, 0)
    assert report.difference.low > 0
    assert (report.verdict, gate.is_shown_better) == ("undecided", False)
