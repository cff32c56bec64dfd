"""An asset function called as a plain function gives what Dagster stores."""

import re
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.project_scenario import COMMITTED, TINY, file_bytes, load_asset

import ftzard
from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.evaluation import metrics, predictions
from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.assets.tuning import tuned_hyperparameters
from ftzard.composition import compose
from ftzard.core.adapter import verify_adapter
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.records import AdapterDirectory, Cleaned, Raw, Splits
from ftzard.core.versions import AssetValue, content_version


@pytest.fixture(scope="module")
def direct(materialized_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AssetValue]:
    """The functions called one after the other: no Dagster, MLflow, DVC or git."""
    config = compose(TINY, project_dir=materialized_project)
    folder = tmp_path_factory.mktemp("direct")
    step = Step(config, folder)
    raw = raw_data(step=Step(config, materialized_project)).value
    clean = cleaned(raw, step).value
    parts = splits(clean, step).value
    tuned = tuned_hyperparameters(parts, step).value
    adapter = lora_adapter(parts, tuned, step).value
    answers = predictions(adapter, parts, step).value
    report = metrics(answers, parts, step).value
    assert not list(folder.rglob("*.db"))
    made: tuple[AssetValue, ...] = (raw, clean, parts, adapter, answers, report)
    return {**dict(zip(COMMITTED, made, strict=True)), "tuned_hyperparameters": tuned}


def test_an_asset_is_called_as_the_readme_says(materialized_project: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (call,) = re.findall(r"^\| in a test \|.*`(.+)` \|$", readme, flags=re.MULTILINE)
    frame = pl.DataFrame(
        {
            "text": ["A  fine day", "A fine day", "Rain"],
            "label": ["good", "good", "bad"],
            "batch": ["a.csv"] * 3,
            "row": [2, 3, 4],
        }
    )
    config = ftzard.compose(TINY, project_dir=str(materialized_project))
    names = {"frame": frame, "config": config, "project_dir": materialized_project, "cleaned": cleaned}
    value = eval(call, {**names, "Raw": ftzard.Raw, "Step": ftzard.Step})  # noqa: S307 - it is our own text
    assert sorted(value.examples["text"]) == ["A fine day", "Rain"]
    assert value.rejected["reason"].to_list() == ["duplicate"]


def _frames(value: object) -> dict[str, pl.DataFrame]:
    if isinstance(value, pl.DataFrame):
        return {"": value}
    assert isinstance(value, Raw | Cleaned | Splits)
    return {item.name: getattr(value, item.name) for item in fields(value)}


@pytest.mark.parametrize("name", ["raw_data", "cleaned", "splits", "predictions"])
def test_frames_are_the_same_whether_called_or_materialized(
    direct: dict[str, AssetValue], materialized_project: Path, name: str
) -> None:
    called, stored = _frames(direct[name]), _frames(load_asset(materialized_project, name))
    assert called.keys() == stored.keys()
    for part, frame in called.items():
        assert_frame_equal(frame, stored[part], check_exact=True)
    assert sum(frame.height for frame in called.values()) > 0


def test_the_adapter_is_the_same_whether_called_or_materialized(
    direct: dict[str, AssetValue], materialized_project: Path
) -> None:
    called, stored = direct["lora_adapter"], load_asset(materialized_project, "lora_adapter")
    assert isinstance(called, AdapterDirectory)
    assert called.path != stored.path
    assert called.checksum == stored.checksum
    manifest = "manifest.json"
    ours, theirs = file_bytes(called.path), file_bytes(stored.path)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours.keys() - {manifest})
    # Only a materialization knows from which data commit its splits came.
    assert ours[manifest] != theirs[manifest]


def test_the_report_is_the_same_whether_called_or_materialized(
    direct: dict[str, AssetValue], materialized_project: Path
) -> None:
    called = direct["metrics"]
    assert isinstance(called, EvaluationReport)
    assert called == load_asset(materialized_project, "metrics")
    assert called.num_test > 0


@pytest.mark.parametrize("name", [*COMMITTED, "tuned_hyperparameters"])
def test_what_is_called_directly_has_the_content_version_of_what_is_stored(
    direct: dict[str, AssetValue], materialized_project: Path, name: str
) -> None:
    assert content_version(direct[name]) == content_version(load_asset(materialized_project, name))


def test_an_adapter_that_is_made_by_a_direct_call_can_be_verified_and_is_left_to_the_caller(
    direct: dict[str, AssetValue],
) -> None:
    adapter = direct["lora_adapter"]
    assert isinstance(adapter, AdapterDirectory)
    assert verify_adapter(adapter.path) == adapter
