"""The report on written answers, the comparison of two models and the gate: on frames made by hand."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.config import EvaluationConfig
from ftzard.core.answer_comparison import compare_answers
from ftzard.core.answer_gate import judge_answers
from ftzard.core.answer_predictions import (
    UNTRAINED,
    answer_schema,
    check_answers,
    confidences,
    task_of_predictions,
    without_adapter,
)
from ftzard.core.drift import confidence_drift
from ftzard.core.generation_evaluation import evaluate_answers, mean_scores
from ftzard.core.generation_report import GenerationReport
from ftzard.core.records import EXAMPLE_SCHEMA
from ftzard.core.row_columns import write_pair
from ftzard.errors import InvalidPredictionsError, LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError

_CONFIG = EvaluationConfig(num_bootstrap_samples=200)
_WRITTEN = st.sampled_from(["yes", "no", "yes no"])
_HALF, _TENTH = math.log(0.5), math.log(0.1)


def _answers(written: list[str], untrained: list[str], asked: str = "yes") -> pl.DataFrame:
    """Both models find what they write certain to a half a token; the adapter finds what is asked likelier."""
    num = len(written)
    columns: dict[str, Any] = {
        "text_hash": [f"{number:032d}" for number in range(num)],
        "label": [asked] * num,
        "prediction": written,
        "token_log_probabilities": [[_HALF, _HALF]] * num,
        "completion_log_probabilities": [[_HALF, _HALF]] * num,
        f"{UNTRAINED}prediction": untrained,
        f"{UNTRAINED}token_log_probabilities": [[_HALF]] * num,
        f"{UNTRAINED}completion_log_probabilities": [[_TENTH, _TENTH]] * num,
    }
    return pl.DataFrame(columns, schema=answer_schema("generation"))


def _pairs(gains: list[float]) -> pl.DataFrame:
    """The untrained model finds both answers as likely; the adapter the chosen one, by so many nats."""
    num = len(gains)
    given_answers = {"chosen": [[-1.0]] * num, "rejected": [[-1.0 - gain] for gain in gains]}
    columns: dict[str, Any] = {
        "text_hash": [f"{number:032d}" for number in range(num)],
        "label": [write_pair("a", "b")] * num,
        "prediction": ["a"] * num,
        "token_log_probabilities": [[-1.0]] * num,
        **{f"{name}_log_probabilities": values for name, values in given_answers.items()},
        f"{UNTRAINED}prediction": ["b"] * num,
        f"{UNTRAINED}token_log_probabilities": [[-1.0]] * num,
        f"{UNTRAINED}chosen_log_probabilities": [[-20.0]] * num,
        f"{UNTRAINED}rejected_log_probabilities": [[-20.0]] * num,
    }
    return pl.DataFrame(columns, schema=answer_schema("preference"))


def _test_split(predictions: pl.DataFrame) -> pl.DataFrame:
    rows = predictions.select("text_hash", text="text_hash", label="label", batch=pl.lit("a.csv"), row=pl.lit(1))
    return rows.cast(dict(EXAMPLE_SCHEMA))  # type: ignore[arg-type]


def _report(predictions: pl.DataFrame, config: EvaluationConfig = _CONFIG) -> GenerationReport:
    split = _test_split(predictions)
    return evaluate_answers(predictions, split, split, config)


def test_the_report_holds_each_metric_of_both_models_and_their_paired_difference() -> None:
    report = _report(_answers(["Yes!"] * 9 + ["no"], ["no"] * 10))
    assert report.adapter.metrics["exact_match"].value == pytest.approx(0.9)
    assert report.untrained.metrics["exact_match"].value == 0.0
    assert report.differences["token_f1"].value == pytest.approx(0.9)
    assert report.adapter.metrics["perplexity"].value == pytest.approx(2.0)
    assert report.untrained.metrics["perplexity"].value == pytest.approx(10.0)
    assert report.differences["perplexity"].value == pytest.approx(-8.0)
    assert report.verdict == "better"
    assert "token f1 is 0.900 above that of the same model untrained" in report.sentence
    assert GenerationReport.from_dict(report.to_dict()) == report


def test_the_metric_of_the_verdict_is_the_configured_one() -> None:
    predictions = _answers(["yes yes"] * 10, ["no"] * 10)
    exact = EvaluationConfig(num_bootstrap_samples=200, generation_metric="exact_match")
    assert _report(predictions).verdict == "better"
    assert _report(predictions, exact).verdict == "undecided"
    assert _report(predictions, exact).difference.value == 0


def test_few_rows_that_differ_decide_nothing() -> None:
    assert _report(_answers(["yes"] * 5 + ["no"] * 5, ["no"] * 10)).verdict == "undecided"
    assert _report(_answers(["no"] * 10, ["yes"] * 10)).verdict == "worse"


def test_a_preference_is_judged_by_what_is_likelier_and_rewards_by_what_has_become_so() -> None:
    report = _report(_pairs([2.0] * 9 + [-1.0]))
    assert report.metric == "preference_accuracy"
    assert report.adapter.metrics["preference_accuracy"].value == pytest.approx(0.9)
    assert report.untrained.metrics["preference_accuracy"].value == 0.5
    assert report.adapter.metrics["margin"].value == pytest.approx(1.7)
    assert report.reward_accuracy is not None
    assert report.reward_accuracy.value == pytest.approx(0.9)
    assert report.verdict == "better"


def test_by_token_a_long_answer_is_not_the_unlikelier_for_its_length() -> None:
    # As a whole -2.4 against -1.5, by token -0.6 against -1.5.
    columns = {"chosen_log_probabilities": [[-0.6] * 4] * 10, "rejected_log_probabilities": [[-1.5]] * 10}
    predictions = _pairs([1.0] * 10).with_columns(
        pl.Series(name, values, dtype=pl.List(pl.Float64)) for name, values in columns.items()
    )
    per_token = EvaluationConfig(num_bootstrap_samples=200, preference_metric="preference_accuracy_per_token")
    as_a_whole, by_token = _report(predictions), _report(predictions, per_token)
    for report in (as_a_whole, by_token):
        assert report.adapter.metrics["preference_accuracy"].value == 0.0
        assert report.adapter.metrics["preference_accuracy_per_token"].value == 1.0
    assert (as_a_whole.verdict, by_token.verdict) == ("worse", "better")
    assert "preference accuracy per token is" in by_token.sentence


def test_an_impossible_answer_is_a_large_perplexity_and_no_infinity() -> None:
    predictions = _answers(["yes"] * 2, ["no"] * 2).with_columns(
        completion_log_probabilities=pl.Series([[-1e6]] * 2, dtype=pl.List(pl.Float64))
    )
    assert math.isfinite(_report(predictions).adapter.metrics["perplexity"].value)


@settings(max_examples=20)
@given(st.lists(st.tuples(_WRITTEN, _WRITTEN), min_size=2, max_size=12), st.randoms())
def test_the_order_of_the_rows_is_of_no_account_and_every_interval_holds_its_value(
    rows: list[tuple[str, str]], order: Any
) -> None:
    predictions = _answers([one for one, _ in rows], [other for _, other in rows])
    split = _test_split(predictions)
    shuffled = predictions[order.sample(range(predictions.height), predictions.height)]
    report = evaluate_answers(predictions, split, split, _CONFIG)
    assert evaluate_answers(shuffled, split, split, _CONFIG) == report
    for name, gain in report.differences.items():
        assert gain.value == pytest.approx(report.adapter.metrics[name].value - report.untrained.metrics[name].value)
    assert mean_scores(predictions) == pytest.approx({name: one.value for name, one in report.adapter.metrics.items()})


def test_predictions_for_other_rows_or_answers_are_refused() -> None:
    predictions = _answers(["yes"] * 3, ["no"] * 3)
    split = _test_split(predictions)
    with pytest.raises(PredictionsMismatchError, match="not in the test split"):
        evaluate_answers(predictions, split, split.head(2), _CONFIG)
    with pytest.raises(PredictionsMismatchError, match="another label"):
        evaluate_answers(predictions, split, split.with_columns(label=pl.lit("no")), _CONFIG)
    with pytest.raises(TooFewExamplesError, match="no rows"):
        evaluate_answers(predictions, split, split.clear(), _CONFIG)


def test_predictions_that_hold_no_probability_are_refused_by_row() -> None:
    broken = _answers(["yes"] * 2, ["no"] * 2).with_columns(
        token_log_probabilities=pl.Series([[-1.0], [0.5]], dtype=pl.List(pl.Float64))
    )
    with pytest.raises(InvalidPredictionsError, match=f"token_log_probabilities of text_hash '{1:032d}' holds 0.5"):
        check_answers(broken)
    with pytest.raises(InvalidPredictionsError, match="does not say what the model answers without"):
        without_adapter(broken.select(answer_schema("generation", untrained=False).names())[:1])
    with pytest.raises(InvalidPredictionsError, match="schema"):
        check_answers(broken.drop("prediction"))


def test_the_task_is_told_from_the_columns() -> None:
    assert task_of_predictions(_answers(["a"], ["b"])) == "generation"
    assert task_of_predictions(_pairs([1.0])) == "preference"
    assert task_of_predictions(pl.DataFrame({"probabilities": [1.0]})) == "classification"


def test_confidence_is_the_geometric_mean_of_the_tokens_and_drifts_with_them() -> None:
    test = _answers(["yes"] * 30, ["no"] * 30)
    assert confidences(test) == pytest.approx(np.full(30, 0.5))
    unsure = test.with_columns(token_log_probabilities=pl.Series([[_TENTH]] * 30, dtype=pl.List(pl.Float64)))
    drift = confidence_drift(test, unsure)
    assert drift is not None
    assert drift.value == -1


def _gate(mine: pl.DataFrame, champion: pl.DataFrame | None) -> tuple[str, str, int | None]:
    config = EvaluationConfig(num_bootstrap_samples=400)
    beside = compare_answers(mine, without_adapter(mine), "untrained model", config)
    against = None if champion is None else compare_answers(mine, champion, "champion version 1", config)
    verdict, reasons, more = judge_answers(against, beside, mine.height, 0.1, config)
    return verdict, "; ".join(reasons), more


def test_the_gate_promotes_the_first_unless_the_model_was_better_without_it() -> None:
    assert _gate(_answers(["yes"] * 20, ["no"] * 20), None)[0] == "promote"
    assert _gate(_answers(["no"] * 20, ["no"] * 20), None)[0] == "promote"
    verdict, reasons, _ = _gate(_answers(["no"] * 20, ["yes"] * 20), None)
    assert verdict == "keep"
    assert "token f1 is shown to be below the untrained model's" in reasons


def test_over_a_champion_a_gain_must_be_shown() -> None:
    good, poor = _answers(["yes"] * 20, ["no"] * 20), _answers(["no"] * 20, ["no"] * 20)
    slightly = _answers(["yes"] * 10 + ["no"] * 10, ["no"] * 20)
    better = _answers(["yes"] * 13 + ["no"] * 7, ["no"] * 20)
    assert _gate(good, poor)[0] == "promote"
    assert _gate(poor, good)[0] == "keep"
    assert _gate(good, good)[0] == "keep"
    verdict, reasons, more = _gate(better, slightly)
    assert verdict == "need_more_labels"
    assert "more labelled examples" in reasons
    assert more is not None
    assert more > 0


def test_models_of_different_tasks_are_not_compared() -> None:
    with pytest.raises(LabelSetChangedError, match=r"data\.task=generation") as raised:
        compare_answers(_answers(["a"], ["b"]), _pairs([1.0]), "champion version 1", _CONFIG)
    assert "tracking.registered_model" in raised.value.fix
