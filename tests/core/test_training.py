"""Training learns, is repeatable to the bit, and fails with a name."""

import dataclasses
import logging
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.core.model_scenario import LABELS, config, file_bytes, splits, train

from ftzard.config import TrainingConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.base_model import load_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.divergence import check_weights
from ftzard.core.label_head import make_label_head
from ftzard.core.optimization import AdapterOptimizer, learning_rate_factor
from ftzard.core.training import TrainingResult, train_adapter
from ftzard.core.training_record import CURVE_SCHEMA, VALIDATION_SCHEMA
from ftzard.errors import (
    ConfigError,
    SingleClassError,
    TooFewExamplesError,
    TrainingDivergedError,
    UnknownLabelError,
)

if TYPE_CHECKING:
    from ftzard.core.progress import Progress


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(tmp_path_factory.mktemp("trained") / "adapter")


def test_the_adapter_learns_a_task_that_the_untrained_model_cannot_do(result: TrainingResult, tmp_path: Path) -> None:
    untrained = train(tmp_path / "untrained", learning_rate=1e-12, num_train_epochs=1)
    assert untrained.validation["macro_f1"][-1] < 0.75
    assert result.validation["macro_f1"][-1] > 0.9
    assert result.validation["loss"][-1] < untrained.validation["loss"][-1]


def test_the_curve_has_a_row_for_each_step_and_the_validation_one_for_each_epoch(result: TrainingResult) -> None:
    assert result.curve.schema == CURVE_SCHEMA
    assert result.curve["step"].to_list() == list(range(1, 13))
    assert result.curve["epoch"].to_list() == [1] * 6 + [2] * 6
    assert result.curve["loss"].is_finite().all()
    assert result.curve["seconds"].is_sorted()
    assert result.validation.schema == VALIDATION_SCHEMA
    assert result.validation["epoch"].to_list() == [1, 2]
    assert result.validation["step"].to_list() == [6, 12]


def test_the_result_says_what_was_trained_and_where(result: TrainingResult) -> None:
    assert 0 < result.num_trainable_parameters < result.num_parameters
    assert (result.device, result.dtype, result.head, result.head_reason) == ("cpu", "float32", "label_words", None)
    assert result.num_truncated == 0
    assert result.tokens_per_s > 0


def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_weights(
    result: TrainingResult, tmp_path: Path
) -> None:
    again = train(tmp_path / "again")
    assert file_bytes(again.adapter) == file_bytes(result.adapter)
    assert again.adapter.checksum == result.adapter.checksum
    assert train(tmp_path / "other", seed=1).adapter.checksum != result.adapter.checksum


def test_a_configuration_that_says_nothing_of_the_weights_makes_the_same_weights(
    result: TrainingResult, tmp_path: Path
) -> None:
    other = dataclasses.replace(config(), evaluation=dataclasses.replace(config().evaluation, seed=9))
    again = train_adapter(splits(), other, LABELS, tmp_path / "again")
    assert again.adapter.checksum == result.adapter.checksum


def test_training_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # the global state is what is checked
    train(tmp_path / "adapter", num_train_epochs=1, lora={"lora_dropout": 0.1})
    after = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # as above
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert after == before[2]


def test_cutting_a_step_into_micro_batches_does_not_change_what_is_learned(tmp_path: Path) -> None:
    whole, cut = (
        train(tmp_path / str(budget), max_tokens_per_batch=budget, num_train_epochs=1) for budget in (10_000, 100)
    )
    assert whole.curve["loss"].to_list() == pytest.approx(cut.curve["loss"].to_list(), rel=1e-3)
    one, other = (load_file(part.adapter.path / WEIGHTS_NAME) for part in (whole, cut))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-2, atol=1e-3)


def test_progress_is_told_after_each_step_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Progress] = []
    with caplog.at_level(logging.INFO, logger="ftzard.core.training"):
        train_adapter(splits(), config(num_train_epochs=1), LABELS, tmp_path / "adapter", on_progress=seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(step, 6) for step in range(1, 7)]
    assert seen[-1].seconds_left == 0
    assert "step 6/6, loss" in caplog.text
    assert "tokens/s" in caplog.text


def test_without_validation_examples_there_are_no_validation_points(tmp_path: Path) -> None:
    parts = dataclasses.replace(splits(), validation=splits().validation.clear())
    trained = train_adapter(parts, config(num_train_epochs=1), LABELS, tmp_path / "adapter")
    assert trained.validation.is_empty()


def test_texts_that_were_cut_are_counted(tmp_path: Path) -> None:
    trained = train(tmp_path / "adapter", model={"max_length": 40}, num_train_epochs=1)
    assert 0 < trained.num_truncated < splits().train.height


def test_a_random_head_is_reported_with_its_reason(tmp_path: Path) -> None:
    model = {"label_words": {"negative": "0", "positive": "4"}}
    trained = train(tmp_path / "adapter", model=model, num_train_epochs=1)
    assert trained.head == "random"
    assert trained.head_reason is not None


def test_a_training_that_diverges_names_the_step_and_its_texts_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"optimizer step \d+ (?s:.*)[0-9a-f]{32}"):
        train(tmp_path / "adapter", learning_rate=1e30)
    assert not (tmp_path / "adapter").exists()


def test_a_validation_example_without_finite_logits_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    one_step = config(num_train_epochs=1, train_batch_size=96, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match=r"validation example [0-9a-f]{32}"):
        train_adapter(splits(), one_step, LABELS, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_with_weights_that_are_not_finite_is_noticed() -> None:
    base = load_base_model(config().model, "cpu")
    head = make_label_head(base, LABELS, LABELS, "label_words")
    with lora_classifier(base, head, config().training.lora) as classifier:
        check_weights(classifier.trainable_parameters(), 7)
        with torch.no_grad():
            classifier.trainable_parameters()[0][0, 0] = math.inf
        with pytest.raises(TrainingDivergedError, match="optimizer step 7"):
            check_weights(classifier.trainable_parameters(), 7)


def test_after_a_divergence_the_next_training_is_as_if_it_had_not_been(result: TrainingResult, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError):
        train(tmp_path / "adapter", learning_rate=1e30)
    assert train(tmp_path / "again").adapter.checksum == result.adapter.checksum


def test_no_examples_a_single_class_and_an_unknown_label_are_errors_of_their_own(tmp_path: Path) -> None:
    parts = splits()
    empty = dataclasses.replace(parts, train=parts.train.clear())
    single = dataclasses.replace(parts, train=parts.train.filter(pl.col("label") == "negative"))
    with pytest.raises(TooFewExamplesError):
        train_adapter(empty, config(), LABELS, tmp_path / "adapter")
    with pytest.raises(SingleClassError, match="negative"):
        train_adapter(single, config(), LABELS, tmp_path / "adapter")
    with pytest.raises(UnknownLabelError, match=r"'positive' in toy\.csv, row 3"):
        train_adapter(
            dataclasses.replace(parts, train=parts.train.sort("row")), config(), ("negative", "x"), tmp_path / "adapter"
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.device is 'cuda'"):
        train(tmp_path / "adapter", device="cuda")


def test_updates_too_small_for_bfloat16_add_up_in_the_master_weights() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = AdapterOptimizer([parameter], TrainingConfig(learning_rate=1e-4))
    for _ in range(200):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step(1.0)
    # Each update is 1e-4, and the bfloat16 next below 1 is 4e-3 away: without masters nothing would ever move.
    torch.testing.assert_close(parameter.detach().float(), torch.full((4,), 0.98), rtol=0, atol=4e-3)


def test_gradients_that_are_not_finite_are_reported_and_not_applied() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, math.nan])
    _, norm = AdapterOptimizer([parameter], TrainingConfig()).step(1.0)
    assert not math.isfinite(norm)
    assert parameter.tolist() == [1.0, 1.0]


@given(num_steps=st.integers(1, 500), warmup=st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls_and_is_never_zero(num_steps: int, warmup: float) -> None:
    factors = [learning_rate_factor(step, num_steps, warmup) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1.0
    peak = factors.index(1.0)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
