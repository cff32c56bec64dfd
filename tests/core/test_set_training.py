"""Adapters that give sets of labels: trained, stored, asked and gone on from."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.core import set_scenario
from tests.core.model_scenario import file_bytes
from tests.core.model_scenario import train as train_single
from tests.core.set_scenario import LABELS, config, splits

from ftzard.core.adapter_documents import AdapterLabelSets, read_labels, read_manifest
from ftzard.core.inference import predict
from ftzard.core.label_sets import EMPTY, indicators
from ftzard.core.predictions import probability_matrix
from ftzard.core.progress import Progress
from ftzard.core.set_evaluation import set_scores
from ftzard.core.set_predictions import thresholds_of
from ftzard.core.set_thresholds import tuned_thresholds
from ftzard.core.training import TrainingResult, train_adapter
from ftzard.core.training_checks import check_training_labels
from ftzard.errors import AdapterMismatchError, SingleClassError, TooFewExamplesError, UnknownLabelError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """An adapter with tuned thresholds."""
    return set_scenario.train(tmp_path_factory.mktemp("sets") / "adapter", label_thresholds="tuned")


def test_the_toy_task_is_learned_and_a_text_can_have_none_of_the_labels_or_all(trained: TrainingResult) -> None:
    answers = predict(trained.adapter, splits().test, config())
    assert set_scores(answers)["macro_f1"] > 0.85
    assert {EMPTY, "food|music|travel"} <= {*answers["predicted_label"]}
    assert trained.head == "label_words"
    # Independent of each other: their sum is that of no distribution over labels.
    assert np.ptp(probability_matrix(answers).sum(axis=1)) > 1
    assert trained.validation["macro_f1"][-1] > trained.validation["macro_f1"][0]


def test_tuned_thresholds_are_those_of_the_validation_split_and_serve_with_the_adapter(
    trained: TrainingResult,
) -> None:
    labels = read_labels(trained.adapter.path)
    assert isinstance(labels, AdapterLabelSets)
    on_validation = predict(trained.adapter, splits().validation, config())
    truth = indicators(splits().validation["label"], LABELS)
    expected = tuned_thresholds(probability_matrix(on_validation), truth)
    assert labels.thresholds == pytest.approx(expected)
    # Whatever is configured where it serves.
    assert thresholds_of(on_validation).tolist() == list(labels.thresholds)


def test_the_same_training_makes_the_same_bytes_and_tuning_changes_nothing_but_the_thresholds(
    trained: TrainingResult, tmp_path: Path
) -> None:
    again = set_scenario.train(tmp_path / "again", label_thresholds="tuned")
    assert file_bytes(again.adapter) == file_bytes(trained.adapter)
    half = set_scenario.train(tmp_path / "half")
    ours, theirs = file_bytes(half.adapter), file_bytes(trained.adapter)
    assert {name for name in ours if ours[name] != theirs[name]} <= {"labels.json", "manifest.json"}
    found = read_labels(half.adapter.path)
    assert isinstance(found, AdapterLabelSets)
    assert found.thresholds == (0.5,) * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weights": "none", "label_smoothing": 0.1},
        {"focal_gamma": 2.0},
        {"class_weights": "explicit", "class_weight_values": {"food": 2.0, "music": 1.0, "travel": 1.0}},
        {"early_stopping_patience": 2, "metric_for_best_model": "loss"},
    ],
)
def test_what_weighs_the_loss_of_single_labels_weighs_that_of_sets(settings: dict[str, Any], tmp_path: Path) -> None:
    result = set_scenario.train(tmp_path / "adapter", **{"num_train_epochs": 3, **settings})
    assert result.validation["loss"][-1] < result.validation["loss"][0]


def test_a_head_can_start_from_random_weights(tmp_path: Path) -> None:
    base = config(num_train_epochs=1)
    random = dataclasses.replace(base, model=dataclasses.replace(base.model, head="random"))
    result = train_adapter(splits(), random, LABELS, tmp_path / "adapter")
    assert result.head == "random"


def test_training_goes_on_from_an_adapter_of_sets_and_not_from_one_of_single_labels(
    trained: TrainingResult, tmp_path: Path
) -> None:
    gone_on = train_adapter(splits(), config(num_train_epochs=1), LABELS, tmp_path / "more", initial=trained.adapter)
    assert gone_on.validation["loss"][0] < trained.validation["loss"][0]
    single = train_single(tmp_path / "single", num_train_epochs=1)
    with pytest.raises(AdapterMismatchError, match=r"data\.task=classification, and data\.task=multi_label"):
        train_adapter(splits(), config(), LABELS, tmp_path / "wrong", initial=single.adapter)
    with pytest.raises(AdapterMismatchError, match=r"data\.task=classification, and data\.task=multi_label"):
        predict(single.adapter, splits().test, config())


def test_the_manifest_of_single_labels_has_no_key_of_sets(trained: TrainingResult, tmp_path: Path) -> None:
    single = read_manifest(train_single(tmp_path / "single", num_train_epochs=1).adapter.path).config
    sets = read_manifest(trained.adapter.path).config
    younger = {"data": {"label_separator", "no_label"}, "training": {"label_thresholds"}}
    for section, keys in younger.items():
        assert sets[section].keys() - single[section].keys() == keys


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    parts = splits()
    one = parts.train.with_columns(
        label=pl.when(pl.col("label").str.contains("food")).then(pl.lit("food")).otherwise(pl.lit(EMPTY))
    )
    with pytest.raises(SingleClassError, match=r"\['food'\]"):
        check_training_labels(one, LABELS, "multi_label")
    row = parts.train.head(1).with_columns(label=pl.lit("food|cake"))
    strange = dataclasses.replace(parts, train=pl.concat([parts.train, row]))
    with pytest.raises(UnknownLabelError, match=r"'food\|cake'"):
        train_adapter(strange, config(), LABELS, tmp_path / "strange")
    without = dataclasses.replace(parts, validation=parts.validation.clear())
    with pytest.raises(TooFewExamplesError, match=r"label_thresholds is `tuned`"):
        train_adapter(without, config(label_thresholds="tuned"), LABELS, tmp_path / "without")


def test_a_training_that_is_interrupted_goes_on_and_ends_with_the_same_bytes(
    trained: TrainingResult, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 7:
            raise KeyboardInterrupt

    settings = config(label_thresholds="tuned", checkpoint_interval_s=0.0)
    checkpoints: dict[str, Any] = {"checkpoint_dir": tmp_path / "checkpoints"}
    with pytest.raises(KeyboardInterrupt):
        train_adapter(splits(), settings, LABELS, tmp_path / "stopped", on_progress=stop, **checkpoints)
    resumed = train_adapter(splits(), settings, LABELS, tmp_path / "resumed", **checkpoints)
    assert resumed.resumed_from > 0
    assert resumed.adapter.checksum == trained.adapter.checksum
