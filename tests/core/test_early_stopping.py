"""Training stops when validation gets no better, and the adapter has the weights that were best."""

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.core.model_scenario import LABELS, config, splits, train

from ftzard.composition import compose
from ftzard.config import TrainingConfig
from ftzard.core.adapter import WEIGHTS_NAME, verify_adapter
from ftzard.core.base_model import load_base_model
from ftzard.core.early_stopping import BestSoFar, EarlyStopping
from ftzard.core.inference import predict
from ftzard.core.training import fitted_classifier, train_adapter
from ftzard.core.training_loop import ValidationWatch
from ftzard.errors import ConfigError, TooFewExamplesError

# Learns in an epoch and is then so fast that it forgets again.
_UNSTEADY: dict[str, Any] = {"num_train_epochs": 4, "learning_rate": 3e-2, "warmup_fraction": 0.0}


def _run(rule: EarlyStopping, scores: list[float]) -> tuple[int, BestSoFar]:
    """How many of the validations take place, and what is the best then; a weight is the number of its validation."""
    parameter, best = torch.nn.Parameter(torch.zeros(1)), None
    for number, score in enumerate(scores, start=1):
        with torch.no_grad():
            parameter.fill_(number)
        best = rule.after(best, {rule.metric: score}, number, number, [parameter])
        if rule.is_over(best):
            return number, best
    assert best is not None
    return len(scores), best


@pytest.mark.parametrize(
    ("patience", "scores", "expected"),
    [
        (1, [0.5, 0.4, 0.9], (2, 1)),
        (2, [0.5, 0.4, 0.9, 0.8, 0.7, 1.0], (5, 3)),
        (3, [0.5, 0.4, 0.4], (3, 1)),
        # Equal is no better.
        (2, [0.5, 0.5, 0.5, 0.6], (3, 1)),
    ],
)
def test_it_waits_for_as_many_validations_as_it_has_patience(
    patience: int, scores: list[float], expected: tuple[int, int]
) -> None:
    num, best = _run(EarlyStopping(patience, "macro_f1", 0.0), scores)
    assert (num, best.step) == expected
    loss_num, loss_best = _run(EarlyStopping(patience, "loss", 0.0), [-score for score in scores])
    assert (loss_num, loss_best.step) == expected


def test_a_validation_that_is_done_again_after_an_interruption_counts_once() -> None:
    rule, parameter = EarlyStopping(2, "macro_f1", 0.0), torch.nn.Parameter(torch.zeros(1))
    best = rule.after(None, {"macro_f1": 0.5}, 1, 10, [parameter])
    worse = rule.after(best, {"macro_f1": 0.4}, 2, 20, [parameter])
    assert (best.num_waited, worse.num_waited) == (0, 1)
    again = rule.after(worse, {"macro_f1": 0.4}, 2, 20, [parameter])
    assert again.num_waited == 1
    assert not rule.is_over(again)


def test_a_gain_below_the_threshold_is_kept_and_does_not_end_the_waiting() -> None:
    num, best = _run(EarlyStopping(2, "macro_f1", 0.1), [0.5, 0.55, 0.58, 0.9])
    assert (num, best.step, best.score) == (3, 3, 0.58)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 5))
def test_what_is_kept_is_the_first_of_the_best_that_were_seen(scores: list[int], patience: int) -> None:
    num, best = _run(EarlyStopping(patience, "macro_f1", 0.0), [float(score) for score in scores])
    assert best.score == max(scores[:num])
    assert best.step == scores.index(max(scores[:num])) + 1
    assert best.weights[0].item() == best.step


def test_the_adapter_has_the_best_weights_and_the_table_says_which_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ftzard.core.training"):
        stopped = train(tmp_path / "stopped", early_stopping_patience=1, metric_for_best_model="loss", **_UNSTEADY)
    losses = stopped.validation["loss"].to_list()
    assert len(losses) < 4
    best = losses.index(min(losses))
    assert best == len(losses) - 2
    assert stopped.validation["is_kept"].to_list() == [row == best for row in range(len(losses))]
    assert stopped.curve.height == 6 * len(losses)
    said = f"best of epoch {best + 1} (step {6 * (best + 1)}): loss {min(losses):.3f}"
    assert stopped.kept.startswith(said)
    assert stopped.kept.endswith(f"stopped after step {6 * len(losses)} of 24")
    assert stopped.kept in caplog.text
    _assert_validation_loss(stopped.adapter.path, min(losses))


def _assert_validation_loss(adapter: Path, expected: float) -> None:
    frame = predict(verify_adapter(adapter), splits().validation, config())
    rows = zip(frame["probabilities"].to_list(), frame["label"], strict=True)
    loss = sum(-math.log(probabilities[label]) for probabilities, label in rows) / frame.height
    assert loss == pytest.approx(expected, rel=1e-3)


def test_without_it_the_last_weights_are_kept(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", **_UNSTEADY)
    assert whole.validation["is_kept"].to_list() == [False] * 3 + [True]
    assert whole.kept == "last weights (step 24)"
    never = train(tmp_path / "never", early_stopping_patience=99, **_UNSTEADY)
    assert never.validation.drop("is_kept").equals(whole.validation.drop("is_kept"))
    assert never.kept.endswith("to the end")


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = (train(tmp_path / name, early_stopping_patience=1, **_UNSTEADY) for name in ("one", "other"))
    assert one.adapter.checksum == other.adapter.checksum
    assert one.kept == other.kept


@pytest.mark.parametrize(("num", "steps"), [(1, [6, 12]), (2, [3, 6, 9, 12]), (4, [2, 3, 5, 6, 8, 9, 11, 12])])
def test_an_epoch_is_validated_as_often_as_is_asked_for_and_nothing_else_changes(
    tmp_path: Path, num: int, steps: list[int]
) -> None:
    often = train(tmp_path / "often", num_validations_per_epoch=num)
    assert often.validation["step"].to_list() == steps
    usual = load_file(train(tmp_path / "usual").adapter.path / WEIGHTS_NAME)
    found = load_file(often.adapter.path / WEIGHTS_NAME)
    assert all(torch.equal(found[name], usual[name]) for name in usual)


def test_more_validations_than_steps_are_one_after_each_step(tmp_path: Path) -> None:
    often = train(tmp_path / "often", num_validations_per_epoch=50, num_train_epochs=1)
    assert often.validation["step"].to_list() == [1, 2, 3, 4, 5, 6]


def test_somebody_who_watches_changes_neither_the_stop_nor_the_weights() -> None:
    settings = config(early_stopping_patience=1, **_UNSTEADY)
    base = load_base_model(settings.model, "cpu")
    kept = []
    for watch in (None, ValidationWatch(16, lambda *_: None)):
        with fitted_classifier(base, splits(), settings, LABELS, watch=watch) as fit:
            kept.append((fit.record.kept, fit.record.curve()["loss"].to_list(), fit.record.kept_score("macro_f1")))
    assert kept[0] == kept[1]


def test_no_validation_examples_to_stop_by_is_an_error_with_the_key(tmp_path: Path) -> None:
    parts = dataclasses.replace(splits(), validation=splits().validation.clear())
    with pytest.raises(TooFewExamplesError, match=r"training\.early_stopping_patience"):
        train_adapter(parts, config(early_stopping_patience=1), LABELS, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    with pytest.raises(ConfigError, match=r"data\.validation_fraction above 0"):
        compose(["training.early_stopping_patience=1", "data.validation_fraction=0", "data.train_fraction=0.9"])


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert EarlyStopping.from_config(TrainingConfig()) is None
