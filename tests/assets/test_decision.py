"""The retrain decision as an asset: what it gathers, and that its data version says when to train."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.core.model_scenario import examples
from tests.project_scenario import TINY, copy_of, load_asset, tracking

from ftzard.assets.decision import retrain_decision
from ftzard.assets.step import Step, StepResult
from ftzard.composition import compose
from ftzard.config import AutomationConfig, VersioningConfig
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.records import Splits
from ftzard.core.retrain_decision import RetrainDecision
from ftzard.errors import StorageError
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.serving_records import ServingRecords
from ftzard.resources.versioning import DvcRepository


def _step(project: Path, folder: Path, **automation: Any) -> Step:
    """A step of the project whose assets of serving lie in another folder."""
    config = replace(compose(TINY, project_dir=project), automation=AutomationConfig(**automation))
    registry = AdapterRegistry(tracking(project))
    return Step(config, project, registry=registry, serving=ServingRecords(folder), previous_version="before")


def _with_more(splits: Splits, num: int) -> Splits:
    return replace(splits, train=pl.concat([splits.train, examples(num, 1)]).sort("text_hash"))


def _verdict(result: StepResult[RetrainDecision]) -> str:
    return result.value.verdict


@pytest.fixture(scope="module")
def splits(materialized_project: Path) -> Splits:
    value = load_asset(materialized_project, "splits")
    assert isinstance(value, Splits)
    return value


def test_called_directly_without_a_registry_there_is_no_champion(project: Path, splits: Splits) -> None:
    result = retrain_decision(splits, Step(compose(TINY, project_dir=project), project))
    assert _verdict(result) == "retrain"
    assert result.value.evidence.num_new_labels == splits.train.height
    assert result.value.reasons_to_retrain == ("there is no champion",)


def test_after_a_training_on_all_there_is_it_waits_and_keeps_its_data_version(
    materialized_project: Path, tmp_path: Path, splits: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    step = _step(materialized_project, tmp_path)
    with caplog.at_level("INFO", logger="ftzard"):
        result = retrain_decision(splits, step)
    assert result.value.sentence in caplog.messages
    assert (_verdict(result), result.data_version) == ("wait", "before")
    assert result.value.evidence.num_new_labels == 0
    assert result.value.evidence.num_new_since_last_training == 0
    assert "nothing new since the last training" in result.value.sentence
    assert result.metadata["sentence"] == result.value.sentence
    assert retrain_decision(splits, replace(step, previous_version=None)).data_version == "wait"


def test_its_data_version_changes_once_for_each_set_of_examples_that_is_worth_a_training(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    step = _step(materialized_project, tmp_path, min_new_labels=20)
    first = retrain_decision(_with_more(splits, 20), step)
    assert (_verdict(first), first.value.evidence.num_new_labels) == ("retrain", 20)
    again = retrain_decision(_with_more(splits, 20), replace(step, previous_version=first.data_version))
    assert again.data_version == first.data_version
    more = retrain_decision(_with_more(splits, 21), step)
    assert len({first.data_version, more.data_version, "before", "wait"}) == 4
    fewer = retrain_decision(_with_more(splits, 19), replace(step, previous_version=first.data_version))
    assert (_verdict(fewer), fewer.data_version) == ("wait", first.data_version)


def test_corrected_labels_are_new_ones_also_where_no_text_is(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    other = {"positive": "negative", "negative": "positive"}
    corrected = splits.train.head(20).with_columns(pl.col("label").replace(other))
    after = replace(splits, train=pl.concat([corrected, splits.train.tail(-20)]))
    result = retrain_decision(after, _step(materialized_project, tmp_path, min_new_labels=20))
    assert (_verdict(result), result.value.evidence.num_new_labels) == ("retrain", 20)
    assert result.value.evidence.num_new_since_last_training == 20
    assert result.data_version != "before"


def test_test_rows_are_no_new_labels_because_nothing_is_trained_on_them(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    more = replace(splits, test=pl.concat([splits.test, examples(80, 1)]))
    result = retrain_decision(more, _step(materialized_project, tmp_path))
    assert result.value.evidence.num_new_labels == 0


def test_the_time_of_the_last_training_is_scaled_to_the_examples_there_are_now(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    step = _step(materialized_project, tmp_path, max_training_minutes=1e-6)
    last = tracking(materialized_project).last_metrics(("TRAINING", "RETRAINING"))
    assert last["num_train_examples"] == splits.train.height
    result = retrain_decision(_with_more(splits, splits.train.height), step)
    assert result.value.evidence.estimated_minutes == pytest.approx(last["seconds"] * 2 / 60)
    assert _verdict(result) == "wait"
    assert result.value.reasons_to_retrain


def _write_predictions(folder: Path, predictions: pl.DataFrame, version: str) -> None:
    path = folder / "incoming_predictions" / f"{version}.parquet"
    path.parent.mkdir(exist_ok=True)
    predictions.with_columns(label=pl.lit(None, pl.String), champion_version=pl.lit(version)).write_parquet(path)


def _unsure(predictions: pl.DataFrame) -> pl.DataFrame:
    """The same rows, each label as likely as the other."""
    even = [pl.lit(0.5).alias(label) for label in labels_of_predictions(predictions)]
    return predictions.with_columns(probabilities=pl.struct(even))


def test_drift_is_that_of_the_champions_own_predictions_on_what_came_in(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    step = _step(materialized_project, tmp_path)
    assert retrain_decision(splits, step).value.evidence.drift is None
    predictions = load_asset(materialized_project, "predictions")
    _write_predictions(tmp_path, predictions, "another")
    assert retrain_decision(splits, step).value.evidence.drift is None
    _write_predictions(tmp_path, _unsure(predictions), "1")
    drift = retrain_decision(splits, step).value.evidence.drift
    assert drift is not None
    assert drift.value == -1.0


def test_live_accuracy_is_that_of_the_champion_on_the_control_arm(
    materialized_project: Path, tmp_path: Path, splits: Splits
) -> None:
    labelled = splits.train.head(10)
    folder = tmp_path / "label_queue" / "content"
    folder.mkdir(parents=True)
    sidecar = labelled.select(
        "text_hash",
        arm=pl.lit("control"),
        # Nine of ten are right.
        predicted_label=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("other")).otherwise("label"),
        champion_version=pl.lit("1"),
    )
    sidecar.write_parquet(folder / "sidecar.parquet")
    result = retrain_decision(splits, _step(materialized_project, tmp_path))
    assert result.value.evidence.live_accuracy is not None
    assert result.value.evidence.live_accuracy.value == pytest.approx(0.9)
    assert result.metrics["live_accuracy"] == pytest.approx(0.9)


def test_a_stored_file_that_cannot_be_read_is_named(materialized_project: Path, tmp_path: Path, splits: Splits) -> None:
    (tmp_path / "incoming_predictions").mkdir()
    (tmp_path / "incoming_predictions" / "a.parquet").write_text("no parquet")
    with pytest.raises(StorageError, match=r"a\.parquet"):
        retrain_decision(splits, _step(materialized_project, tmp_path))


def test_a_stored_file_that_was_changed_after_its_commit_is_not_read(project: Path) -> None:
    folder = project / "data" / "assets" / "incoming_predictions"
    folder.mkdir(parents=True)
    path = folder / "a.parquet"
    pl.DataFrame({"champion_version": ["1"], "probability": [0.5]}).write_parquet(path)
    repository = DvcRepository(project, VersioningConfig())
    repository.commit("Data")
    records = ServingRecords(folder.parent, repository.require_committed)
    found = records.predictions("1")
    assert found is not None
    # Readable, and another number.
    path.unlink()
    pl.DataFrame({"champion_version": ["1"], "probability": [0.25]}).write_parquet(path)
    with pytest.raises(StorageError, match=r"a\.parquet is not what"):
        records.predictions("1")


def test_a_partition_that_is_just_being_written_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "label_queue" / ".content.tmp"
    folder.mkdir(parents=True)
    (folder / "sidecar.parquet").write_text("half of i")
    assert ServingRecords(tmp_path).sidecars() == []


def test_a_project_without_an_experiment_has_no_last_training(tracked_project: Path) -> None:
    assert tracking(tracked_project).last_metrics(("TRAINING",)) == {}


def test_the_decision_is_materialized_with_the_project_and_is_kept_out_of_the_data(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    assert (project / ".ftzard" / "assets" / "retrain_decision.json").is_file()
    assert not list((project / "data" / "assets").glob("retrain_decision*"))
