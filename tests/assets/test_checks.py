"""The asset checks: what they find, and what a failure stops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from tests.core.model_scenario import examples
from tests.project_scenario import TINY, copy_of, load_asset, materializations

from ftzard.assets.checks import (
    adapter_beats_baseline,
    examples_fit_the_schema,
    no_test_row_is_trained_on,
    splits_are_disjoint,
)
from ftzard.assets.data import raw_data, splits
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.cleaning import clean, hash_texts
from ftzard.core.frozen_test import FrozenTest
from ftzard.core.records import EXAMPLE_SCHEMA, REJECTED_SCHEMA, Cleaned, Raw, Splits
from ftzard.dagster_instance import project_instance
from ftzard.definitions import CHECKS, build_definitions, make_pipeline

_CONFIG = FtzardConfig()


def _cleaned(frame: pl.DataFrame) -> Cleaned:
    return Cleaned(frame, REJECTED_SCHEMA.to_frame())


def _found(result: dg.AssetCheckResult) -> set[str]:
    return set(result.metadata) - {"labels"}


def test_sound_examples_fit_the_schema() -> None:
    result = examples_fit_the_schema(_cleaned(examples(6, 0)), _CONFIG)
    assert result.passed
    assert result.metadata["labels"].value == "negative, positive"


def test_a_text_may_have_two_examples_where_several_labels_are_kept_but_not_two_alike() -> None:
    keeping = FtzardConfig(data=DataConfig(conflicting_labels="keep"))
    first = examples(6, 0)
    twice = pl.concat([first, first.head(1).with_columns(label=pl.lit("other"))])
    assert examples_fit_the_schema(_cleaned(twice), keeping).passed
    assert _found(examples_fit_the_schema(_cleaned(pl.concat([twice, first.head(1)])), keeping)) == {"repeated texts"}


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        (examples(6, 0).drop("row"), "schema"),
        (examples(6, 0).with_columns(pl.col("row").cast(pl.Int32)), "schema"),
        (examples(6, 0).with_columns(text=pl.lit(None, pl.String)), "nulls"),
        (examples(6, 0).with_columns(text=pl.lit("")), "empty texts"),
        (pl.concat([examples(6, 0), examples(1, 0)]), "repeated texts"),
    ],
)
def test_each_flaw_of_examples_is_found_and_named(spoilt: pl.DataFrame, problem: str) -> None:
    result = examples_fit_the_schema(_cleaned(spoilt), _CONFIG)
    assert not result.passed
    assert _found(result) == {problem}


def test_a_label_outside_the_label_set_is_found_and_named() -> None:
    config = FtzardConfig(data=DataConfig(labels=("negative", "neutral")))
    result = examples_fit_the_schema(_cleaned(examples(6, 0)), config)
    assert not result.passed
    assert result.metadata["unknown labels"].value == "positive"


def test_disjoint_splits_pass_and_shared_texts_are_counted() -> None:
    frame = examples(9, 0)
    apart = Splits(frame[:3], frame[3:6], frame[6:])
    assert splits_are_disjoint(apart, _CONFIG).passed
    result = splits_are_disjoint(replace(apart, test=frame[4:]), _CONFIG)
    assert not result.passed
    assert sorted(int(str(entry.value)) for entry in result.metadata.values()) == [0, 0, 2]


def _long(num: int, batch: str, word: str) -> pl.DataFrame:
    texts = [f"{word} {number} {word} {number} {word} {number} of {batch} {number}" for number in range(num)]
    frame = pl.DataFrame({"text": texts, "label": ["negative", "positive"] * (num // 2), "batch": [batch] * num})
    rows = frame.with_columns(hash_texts(frame["text"]), row=pl.int_range(num, dtype=pl.Int64))
    return rows.select(EXAMPLE_SCHEMA.names())


def test_a_row_that_is_trained_on_and_in_the_test_split_fails_the_check_exactly_or_nearly() -> None:
    train, test = _long(10, "a.csv", "tea"), _long(4, "b.csv", "rain")
    apart = Splits(train, train.clear(), test)
    frozen = FrozenTest.first(pl.concat([test, gone := _long(2, "c.csv", "gone")]))
    assert no_test_row_is_trained_on(apart, _CONFIG).passed
    assert no_test_row_is_trained_on(apart, _CONFIG, frozen).passed
    edited = pl.concat([test.head(1), gone.head(1)]).with_columns(
        text=pl.concat_str(pl.lit("So "), "text", pl.lit("!"))
    )
    for copies in (test.head(1), edited.head(1), edited.tail(1)):
        for leaking in (replace(apart, train=pl.concat([train, copies])), replace(apart, validation=copies)):
            result = no_test_row_is_trained_on(leaking, _CONFIG, frozen)
            assert not result.passed
            assert result.metadata["num_copies"].value == 1
            assert str(copies["batch"].item()) in str(result.metadata["copies"].value)
    foreign = no_test_row_is_trained_on(
        replace(apart, test=pl.concat([test, _long(2, "d.csv", "new")])), _CONFIG, frozen
    )
    assert not foreign.passed
    assert foreign.metadata["num_rows_that_nobody_froze"].value == 2


@pytest.mark.parametrize(("verdict", "passed"), [("better", True), ("undecided", False), ("worse", False)])
def test_an_adapter_that_is_not_shown_to_be_better_is_a_warning_with_the_reports_sentence(
    materialized_project: Path, verdict: Any, passed: bool
) -> None:
    report = load_asset(materialized_project, "metrics")
    result = adapter_beats_baseline(replace(report, verdict=verdict), _CONFIG)
    assert result.passed is passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.description == report.sentence


def test_only_the_warning_does_not_block() -> None:
    assert {check.function.__name__: check.blocking for check in CHECKS} == {
        "examples_fit_the_schema": True,
        "splits_are_disjoint": True,
        "no_test_row_is_trained_on": True,
        "adapter_beats_baseline": False,
    }


def test_each_check_ran_with_the_materialization_of_its_asset(materialized_project: Path) -> None:
    keys = {check: dg.AssetCheckKey(dg.AssetKey(check.asset), check.function.__name__) for check in CHECKS}
    with project_instance(materialized_project) as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    assert set(records) == set(keys.values())
    for key in (keys[examples_fit_the_schema], keys[splits_are_disjoint], keys[no_test_row_is_trained_on]):
        event = records[key].event
        assert event is not None
        assert event.dagster_event is not None
        assert event.dagster_event.asset_check_evaluation_data.passed


@tracked_asset("DATA_CLEANING", group="data", kinds={"polars"}, io="record", sections=("data",))
def cleaned(raw_data: Raw, step: Step) -> StepResult[Cleaned]:
    """Cleaning with a fault: it lets a duplicate through."""
    value = clean(raw_data.examples, step.config.data)
    return StepResult(replace(value, examples=pl.concat([value.examples, value.examples.head(1)])))


def test_nothing_downstream_of_a_failed_blocking_check_runs(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    pipeline = make_pipeline("ftzard")
    resources = build_definitions(TINY, project_dir=project).resources or {}
    before = materializations(project, ["cleaned", "splits"])
    definitions = dg.Definitions(
        assets=[raw_data.build(pipeline), cleaned.build(pipeline), splits.build(pipeline)],
        asset_checks=[examples_fit_the_schema.build(pipeline)],
        jobs=[dg.define_asset_job("faulty", selection=dg.AssetSelection.assets("cleaned", "splits"))],
        resources=dict(resources),
    )
    with project_instance(project) as instance:
        result = definitions.resolve_job_def("faulty").execute_in_process(instance=instance, raise_on_error=False)
        [evaluation] = result.get_asset_check_evaluations()
    assert not result.success
    assert evaluation.metadata["repeated texts"].value == 1
    after = materializations(project, ["cleaned", "splits"])
    assert after["cleaned"] != before["cleaned"]
    assert after["splits"] == before["splits"]
