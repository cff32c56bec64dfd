"""The asset checks: what they find, and what a failure stops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from tests.core.model_scenario import examples
from tests.project_scenario import TINY, copy_of, materializations, stored_value

from ftzard.assets.checks import adapter_beats_baseline, examples_fit_the_schema, splits_are_disjoint
from ftzard.assets.data import raw_data, splits
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.cleaning import clean
from ftzard.core.records import REJECTED_SCHEMA, Cleaned, Splits
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions, make_pipeline

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


@pytest.mark.parametrize(("verdict", "passed"), [("better", True), ("undecided", False), ("worse", False)])
def test_an_adapter_that_is_not_shown_to_be_better_is_a_warning_with_the_reports_sentence(
    materialized_project: Path, verdict: Any, passed: bool
) -> None:
    report = stored_value(materialized_project, "metrics")
    result = adapter_beats_baseline(replace(report, verdict=verdict), _CONFIG)
    assert result.passed is passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.description == report.sentence


def test_only_the_warning_does_not_block() -> None:
    checks = (examples_fit_the_schema, splits_are_disjoint, adapter_beats_baseline)
    assert {check.asset: check.blocking for check in checks} == {"cleaned": True, "splits": True, "metrics": False}


def test_each_check_ran_with_the_materialization_of_its_asset(materialized_project: Path) -> None:
    keys = {
        check: dg.AssetCheckKey(dg.AssetKey(check.asset), check.function.__name__)
        for check in (examples_fit_the_schema, splits_are_disjoint, adapter_beats_baseline)
    }
    with project_instance(materialized_project) as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    assert set(records) == set(keys.values())
    for key in (keys[examples_fit_the_schema], keys[splits_are_disjoint]):
        event = records[key].event
        assert event is not None
        assert event.dagster_event is not None
        assert event.dagster_event.asset_check_evaluation_data.passed


@tracked_asset("DATA_CLEANING", group="data", kinds={"polars"}, io="record", sections=("data",))
def cleaned(raw_data: pl.DataFrame, step: Step) -> StepResult[Cleaned]:
    """Cleaning with a fault: it lets a duplicate through."""
    value = clean(raw_data, step.config.data)
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
