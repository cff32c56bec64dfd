"""The report says what the rows say, beside baselines on the same rows, and nothing that they cannot tell."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.config import EvaluationConfig
from ftzard.core.evaluation import (
    METRIC_NAMES,
    ClassScores,
    EvaluationReport,
    SliceScores,
    SystemScores,
    evaluate,
)
from ftzard.core.evaluation_report import Interval, ReliabilityBin
from ftzard.core.predictions import predictions_frame
from ftzard.core.records import EXAMPLE_SCHEMA
from ftzard.core.share_intervals import wilson_interval
from ftzard.errors import InvalidPredictionsError, PredictionsMismatchError, SingleClassError, TooFewExamplesError

LABELS = ("negative", "positive")
CONFIG = EvaluationConfig(num_bootstrap_samples=200)


def examples(num_rows: int, seed: int, signal: float = 0.3) -> pl.DataFrame:
    """Make texts of growing length whose label shows in a word, `signal` of the time."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(LABELS, size=num_rows, p=[0.6, 0.4]).tolist()
    shown = [label if rng.random() < signal else "nothing" for label in labels]
    rows = {
        "text_hash": [f"{seed}-{row:04}" for row in range(num_rows)],
        "text": [f"it is {word}" + " so" * (row % 30) for row, word in enumerate(shown)],
        "label": labels,
        "batch": ["made.csv"] * num_rows,
        "row": list(range(1, num_rows + 1)),
    }
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA)


def predict(test: pl.DataFrame, share_right: float, seed: int = 0) -> pl.DataFrame:
    """Answer as a classifier would that is right that often, with confidences between 0.5 and 1."""
    rng = np.random.default_rng(seed)
    true = np.array([LABELS.index(label) for label in test["label"]], dtype=np.int64)
    predicted = np.where(rng.random(true.size) < share_right, true, 1 - true)
    logits = np.zeros((true.size, 2))
    logits[np.arange(true.size), predicted] = rng.uniform(0.1, 3, size=true.size)
    return predictions_frame(test["text_hash"].to_list(), test["label"].to_list(), logits, LABELS)


TRAIN, TEST = examples(60, seed=1), examples(150, seed=2)
GOOD, BAD = predict(TEST, 0.98), predict(TEST, 0.05)


def test_the_scores_are_those_of_scikit_learn_for_the_same_predictions() -> None:
    predictions = predict(TEST, 0.8)
    report = evaluate(predictions, TRAIN, TEST, CONFIG)
    true, answers = predictions["label"].to_list(), predictions["predicted_label"].to_list()

    values = {name: interval.value for name, interval in report.adapter.metrics.items()}
    assert tuple(values) == METRIC_NAMES
    assert values["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, answers))
    assert values["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(true, answers, average="macro"))
    assert report.confusion == tuple(map(tuple, sklearn.metrics.confusion_matrix(true, answers, labels=LABELS)))
    assert [scores.label for scores in report.adapter.per_class] == list(LABELS)
    assert [scores.num_examples for scores in report.adapter.per_class] == [true.count(label) for label in LABELS]
    assert sum(one.num_examples for one in report.reliability) == TEST.height
    assert (report.num_train, report.num_test, report.labels) == (60, 150, LABELS)


def test_every_metric_of_every_system_has_an_interval_with_width() -> None:
    report = evaluate(predict(TEST, 0.8), TRAIN, TEST, CONFIG)
    for system in (report.adapter, report.baseline):
        assert tuple(system.metrics) == METRIC_NAMES
        assert all(interval.low < interval.high for interval in system.metrics.values())
    assert report.majority.metrics["balanced_accuracy"] == Interval(0.5, 0.5, 0.5)
    assert len({report.adapter.name, report.baseline.name, report.majority.name}) == 3


def test_the_difference_is_that_of_the_two_macro_f1() -> None:
    report = evaluate(predict(TEST, 0.8), TRAIN, TEST, CONFIG)
    gap = report.adapter.metrics["macro_f1"].value - report.baseline.metrics["macro_f1"].value

    assert report.difference.value == pytest.approx(gap)


def test_an_adapter_that_is_clearly_better_is_called_better_and_one_that_is_worse_worse() -> None:
    better, worse = evaluate(GOOD, TRAIN, TEST, CONFIG), evaluate(BAD, TRAIN, TEST, CONFIG)

    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.difference.low > 0 > worse.difference.high
    assert better.sentence == (
        f"The adapter's macro-F1 is {better.difference.value:.3f} above TF-IDF's (95 % interval "
        f"{better.difference.low:.3f} to {better.difference.high:.3f}): "
        "the adapter is better on these 150 test examples."
    )
    assert f"{-worse.difference.value:.3f} below TF-IDF's" in worse.sentence
    assert "TF-IDF is better on these 150 test examples." in worse.sentence


def test_a_difference_that_may_be_chance_is_called_undecided() -> None:
    report = evaluate(predict(TEST, 0.72), TRAIN, TEST, CONFIG)

    assert report.difference.low <= 0 <= report.difference.high
    assert report.verdict == "undecided"
    assert "cannot be told" in report.sentence


def test_a_handful_of_rows_decides_nothing_even_if_all_speak_for_one_side() -> None:
    few = TEST.filter(pl.col("label") != TEST["label"][0]).head(1)
    report = evaluate(predict(few, 1.0), TRAIN.with_columns(text=pl.lit("it is")), few, CONFIG)

    assert report.difference.low == report.difference.high
    assert report.verdict == "undecided"
    assert "cannot be told from 1 test example which" in report.sentence


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(random: Any) -> None:
    def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
        order = list(range(frame.height))
        random.shuffle(order)
        return frame[order]

    predictions = predict(TEST, 0.8)
    report = evaluate(predictions, TRAIN, TEST, CONFIG)

    assert evaluate(shuffled(predictions), shuffled(TRAIN), shuffled(TEST), CONFIG) == report


def test_the_fingerprint_names_the_test_split_and_nothing_else() -> None:
    report = evaluate(GOOD, TRAIN, TEST, CONFIG)

    assert evaluate(BAD, TRAIN.head(40), TEST, CONFIG).test_fingerprint == report.test_fingerprint
    fewer = TEST.head(149)
    assert evaluate(GOOD.head(149), TRAIN, fewer, CONFIG).test_fingerprint != report.test_fingerprint


def test_slices_by_length_hold_every_example_once_in_order_of_length() -> None:
    report = evaluate(predict(TEST, 0.8), TRAIN, TEST, CONFIG)
    short, medium, long = report.slices

    assert sum(one.num_examples for one in report.slices) == TEST.height
    assert short.max_num_characters < medium.min_num_characters
    assert medium.max_num_characters < long.min_num_characters
    right = sum(one.accuracy.value * one.num_examples for one in report.slices)
    assert right == pytest.approx(report.adapter.metrics["accuracy"].value * TEST.height)


def test_a_test_split_that_is_all_right_is_no_certainty() -> None:
    few = TEST.head(20)
    metrics = evaluate(predict(few, 1.0), TRAIN, few, CONFIG).adapter.metrics
    lowest = wilson_interval(20, 20).low
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert (metrics[name].value, metrics[name].low, metrics[name].high) == pytest.approx((1, lowest, 1))


def test_texts_of_one_length_are_one_slice_and_labels_it_does_not_hold_do_not_count_against_it() -> None:
    same = TEST.filter(pl.col("label") == "negative").with_columns(text=pl.lit("same length"))
    report = evaluate(predict(same, 1.0), TRAIN, same, CONFIG)

    assert [(one.name, one.num_examples) for one in report.slices] == [("short", same.height)]
    assert report.slices[0].macro_f1.value == 1
    assert report.slices[0].macro_f1.low == pytest.approx(wilson_interval(same.height, same.height).low)
    assert report.adapter.metrics["macro_f1"].value == 0.5


@pytest.mark.parametrize(
    ("predictions", "test", "message"),
    [
        (GOOD, TEST.tail(-2), "2 predictions are for rows that are not in the test split"),
        (GOOD.tail(-3), TEST, "3 test examples have no prediction, the first with text_hash '2-0000'"),
        (pl.concat([GOOD, GOOD.head(1)]), TEST, "'2-0000' occurs more than once in the predictions"),
        (GOOD, pl.concat([TEST, TEST.head(1)]), "'2-0000' occurs more than once in the test split"),
        (GOOD, TEST.with_columns(label=pl.lit("negative")), "carry another label than their predictions say"),
        (
            GOOD.with_columns(label=pl.lit("neutral")),
            TEST.with_columns(label=pl.lit("neutral")),
            r"label holds \['neutral'\]",
        ),
    ],
)
def test_predictions_for_other_rows_are_an_error_that_names_one(
    predictions: pl.DataFrame, test: pl.DataFrame, message: str
) -> None:
    with pytest.raises(PredictionsMismatchError, match=message):
        evaluate(predictions, TRAIN, test, CONFIG)


def test_what_is_no_probability_or_no_label_of_the_classifier_is_an_error() -> None:
    halves = pl.struct(negative=pl.lit(0.2), positive=pl.lit(0.2))
    nothing = pl.struct(negative=pl.lit(float("nan")), positive=pl.lit(0.2))
    negative = pl.struct(negative=pl.lit(-0.5), positive=pl.lit(1.5))
    for wrong in (halves, nothing, negative):
        with pytest.raises(InvalidPredictionsError, match="150 predictions are not from 0 to 1 with sum 1"):
            evaluate(GOOD.with_columns(probabilities=wrong), TRAIN, TEST, CONFIG)
    with pytest.raises(InvalidPredictionsError, match="'neutral'"):
        evaluate(GOOD.with_columns(predicted_label=pl.lit("neutral")), TRAIN, TEST, CONFIG)


def test_no_test_rows_or_a_single_label_to_learn_from_is_an_error_and_not_a_score() -> None:
    with pytest.raises(TooFewExamplesError, match="test split has no rows"):
        evaluate(GOOD.head(0), TRAIN, TEST.head(0), CONFIG)
    with pytest.raises(TooFewExamplesError, match="train split has no rows"):
        evaluate(GOOD, TRAIN.head(0), TEST, CONFIG)
    with pytest.raises(SingleClassError):
        evaluate(GOOD, TRAIN.filter(pl.col("label") == "negative"), TEST, CONFIG)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 10**9)
INTERVALS = (
    st.lists(FINITE, min_size=3, max_size=3).map(sorted).map(lambda v: Interval(value=v[1], low=v[0], high=v[2]))
)
SYSTEMS = st.builds(
    SystemScores,
    name=st.text(),
    metrics=st.dictionaries(st.sampled_from(METRIC_NAMES), INTERVALS),
    per_class=st.lists(st.builds(ClassScores, st.text(), FINITE, FINITE, FINITE, COUNTS), max_size=3).map(tuple),
)
REPORTS = st.builds(
    EvaluationReport,
    labels=st.lists(st.text(), max_size=3).map(tuple),
    num_train=COUNTS,
    num_test=COUNTS,
    test_fingerprint=st.text(),
    adapter=SYSTEMS,
    baseline=SYSTEMS,
    majority=SYSTEMS,
    difference=INTERVALS,
    verdict=st.sampled_from(["better", "worse", "undecided"]),
    sentence=st.text(),
    confusion=st.lists(st.lists(COUNTS, max_size=3).map(tuple), max_size=3).map(tuple),
    reliability=st.lists(
        st.builds(ReliabilityBin, FINITE, FINITE, COUNTS, st.none() | FINITE, st.none() | FINITE), max_size=3
    ).map(tuple),
    slices=st.lists(
        st.builds(
            SliceScores, st.sampled_from(["short", "medium", "long"]), COUNTS, COUNTS, COUNTS, INTERVALS, INTERVALS
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=50)
@given(REPORTS)
def test_a_report_survives_strict_json_unchanged(report: EvaluationReport) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)

    assert EvaluationReport.from_dict(json.loads(text)) == report


def test_a_real_report_survives_strict_json_unchanged() -> None:
    report = evaluate(GOOD, TRAIN, TEST, CONFIG)

    assert EvaluationReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report


@pytest.mark.parametrize(
    "change",
    [{"num_test": "150"}, {"surprise": 1}, {"verdict": "fine"}, {"num_test": None}, {"difference": {"value": 0.0}}],
)
def test_what_is_no_report_is_not_read_as_one(change: dict[str, Any]) -> None:
    content = evaluate(GOOD, TRAIN, TEST, CONFIG).to_dict() | change
    with pytest.raises(ValueError, match=next(iter(change))):
        EvaluationReport.from_dict(content)


def test_no_score_can_be_a_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        ClassScores(label="negative", precision=float("nan"), recall=0.0, f1=0.0, num_examples=1)
