"""The whole graph for texts with any number of labels: called as functions, materialized, served and labelled."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result
from polars.testing import assert_frame_equal
from tests.core.set_scenario import LABELS, examples
from tests.project_scenario import load_asset, materializations, project_with

from ftzard.assets.checks import adapter_beats_baseline, examples_fit_the_schema, splits_are_disjoint
from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.evaluation import confusion_table, metrics, predictions
from ftzard.assets.step import Step
from ftzard.champion import describe_champion
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.comparison import SetComparison
from ftzard.core.figures import label_balance
from ftzard.core.frame_schemas import check_value, describe_columns
from ftzard.core.label_files import read_label_queue
from ftzard.core.label_names import label_counts
from ftzard.core.label_sets import EMPTY, set_members
from ftzard.core.predictions import prediction_schema
from ftzard.core.records import Cleaned
from ftzard.core.set_report import LabelSetReport
from ftzard.core.versions import content_version
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.difference import diff_lines, diff_project
from ftzard.labels import label_status
from ftzard.materialization import materialize
from ftzard.reproduction import reproduce
from ftzard.resources.tracking import Tracking

pytestmark = pytest.mark.usefixtures("one_thread")

_TINY = ("experiment=tiny_multi_label", "training.label_thresholds=tuned")


def _write_batch(path: Path, num: int, seed: int, *, labelled: bool = True) -> None:
    """Labels in any order and with spaces, as people write them; `none` where there are none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"] if labelled else ["text"])
        for text, label in examples(num, seed).select("text", "label").iter_rows():
            said = " | ".join(reversed(label.split("|"))) if label != EMPTY else "none"
            writer.writerow([text, said] if labelled else [text])


@pytest.fixture(scope="module")
def tagging(project_template: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project materialized with `experiment=tiny_multi_label` and tuned thresholds."""
    folder = tmp_path_factory.mktemp("sets")
    project = project_with(project_template, empty_store, folder, lambda raw: _write_batch(raw / "topics.csv", 240, 1))
    materialize(project, _TINY)
    return project


def test_what_is_called_is_what_is_materialized(tagging: Path, tmp_path: Path) -> None:
    config = compose(_TINY, project_dir=tagging)
    step = Step(config, tmp_path)
    raw = raw_data(step=Step(config, tagging)).value
    clean = cleaned(raw, step).value
    parts = splits(clean, step).value
    for name, value in (("raw_data", raw), ("cleaned", clean), ("splits", parts)):
        assert content_version(value) == content_version(load_asset(tagging, name))
    answers = predictions(load_asset(tagging, "lora_adapter"), parts, step).value
    assert_frame_equal(answers, load_asset(tagging, "predictions"), check_exact=True)
    assert metrics(answers, parts, step).value == load_asset(tagging, "metrics")
    assert examples_fit_the_schema(clean, config).passed
    strange = Cleaned(clean.examples.with_columns(label=pl.lit("food|cake")), clean.rejected)
    known = compose([*_TINY, "data.labels=[food,music,travel]"], project_dir=tagging)
    assert examples_fit_the_schema(strange, known).metadata["unknown labels"].value == "cake"
    assert splits_are_disjoint(parts, config).passed


def test_the_predictions_hold_sets_and_the_thresholds_of_the_adapter(tagging: Path) -> None:
    answers, adapter = load_asset(tagging, "predictions"), load_asset(tagging, "lora_adapter")
    assert answers.schema == prediction_schema(LABELS, sets=True)
    said = json.loads((adapter.path / "labels.json").read_text(encoding="utf-8"))
    assert answers["thresholds"].struct.unnest().row(0) == tuple(said["thresholds"])
    assert {*set_members(answers["predicted_label"]).explode().drop_nulls()} == {*LABELS}
    assert EMPTY in answers["label"].to_list()
    check_value("predictions", answers)
    assert describe_columns("predictions", "", answers)["thresholds"].rules == ("each at least 0", "each at most 1")


def test_the_report_judges_sets_beside_tfidf_and_the_most_frequent_set(tagging: Path) -> None:
    report, parts = load_asset(tagging, "metrics"), load_asset(tagging, "splits")
    assert isinstance(report, LabelSetReport)
    assert report.num_test == parts.test.height
    assert report.num_without_label == parts.test.filter(pl.col("label") == EMPTY).height > 0
    assert report.adapter.metrics["macro_f1"].value > report.majority.metrics["macro_f1"].value + 0.3
    assert [scores.num_examples for scores in report.adapter.per_class] == [
        parts.test.filter(set_members(parts.test["label"]).list.contains(label)).height for label in LABELS
    ]
    assert adapter_beats_baseline(report, compose(_TINY)).passed == (report.verdict == "better")
    shown = materializations(tagging)
    assert shown["metrics"].metadata["subset_accuracy"].value == report.adapter.metrics["subset_accuracy"].value
    assert "F1 of each label" in shown["metrics"].metadata
    assert "F1 of TF-IDF" in str(shown["metrics"].metadata["labels"].value)
    assert "subset accuracy" in str(shown["metrics"].metadata["scores_by_length"].value)
    assert 0 < shown["splits"].metadata["stratification_error"].value < 0.5  # type: ignore[operator]


def test_the_balance_of_the_labels_shows_how_many_texts_have_none(tagging: Path, tmp_path: Path) -> None:
    config = compose(_TINY, project_dir=tagging)
    result = cleaned(load_asset(tagging, "raw_data"), Step(config, tmp_path))
    examples = result.value.examples
    counts = label_counts(examples["label"], "multi_label")
    assert counts.keys() == {*LABELS}
    without = {"(no label)": examples.filter(pl.col("label") == EMPTY).height}
    assert result.figures["label balance"] == label_balance({"cleaned": without | counts})
    assert result.figures["label balance"] != label_balance({"cleaned": counts})


def test_dagster_and_mlflow_show_how_often_each_label_is_right_and_wrong_and_which_are_confused(tagging: Path) -> None:
    report, told = load_asset(tagging, "metrics"), materializations(tagging)["metrics"].metadata
    header, _, *rows = str(told["outcomes"].value).splitlines()
    assert header.startswith("| label | true positives | false positives | false negatives | true negatives | true pos")
    for row, *systems in zip(rows, report.adapter.outcomes, report.baseline.outcomes, strict=True):
        label, *counts = row.strip("| ").split(" | ")
        assert label == systems[0].label
        assert [int(count) for count in counts] == [
            count
            for one in systems
            for count in (
                one.num_true_positives,
                one.num_false_positives,
                one.num_false_negatives,
                one.num_true_negatives,
            )
        ]
        assert sum(map(int, counts)) == 2 * report.num_test
    assert str(told["confused_labels"].value).startswith("| missed | wrongly given | test rows |")
    run_id = str(told["mlflow_run_id"].value)
    with Tracking(compose(_TINY, project_dir=tagging).tracking, tagging).connected() as client:
        pictures = {item.path for item in client.list_artifacts(run_id, "figures")}
    assert {"figures/counts of each label.png", "figures/confused labels.png"} <= pictures
    assert {"counts of each label", "confused labels"} <= told.keys()


def test_confused_labels_are_listed_by_how_often_they_are_and_twenty_at_most(tagging: Path) -> None:
    report = load_asset(tagging, "metrics")
    confused = replace(report, confusion=((9, 0, 2, 3), (5, 9, 0, 0), (2, 1, 9, 0), (0, 4, 0, 7)))
    assert confusion_table(confused).rows() == [
        ("music", "food", 5),
        ("(nothing)", "music", 4),
        ("food", "(nothing)", 3),
        ("food", "travel", 2),
        ("travel", "food", 2),
        ("travel", "music", 1),
    ]
    many = tuple(f"label {number}" for number in range(6))
    assert confusion_table(replace(report, labels=many, confusion=((1,) * 7,) * 7)).height == 20
    right = tuple(tuple(9 if row == column else 0 for column in range(4)) for row in range(4))
    assert confusion_table(replace(report, confusion=right)).is_empty()


def test_the_first_adapter_is_champion_and_told_with_its_scores(tagging: Path) -> None:
    verdict = load_asset(tagging, "champion")
    assert verdict.verdict == "promote"
    assert isinstance(verdict.against_baseline, SetComparison)
    assert verdict.against_baseline.other == "TF-IDF"
    assert "subset accuracy" in describe_champion(tagging, _TINY)


def test_nothing_runs_again_where_nothing_has_changed_and_the_champion_is_reproduced(tagging: Path) -> None:
    assert materialize(tagging, _TINY).ran == ()
    assert reproduce(tagging, "champion", _TINY).differences == ()
    told = "\n".join(diff_lines(diff_project(tagging, "1", "champion", _TINY), 3))
    assert "  macro-F1: " in told


def _serve(project: Path, name: str) -> str:
    """What the sensor asks for, done: the key of the file's content."""
    definitions = build_definitions([*_TINY, "automation.settle_s=0"], project_dir=project)
    sensor = definitions.resolve_sensor_def("ftzard_incoming_files")
    job, resources = definitions.resolve_job_def("ftzard_serving"), dict(definitions.resources or {})
    assert (project / "data" / "incoming" / name).exists()
    with project_instance(project) as instance:
        with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
            (request,) = sensor.evaluate_tick(context).run_requests or ()
        assert request.asset_selection is not None
        assert [key.to_user_string() for key in request.asset_selection] == [
            "incoming",
            "incoming_predictions",
            "label_queue",
        ]
        key = request.tags["dagster/asset_partition_range_start"]
        instance.add_dynamic_partitions("ftzard_incoming", [key])
        assert job.execute_in_process(instance=instance, partition_key=key).success
    return key


def _labels(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["labels", *arguments, "--project", str(project), *_TINY])


def _filled_in(queue: Path, answers: Sequence[str]) -> Path:
    with queue.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    filled = queue.with_name("filled.csv")
    with filled.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *([*row[:2], said] for row, said in zip(rows, answers, strict=True))])
    return filled


@pytest.mark.slow
def test_what_comes_in_is_queued_and_the_sets_that_people_give_are_trained_on(tagging: Path, tmp_path: Path) -> None:
    _write_batch(tagging / "data" / "incoming" / "new.csv", 24, 9, labelled=False)
    folder = tagging / "data" / "assets" / "label_queue" / _serve(tagging, "new.csv")
    queue = read_label_queue(folder)
    assert queue.takes_sets
    assert queue.labels == LABELS
    check_value("label_queue", queue)
    interface = (folder / "label-studio.xml").read_text(encoding="utf-8")
    assert 'choice="multiple"' in interface
    assert '<Choice value="none of these" alias="[]"/>' in interface

    exported = tmp_path / "open.csv"
    assert _labels(tagging, "export", "--output", str(exported)).exit_code == 0
    num_open = queue.rows.height
    said = [["travel|food", "none", "music", ""][row % 4] for row in range(num_open)]
    wrong = _labels(tagging, "import", str(_filled_in(exported, ["food|cake", *said[1:]])), "--annotator", "anna")
    assert wrong.exit_code == 1
    assert "'food|cake'" in wrong.output
    done = _labels(tagging, "import", str(_filled_in(exported, said)), "--annotator", "anna")
    assert done.exit_code == 0, done.output
    # Another order is no other answer.
    same = [{"travel|food": "food | travel"}.get(one, one) for one in said]
    again = _labels(tagging, "import", str(_filled_in(exported, same)), "--annotator", "anna")
    num_labelled = sum(1 for one in said if one)
    assert f"{num_labelled} as before" in again.output
    status = label_status(tagging, compose(_TINY, project_dir=tagging))
    assert status.rows.select("labelled", "open").row(0) == (num_labelled, num_open - num_labelled)

    assert "  of whole sets of labels; F1 of all their labels together: " in "\n".join(status.lines())

    examples_before = load_asset(tagging, "cleaned").examples
    assert "lora_adapter" in materialize(tagging, _TINY).ran
    examples_now = load_asset(tagging, "cleaned").examples
    new = examples_now.join(examples_before, on="text_hash", how="anti")
    assert new["label"].value_counts().sort("label").rows() == sorted(
        [("food|travel", said.count("travel|food")), (EMPTY, said.count("none")), ("music", said.count("music"))]
    )
    decision = load_asset(tagging, "retrain_decision")
    assert decision.evidence.live_accuracy is not None


def test_a_set_with_a_label_too_many_is_put_to_people_who_may_answer_with_any_set(
    project_template: Path, empty_store: Path, tmp_path: Path
) -> None:
    project = project_with(
        project_template, empty_store, tmp_path, lambda raw: _write_batch(raw / "topics.csv", 240, 1)
    )
    (batch,) = (project / "data" / "raw").iterdir()
    rows = pl.read_csv(batch)
    wrong = rows.filter(pl.col("label") == "food")["text"].head(8).to_list()
    too_many = pl.when(pl.col("text").is_in(wrong)).then(pl.lit("food|music")).otherwise("label")
    rows.with_columns(label=too_many).write_csv(batch)
    checked = _labels(project, "check")
    assert checked.exit_code == 0, checked.output
    assert "of 240 example(s) queued for a doubtful label: " in checked.output
    assert "'food|music' with 'music', which is " in checked.output

    exported = tmp_path / "open.csv"
    assert _labels(project, "export", "--output", str(exported)).exit_code == 0
    with exported.open(newline="", encoding="utf-8-sig") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    found = [text for text in texts if text in wrong]
    assert len(found) > len(texts) / 2
    said = ["food" if text in wrong else "" for text in texts]
    done = _labels(project, "import", str(_filled_in(exported, said)), "--annotator", "anna")
    assert f"{len(found)} new label(s)" in done.output, done.output
