"""Sets of labels judged: beside baselines, and by the gate."""

import dataclasses
import json
import warnings

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import multilabel_confusion_matrix
from tests.core.set_scenario import LABELS, examples, splits

from ftzard.config import EvaluationConfig
from ftzard.core.comparison import Comparison, SetComparison
from ftzard.core.confusion_figures import confused_labels as picture_of_confused_labels
from ftzard.core.evaluation_report import ClassScores
from ftzard.core.gate import PromotionVerdict, judge, objections
from ftzard.core.label_sets import EMPTY, indicators
from ftzard.core.predictions import predictions_frame
from ftzard.core.records import Splits
from ftzard.core.set_baseline import frequent_set_predictions, tfidf_set_predictions
from ftzard.core.set_evaluation import METRIC_NAMES, compare_sets, evaluate_sets, is_tuned, set_scores
from ftzard.core.set_figures import label_outcomes, label_scores
from ftzard.core.set_metrics import confused_labels
from ftzard.core.set_predictions import set_predictions_frame, thresholds_of
from ftzard.core.set_report import LabelOutcomes, LabelSetReport
from ftzard.core.task_judging import compare_any, judging_of
from ftzard.errors import (
    LabelSetChangedError,
    PredictionsMismatchError,
    TooFewExamplesError,
    UnknownLabelError,
)

_CONFIG = EvaluationConfig(num_bootstrap_samples=200)


def _answers(
    test: pl.DataFrame, num_wrong: int, seed: int = 0, thresholds: tuple[float, ...] = (0.5,) * 3
) -> pl.DataFrame:
    """Right about all labels of all rows but so many."""
    truth = indicators(test["label"], LABELS)
    wrong = np.random.default_rng(seed).permutation(truth.size)[:num_wrong]
    given = truth.ravel().copy()
    given[wrong] = ~given[wrong]
    logits = np.where(given.reshape(truth.shape), 2.0, -2.0)
    return set_predictions_frame(test["text_hash"].to_list(), test["label"].to_list(), logits, LABELS, thresholds)


def test_the_report_holds_every_metric_of_three_systems_and_is_read_back() -> None:
    parts = splits()
    report = evaluate_sets(_answers(parts.test, 6), parts, _CONFIG)
    for system in (report.adapter, report.baseline, report.majority):
        assert tuple(system.metrics) == METRIC_NAMES
        assert [scores.label for scores in system.per_class] == list(LABELS)
    assert report.adapter.metrics["hamming_loss"].value == pytest.approx(6 / (3 * parts.test.height))
    assert report.num_without_label == parts.test.filter(pl.col("label") == EMPTY).height
    assert LabelSetReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert evaluate_sets(_answers(parts.test.reverse(), 0), _reversed(parts), _CONFIG) == evaluate_sets(
        _answers(parts.test, 0), parts, _CONFIG
    )


def test_slices_by_length_hold_every_row_once_and_judge_sets_as_a_whole() -> None:
    parts = splits()
    report = evaluate_sets(_answers(parts.test, 9), parts, _CONFIG)
    assert sum(one.num_examples for one in report.slices) == parts.test.height
    assert [one.name for one in report.slices] == ["short", "medium", "long"][: len(report.slices)]
    right = sum(one.accuracy.value * one.num_examples for one in report.slices)
    assert right == pytest.approx(report.adapter.metrics["subset_accuracy"].value * parts.test.height)
    before = {key: value for key, value in report.to_dict().items() if key != "slices"}
    assert LabelSetReport.from_dict(before).slices == ()


def test_a_slice_counts_the_labels_that_occur_in_it_and_one_without_any_label_is_right_without_any() -> None:
    parts = splits()
    one, none = parts.test.filter(pl.col("label") == LABELS[0]), parts.test.filter(pl.col("label") == EMPTY)
    test = pl.concat([one.with_columns(text=pl.lit("a text with a label")), none.with_columns(text=pl.lit("none"))])
    report = evaluate_sets(_answers(test, 0), Splits(parts.train, parts.validation, test), _CONFIG)
    by_length = {part.max_num_characters: (part.num_examples, part.macro_f1.value) for part in report.slices}
    assert by_length == {4: (none.height, 1.0), 19: (one.height, 1.0)}


def test_the_counts_of_each_label_are_those_of_scikit_learn_for_the_adapter_tfidf_and_the_most_frequent_set() -> None:
    parts = splits()
    # Texts of other labels, so that TF-IDF errs in every way.
    noisy = dataclasses.replace(parts, train=parts.train.with_columns(label=pl.col("label").shuffle(seed=1)))
    mine, test = _answers(parts.test, 30), parts.test.sort("text_hash")
    report = evaluate_sets(mine, noisy, _CONFIG)
    answers = {
        "adapter": mine.sort("text_hash"),
        "baseline": tfidf_set_predictions(noisy, LABELS, _CONFIG.seed).sort("text_hash"),
        "majority": frequent_set_predictions(noisy.train, test, LABELS),
    }
    true = indicators(test["label"], LABELS)
    for system, frame in answers.items():
        expected = multilabel_confusion_matrix(true, indicators(frame["predicted_label"], LABELS))
        outcomes = getattr(report, system).outcomes
        found = [
            [[one.num_true_negatives, one.num_false_positives], [one.num_false_negatives, one.num_true_positives]]
            for one in outcomes
        ]
        assert found == expected.tolist()
        assert [one.label for one in outcomes] == list(LABELS)
    assert all(min(one.num_false_positives, one.num_false_negatives) > 0 for one in report.baseline.outcomes)
    confused = confused_labels(true, indicators(answers["adapter"]["predicted_label"], LABELS))
    assert report.confusion == tuple(map(tuple, confused.tolist()))
    assert np.trace(confused) < confused.sum()


def test_a_report_from_before_labels_were_counted_is_still_read() -> None:
    report = evaluate_sets(_answers(splits().test, 6), splits(), _CONFIG)
    before = report.to_dict()
    del before["confusion"]
    for system in ("adapter", "baseline", "majority"):
        del before[system]["outcomes"]
    read = LabelSetReport.from_dict(before)
    assert (read.confusion, read.adapter.outcomes, read.baseline.outcomes) == ((), (), ())
    assert read.adapter.metrics == report.adapter.metrics


def _reversed(parts: Splits) -> Splits:
    return Splits(parts.train.reverse(), parts.validation.reverse(), parts.test.reverse())


def test_tfidf_learns_each_label_by_itself_and_the_most_frequent_set_is_always_the_same() -> None:
    parts = splits()
    learned = tfidf_set_predictions(parts, LABELS, seed=0)
    assert set_scores(learned)["subset_accuracy"] > 0.95
    assert learned["text_hash"].to_list() == parts.test["text_hash"].to_list()
    train = pl.concat([parts.train, parts.train.filter(label="food").head(5).with_columns(text=pl.lit("again"))])
    constant = frequent_set_predictions(train, parts.test, LABELS)
    assert constant["predicted_label"].unique().to_list() == ["food"]
    share = indicators(train["label"], LABELS).mean(axis=0)
    assert constant["probabilities"].struct.unnest().row(0) == pytest.approx(share)


def test_a_label_that_no_train_row_has_is_never_given_by_tfidf() -> None:
    parts = splits()
    answers = tfidf_set_predictions(parts, (*LABELS, "unheard"), seed=0)
    assert answers["probabilities"].struct.field("unheard").max() < 1e-10  # type: ignore[operator]
    with pytest.raises(UnknownLabelError, match=r"\['travel'\]"):
        tfidf_set_predictions(parts, LABELS[:2], seed=0)
    with pytest.raises(TooFewExamplesError, match="train split has no rows"):
        tfidf_set_predictions(dataclasses.replace(parts, train=parts.train.clear()), LABELS, seed=0)


def test_the_strength_of_the_penalty_is_chosen_where_each_label_has_rows_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ftzard.core import set_baseline

    monkeypatch.setattr(set_baseline, "CANDIDATES_FOR_C", (1e-6,))
    many = splits()
    few = dataclasses.replace(many, train=examples(30, 5))
    for parts, is_chosen in ((many, True), (few, False)):
        spread = tfidf_set_predictions(parts, LABELS, seed=0)["probabilities"].struct.field("food").std()
        assert isinstance(spread, float)
        assert (spread < 0.01) == is_chosen


def test_thresholds_of_tfidf_are_tuned_where_those_of_the_adapter_are() -> None:
    parts = splits()
    plain, tuned = _answers(parts.test, 0), _answers(parts.test, 0, thresholds=(0.5, 0.4, 0.5))
    assert (is_tuned(plain), is_tuned(tuned)) == (False, True)
    # Of labels that depend on nothing, so that one half is not the best.
    noise = np.random.default_rng(0).choice(["food", "food|music", "travel", EMPTY], parts.train.height)
    noisy = dataclasses.replace(parts, train=parts.train.with_columns(label=pl.Series(noise)))
    beside = [judging_of(mine).baseline(mine, noisy, _CONFIG)[1] for mine in (plain, tuned)]
    assert thresholds_of(beside[0]).tolist() == [0.5] * 3
    assert (thresholds_of(beside[1]) != 0.5).any()
    reports = [evaluate_sets(mine, noisy, _CONFIG).baseline.metrics["macro_f1"].value for mine in (plain, tuned)]
    assert reports == [set_scores(answers)["macro_f1"] for answers in beside]
    assert reports[0] != reports[1]


def test_test_rows_that_are_others_and_probabilities_that_are_none_are_refused() -> None:
    parts = splits()
    with pytest.raises(PredictionsMismatchError, match="not in the test split"):
        evaluate_sets(_answers(parts.validation, 0), parts, _CONFIG)
    with pytest.raises(TooFewExamplesError, match="test split has no rows"):
        evaluate_sets(_answers(parts.test, 0), dataclasses.replace(parts, test=parts.test.clear()), _CONFIG)


def test_a_challenger_is_compared_by_macro_f1_and_by_the_rows_that_it_is_nearer_on() -> None:
    test = splits().test
    found = compare_sets(_answers(test, 4, 1), _answers(test, 30, 2), "champion", _CONFIG)
    assert isinstance(found, SetComparison)
    assert found.difference.low > 0
    assert found.num_only_challenger > found.num_only_other
    assert found.is_shown_better
    assert set(found.label_differences) == {*LABELS}
    same = compare_sets(_answers(test, 4, 1), _answers(test, 4, 1), "champion", _CONFIG)
    assert (same.difference.value, same.num_only_challenger, same.num_only_other) == (0, 0, 0)
    assert not same.is_told_apart


def test_rows_count_for_who_has_fewer_labels_wrong_also_where_no_set_is_exactly_right() -> None:
    test = splits().test.filter(pl.col("label") != EMPTY)
    truth = indicators(test["label"], LABELS)
    hashes, cells = test["text_hash"].to_list(), test["label"].to_list()
    near, far = truth.copy(), ~truth
    near[:, 0] = ~near[:, 0]
    one, other = (
        set_predictions_frame(hashes, cells, np.where(part, 1.0, -1.0), LABELS, (0.5,) * 3) for part in (near, far)
    )
    found = compare_sets(one, other, "champion", _CONFIG)
    assert (found.num_only_challenger, found.num_only_other) == (test.height, 0)


def test_the_gate_promotes_a_better_challenger_and_says_of_a_worse_one_where_it_is_worse() -> None:
    test = splits().test
    good, bad = _answers(test, 4, 1), _answers(test, 40, 2)
    better, worse = (compare_sets(*pair, "champion", _CONFIG) for pair in ((good, bad), (bad, good)))
    beside = compare_sets(good, good, "TF-IDF", _CONFIG)
    assert judge(better, beside, test.height, 0.1, _CONFIG)[0] == "promote"
    verdict, reasons, _ = judge(worse, beside, test.height, 0.1, _CONFIG)
    assert verdict == "keep"
    assert any("nearer to the truth on fewer rows" in reason and "exact sign test" in reason for reason in reasons)
    assert objections(better, beside, _CONFIG) == ()


def test_a_verdict_keeps_the_kind_of_its_comparisons_as_json() -> None:
    test = splits().test
    sets = compare_sets(_answers(test, 4, 1), _answers(test, 9, 2), "champion", _CONFIG)
    plain = {item.name: getattr(sets, item.name) for item in dataclasses.fields(Comparison)}
    for comparison in (sets, Comparison(**plain)):
        verdict = PromotionVerdict(
            verdict="keep",
            reasons=("x",),
            challenger="1",
            challenger_version="1",
            champion="2",
            test_fingerprint="f",
            num_rows=3,
            num_rows_left_out=0,
            against_champion=comparison,
            against_baseline=comparison,
        )
        again = PromotionVerdict.from_dict(json.loads(json.dumps(verdict.to_dict())))
        assert type(again.against_champion) is type(verdict.against_champion) is type(comparison)
        assert again == verdict


def test_an_adapter_of_single_labels_is_not_compared_with_one_of_sets() -> None:
    test = splits().test.filter(pl.col("label").is_in(LABELS))
    single = predictions_frame(test["text_hash"].to_list(), test["label"].to_list(), np.zeros((test.height, 3)), LABELS)
    with pytest.raises(LabelSetChangedError, match=r"data\.task=multi_label, the champion for classification"):
        compare_any(_answers(test, 0), single, "champion", _CONFIG)


def test_the_picture_of_each_labels_f1_is_a_picture_also_of_many_labels() -> None:
    report = evaluate_sets(_answers(splits().test, 6), splits(), _CONFIG)
    drawn = label_scores(report)
    assert drawn.startswith(b"\x89PNG")
    (scores, *_) = report.adapter.per_class
    many = tuple(dataclasses.replace(scores, label=f"label {number}", f1=number / 30) for number in range(30))
    systems = (dataclasses.replace(system, per_class=many) for system in (report.adapter, report.baseline))
    adapter, baseline = systems
    assert label_scores(dataclasses.replace(report, adapter=adapter, baseline=baseline)) != drawn


def test_the_pictures_of_counts_and_of_confused_labels_show_them_whatever_the_labels_are_called() -> None:
    report = evaluate_sets(_answers(splits().test, 30), splits(), _CONFIG)
    better = evaluate_sets(_answers(splits().test, 3), splits(), _CONFIG)
    for draw in (label_outcomes, picture_of_confused_labels):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert draw(report).startswith(b"\x89PNG")
            assert draw(report) == draw(report) != draw(better)
            assert draw(_with_labels(report, ["$x_{$", "_hidden", "中文\n" * 30])).startswith(b"\x89PNG")
            assert draw(_with_labels(report, [f"label {number}" for number in range(40)])).startswith(b"\x89PNG")
    with_others = dataclasses.replace(report, baseline=report.majority)
    assert label_outcomes(with_others) != label_outcomes(report)


def _with_labels(report: LabelSetReport, names: list[str]) -> LabelSetReport:
    """As if it had so many labels, and none of them a row."""
    outcomes = tuple(LabelOutcomes(name, 0, 0, 0, 40) for name in names)
    scores = tuple(ClassScores(name, 0, 0, 0, 0) for name in names)
    systems = [
        dataclasses.replace(system, outcomes=outcomes, per_class=scores) for system in (report.adapter, report.baseline)
    ]
    confusion = ((0,) * (len(names) + 1),) * (len(names) + 1)
    return dataclasses.replace(
        report, labels=tuple(names), adapter=systems[0], baseline=systems[1], confusion=confusion
    )
