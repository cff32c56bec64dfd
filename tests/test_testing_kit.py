"""What FTzard offers to other people's tests is what its assets make themselves."""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.project_scenario import git

import ftzard
from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.step import Step
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.records import Raw
from ftzard.dagster_instance import project_instance
from ftzard.errors import OutputExistsError, SchemaViolationError, SingleClassError, StorageError
from ftzard.testing import TINY, compose_tiny, load_asset, make_examples, make_project, make_raw, some_rows


def test_rows_are_what_raw_data_and_cleaned_hold_of_a_project_with_them(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    step = Step(compose_tiny(project_dir=project), project)
    raw = raw_data(step=step).value
    assert_frame_equal(raw.examples, make_raw(some_rows()).examples)
    assert_frame_equal(cleaned(raw, step).value.examples, make_examples(some_rows()))


def test_an_asset_is_called_as_a_function_on_a_few_rows(tmp_path: Path) -> None:
    step = Step(compose_tiny(), tmp_path)
    raw = make_raw([*some_rows(), ("The tea was lovely", "positive"), ("Nobody said", None)])
    value = cleaned(raw, step).value
    assert value.rejected["reason"].to_list() == ["duplicate", "missing_label"]
    parts = splits(value, step).value
    assert set(parts.test["label"]) == {"positive", "negative"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (make_raw(some_rows()).examples, "cleaned takes what raw_data holds, Raw, and was given DataFrame"),
        (make_raw(some_rows()).examples.to_pandas(), "cleaned takes what raw_data holds, Raw, and was given DataFrame"),
        (Raw(pl.DataFrame(some_rows(), ["text", "label"], orient="row")), "raw_data.examples has no column 'batch'"),
    ],
)
def test_an_asset_that_is_called_with_something_else_says_what_it_takes(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(SchemaViolationError, match=said):
        cleaned(given, Step(compose_tiny(), tmp_path))


@pytest.mark.slow
def test_a_project_is_real_and_everything_in_it_can_be_run_and_loaded(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", some_rows())
    with pytest.raises(StorageError, match="metrics"):
        load_asset(project, "metrics")
    assert "metrics" in ftzard.materialize(project, TINY).ran
    report = load_asset(project, "metrics")
    assert isinstance(report, EvaluationReport)
    assert report.labels == ("negative", "positive")
    assert "data: materialize metrics" in git(project, "log", "--format=%s")
    assert (project / "mlflow.db").is_file()
    predictions = _predict(project, "text\nThe tea was fine\n")
    with pytest.raises(StorageError, match="partition for each file") as caught:
        load_asset(project, "incoming_predictions")
    assert predictions in caught.value.fix
    assert load_asset(project, "incoming_predictions", predictions).height == 1


def _predict(project: Path, csv: str) -> str:
    """What the sensor asks for when a file comes in; returns its partition."""
    file = project / "data" / "incoming" / "new.csv"
    file.write_text(csv)
    key = hashlib.sha256(file.read_bytes()).hexdigest()[:32]
    with project_instance(project) as instance:
        instance.add_dynamic_partitions("ftzard_incoming", [key])
        job = ftzard.build_definitions(TINY, project_dir=project).resolve_job_def("ftzard_serving")
        assert job.execute_in_process(instance=instance, partition_key=key).success
    return key


def test_what_cannot_be_a_project_is_refused_as_by_ftzard_init(tmp_path: Path) -> None:
    with pytest.raises(SingleClassError):
        make_project(tmp_path / "project", [(f"text {number}", "only") for number in range(30)])
    assert not (tmp_path / "project").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OutputExistsError):
        make_project(tmp_path / "full")
