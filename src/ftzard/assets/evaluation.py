"""What the adapter predicts for the test split, and what that is worth."""

import logging
from collections.abc import Sequence

import polars as pl

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.evaluation_report import EvaluationReport, Interval, LabelReport, SliceScores
from ftzard.core.generation_report import GenerationReport
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.set_report import LabelOutcomes, LabelSetReport

_logger = logging.getLogger(__name__)

_GROUP = "evaluation"
_MAX_PAIRS = 20
Report = EvaluationReport | LabelSetReport | GenerationReport


@tracked_asset(
    "INFERENCE",
    group=_GROUP,
    kinds={"pytorch", "parquet", "dvc"},
    io="frame",
    sections=("data", "model", "training"),
)
def predictions(lora_adapter: AdapterDirectory, splits: Splits, step: Step) -> StepResult[pl.DataFrame]:
    """The adapter's prediction for each test example.

    One row per example: hash of the text, true label, predicted label, and probability and logit of each label; where a
    text can have several labels, the set of them, and the threshold of each. For generation and preference: what the
    adapter writes, what the same model writes without it, and the log-probability of each token of these and of the
    answers that were asked for.
    """
    from ftzard.core.adapter import config_for
    from ftzard.core.answer_inference import predict_answers
    from ftzard.core.inference import predict
    from ftzard.core.predictions import labels_of_predictions

    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    if not step.config.data.has_labels:
        value = predict_answers(lora_adapter, splits.test, step.config)
        examples, numbers = shown_answers(value, splits.test, lora_adapter, step)
        shown: dict[str, object] = {"task": step.config.data.task, "examples": examples}
        texts = {"answers.ndjson": examples.write_ndjson()}
    else:
        # Another base model than the configured one is a mistake, unless a study chose it.
        config = config_for(lora_adapter, step.config) if step.config.tuning.searches("model") else step.config
        value = predict(lora_adapter, splits.test, config)
        shown = {"labels": ", ".join(labels_of_predictions(value))}
    return StepResult(
        value=value,
        metadata={**shown, "adapter": lora_adapter.checksum},
        metrics={"num_predictions": value.height, **numbers},
        texts=texts,
    )


def shown_answers(
    answers: pl.DataFrame, examples: pl.DataFrame, adapter: AdapterDirectory, step: Step
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Some answers beside what was asked, and how many have all tokens that they may have."""
    from ftzard.core.answer_examples import answer_examples, num_as_long_as_may_be
    from ftzard.core.answer_format import read_answer_format

    limit = read_answer_format(adapter.path).max_new_tokens
    num_full = num_as_long_as_may_be(answers, limit)
    if num_full > answers.height / 2:
        _logger.warning(
            "%d of %d answers are as long as they may be (model.generation.max_new_tokens=%d), and end there",
            num_full,
            answers.height,
            limit,
        )
    are_messages = step.config.data.messages_column is not None
    return answer_examples(answers, examples, are_messages=are_messages), {"num_answers_at_limit": num_full}


@tracked_asset("EVALUATION", group=_GROUP, kinds={"sklearn", "json", "dvc"}, io="report", sections=("evaluation",))
def metrics(predictions: pl.DataFrame, splits: Splits, step: Step) -> StepResult[Report]:
    """The evaluation report: the adapter's scores with 95 % intervals, beside baselines on the same rows.

    For classification these are the majority class, and TF-IDF with logistic regression, trained on the same train
    split, likewise where a text can have several labels; for generation and preference the same model without the
    adapter. Differences are paired, row by row.
    """
    reports = {"classification": _classifier_report, "multi_label": _set_report}
    return reports.get(step.config.data.task, _answer_report)(predictions, splits, step)


def _classifier_report(predictions: pl.DataFrame, splits: Splits, step: Step) -> StepResult[Report]:
    from ftzard.core.confusion_figures import confusion_matrix
    from ftzard.core.evaluation import evaluate
    from ftzard.core.figures import interval_plot, reliability_diagram

    report = evaluate(predictions, splits.train, splits.test, step.config.evaluation)
    return StepResult(
        value=report,
        metadata={
            "verdict": report.verdict,
            "sentence": report.sentence,
            "scores": score_table(report),
            "scores_by_length": slice_table(report.slices, "accuracy"),
        },
        metrics=_logged_metrics(report),
        figures={
            "confusion matrix": confusion_matrix(report.confusion, report.labels),
            "reliability diagram": reliability_diagram(report.reliability),
            "macro-F1": interval_plot(
                {
                    system.name: system.metrics["macro_f1"]
                    for system in (report.adapter, report.baseline, report.majority)
                },
                metric="macro-F1",
            ),
        },
    )


def _set_report(predictions: pl.DataFrame, splits: Splits, step: Step) -> StepResult[Report]:
    from ftzard.core.confusion_figures import confused_labels
    from ftzard.core.figures import interval_plot, reliability_diagram
    from ftzard.core.set_evaluation import evaluate_sets
    from ftzard.core.set_figures import label_outcomes, label_scores

    report = evaluate_sets(predictions, splits, step.config.evaluation)
    systems = (report.adapter, report.baseline, report.majority)
    return StepResult(
        value=report,
        metadata={
            "verdict": report.verdict,
            "sentence": report.sentence,
            "scores": score_table(report),
            "labels": label_table(report),
            "outcomes": outcome_table(report),
            "confused_labels": confusion_table(report),
            "scores_by_length": slice_table(report.slices, "subset accuracy"),
        },
        metrics=_logged_metrics(report) | {"num_without_label": report.num_without_label},
        figures={
            "F1 of each label": label_scores(report),
            "counts of each label": label_outcomes(report),
            "confused labels": confused_labels(report),
            "reliability diagram": reliability_diagram(report.reliability, what="label"),
            "macro-F1": interval_plot(
                {system.name: system.metrics["macro_f1"] for system in systems}, metric="macro-F1"
            ),
        },
    )


def slice_table(slices: Sequence[SliceScores], accuracy: str) -> pl.DataFrame:
    """The adapter's scores for short, medium and long texts, one row for each.

    Args:
        slices: By length of text.
        accuracy: What their accuracy is called.
    """
    return pl.DataFrame(
        [
            {
                "texts": part.name,
                "characters": f"{part.min_num_characters} to {part.max_num_characters}",
                "test rows": part.num_examples,
                accuracy: _with_interval(part.accuracy),
                "macro-F1": _with_interval(part.macro_f1),
            }
            for part in slices
        ]
    )


def label_table(report: LabelSetReport) -> pl.DataFrame:
    """How well each label is found, one row per label, with TF-IDF's F1 beside it."""
    pairs = zip(report.adapter.per_class, report.baseline.per_class, strict=True)
    return pl.DataFrame(
        [
            {
                "label": mine.label,
                "test rows": mine.num_examples,
                "precision": round(mine.precision, 3),
                "recall": round(mine.recall, 3),
                "F1": round(mine.f1, 3),
                "F1 of TF-IDF": round(theirs.f1, 3),
                "threshold": round(report.thresholds[mine.label], 3),
            }
            for mine, theirs in pairs
        ]
    )


def outcome_table(report: LabelSetReport) -> pl.DataFrame:
    """How often each label was rightly and wrongly given and not given, one row per label, TF-IDF's counts behind."""
    pairs = zip(report.adapter.outcomes, report.baseline.outcomes, strict=True)
    return pl.DataFrame(
        [{"label": mine.label, **_counts(mine), **_counts(theirs, " of TF-IDF")} for mine, theirs in pairs]
    )


def _counts(outcomes: LabelOutcomes, whose: str = "") -> dict[str, int]:
    counts = {
        "true positives": outcomes.num_true_positives,
        "false positives": outcomes.num_false_positives,
        "false negatives": outcomes.num_false_negatives,
        "true negatives": outcomes.num_true_negatives,
    }
    return {f"{name}{whose}": count for name, count in counts.items()}


def confusion_table(report: LabelSetReport) -> pl.DataFrame:
    """Which labels the adapter missed while it wrongly gave which others, the most frequent pairs first, 20 at most.

    A test row counts for every pair of a label that it misses and one that it wrongly gets; `(nothing)` stands where
    there is only one of the two.
    """
    from ftzard.core.confusion_figures import NOTHING

    names = (*report.labels, NOTHING)
    pairs = [
        {"missed": missed, "wrongly given": given, "test rows": count}
        for missed, row in zip(names, report.confusion, strict=True)
        for given, count in zip(names, row, strict=True)
        if missed != given and count
    ]
    schema = pl.Schema({"missed": pl.String, "wrongly given": pl.String, "test rows": pl.Int64})
    table = pl.DataFrame(pairs, schema=schema)
    return table.sort("test rows", descending=True, maintain_order=True).head(_MAX_PAIRS)


def _answer_report(predictions: pl.DataFrame, splits: Splits, step: Step) -> StepResult[Report]:
    from ftzard.core.figures import interval_plot
    from ftzard.core.generation_evaluation import evaluate_answers

    report = evaluate_answers(predictions, splits.train, splits.test, step.config.evaluation)
    systems = (report.adapter, report.untrained)
    return StepResult(
        value=report,
        metadata={"verdict": report.verdict, "sentence": report.sentence, "scores": answer_score_table(report)},
        metrics=_logged_answer_metrics(report),
        figures={
            report.metric.replace("_", " "): interval_plot(
                {system.name: system.metrics[report.metric] for system in systems}, metric=report.metric
            )
        },
    )


def answer_score_table(report: GenerationReport) -> pl.DataFrame:
    """Every metric of the adapter, of the untrained model and of their difference, as `value [low, high]`."""
    columns = {
        "adapter": report.adapter.metrics,
        "untrained model": report.untrained.metrics,
        "difference": report.differences,
    }
    table = {title: [_with_interval(score) for score in scores.values()] for title, scores in columns.items()}
    return pl.DataFrame({"metric": list(report.differences), **table})


def _logged_answer_metrics(report: GenerationReport) -> dict[str, float]:
    systems = {"": report.adapter.metrics, "untrained_": report.untrained.metrics, "difference_in_": report.differences}
    rewards = report.reward_accuracy
    return {
        **{f"{prefix}{name}": score.value for prefix, scores in systems.items() for name, score in scores.items()},
        "difference": report.difference.value,
        "difference_low": report.difference.low,
        "difference_high": report.difference.high,
        "num_test": report.num_test,
        **({} if rewards is None else {"reward_accuracy": rewards.value}),
    }


def score_table(report: LabelReport) -> pl.DataFrame:
    """Every metric of the three systems as `value [low, high]`, one row per metric."""
    systems = (report.adapter, report.baseline, report.majority)
    return pl.DataFrame(
        {
            "metric": list(report.adapter.metrics),
            **{system.name: [_with_interval(score) for score in system.metrics.values()] for system in systems},
        }
    )


def _with_interval(score: Interval) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _logged_metrics(report: LabelReport) -> dict[str, float]:
    systems = {"": report.adapter, "baseline_": report.baseline, "majority_": report.majority}
    return {
        **{
            f"{prefix}{name}": score.value
            for prefix, system in systems.items()
            for name, score in system.metrics.items()
        },
        **{f"f1_{scores.label}": scores.f1 for scores in report.adapter.per_class},
        "difference": report.difference.value,
        "difference_low": report.difference.low,
        "difference_high": report.difference.high,
        "num_test": report.num_test,
    }
