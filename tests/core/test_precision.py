"""What a base model is loaded in: chosen from its size and the memory, with a reason, and remembered by the adapter."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.model_scenario import LABELS, config, save_tiny_model, splits, train

from ftzard.config import ModelConfig, TrainingConfig
from ftzard.core import precision
from ftzard.core.adapter import config_for
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.base_model import forget_base_model, load_base_model
from ftzard.core.inference import predict
from ftzard.core.optimization import AdapterOptimizer
from ftzard.core.precision import choose_precision, count_parameters
from ftzard.core.training import train_adapter

_AUTO: dict[str, Any] = {"base_model": "./model", "quantization": "auto"}


@pytest.mark.parametrize(
    ("num_parameters", "free", "can_be_quantized", "expected", "why"),
    [
        (7_000_000_000, 80e9, True, "none", "not quantized: its weights take 28.0 GB in float32, and 80.0 GB are free"),
        (7_000_000_000, 24e9, True, "nf4", "nf4, computed in float32: its weights take 28.0 GB"),
        (7_000_000_000, 24e9, False, "none", "may not fit"),
        (1, 0, True, "nf4", "0.0 GB are free"),
    ],
)
def test_auto_quantizes_what_does_not_fit_and_says_why(
    num_parameters: int, free: float, can_be_quantized: bool, expected: str, why: str
) -> None:
    settings = ModelConfig(**_AUTO, dtype="float32")
    chosen = choose_precision(settings, "cpu", num_parameters, int(free), can_be_quantized=can_be_quantized)
    assert chosen.quantization == expected
    assert why in chosen.reason


def test_half_the_bytes_fit_where_the_whole_do_not() -> None:
    chosen = [
        choose_precision(ModelConfig(**_AUTO, dtype=dtype), "cpu", 10**9, 3 * 10**9, can_be_quantized=True)
        for dtype in ("float32", "float16", "bfloat16")
    ]
    assert [one.quantization for one in chosen] == ["nf4", "none", "none"]


def test_a_model_is_measured_without_being_loaded() -> None:
    model = load_base_model(config().model, "cpu").model
    assert count_parameters(model.config) == model.num_parameters()


def test_what_was_chosen_is_told_and_stays_chosen_wherever_the_adapter_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    settings = config({"base_model": str(folder), "quantization": "auto"}, num_train_epochs=1)
    forget_base_model()
    # A machine that is too small for the model; then one that is not.
    monkeypatch.setattr(precision, "free_bytes", lambda _: 1000)
    with caplog.at_level(logging.INFO):
        trained = train_adapter(splits(), settings, LABELS, tmp_path / "adapter")
    assert trained.precision.startswith("nf4, computed in float32")
    assert trained.precision in caplog.text
    monkeypatch.undo()
    assert read_manifest(trained.adapter.path).config["model"]["quantization"] == "nf4"
    assert config_for(trained.adapter, settings).model.quantization == "nf4"
    assert load_base_model(settings.model, "cpu").precision.quantization == "none"


@pytest.mark.parametrize("quantization", ["fp4", "nf4", "int8"])
def test_each_quantization_trains_on_a_cpu(tmp_path: Path, quantization: str) -> None:
    folder = save_tiny_model(tmp_path / "model")
    trained = train(tmp_path / "adapter", {"base_model": str(folder), "quantization": quantization}, num_train_epochs=1)
    assert trained.curve["loss"][-1] < trained.curve["loss"][0]
    assert trained.precision == f"float32, quantization {quantization}, as configured"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_learns_the_task_and_predicts_as_it_was_validated(tmp_path: Path, dtype: str) -> None:
    trained = train(tmp_path / "adapter", {"dtype": dtype})
    assert trained.dtype == dtype
    assert trained.validation["macro_f1"][-1] > 0.9
    predictions = predict(trained.adapter, splits().validation, config({"dtype": dtype}))
    assert sum(predictions["label"] == predictions["predicted_label"]) > 0.9 * predictions.height


def _half() -> tuple[torch.nn.Parameter, AdapterOptimizer]:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.float16))
    return parameter, AdapterOptimizer([parameter], TrainingConfig(learning_rate=0.1))


def _backward(loss: torch.Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves `backward` unannotated


def test_gradients_too_small_for_float16_are_not_lost() -> None:
    parameter, optimizer = _half()
    # The smallest float16 is 6e-8.
    _backward(optimizer.scaled((parameter.float() * 1e-9).sum()))
    assert parameter.grad is not None
    assert bool((parameter.grad > 0).all())
    _, norm = optimizer.step(1.0)
    assert norm == pytest.approx(2e-9, rel=0.1)


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_the_next_is_scaled_less() -> None:
    parameter, optimizer = _half()
    norms = []
    for _ in range(20):
        _backward(optimizer.scaled((parameter.float() * 100).sum()))
        norms.append(optimizer.step(1.0)[1])
        assert optimizer.may_go_on
        if not math.isfinite(norms[-1]):
            assert parameter.tolist() == [1.0] * 4
    assert not math.isfinite(norms[0])
    assert norms[-1] == pytest.approx(200)
    assert parameter.tolist() != [1.0] * 4


def test_gradients_that_overflow_at_any_scale_end_the_training() -> None:
    parameter, optimizer = _half()
    for _ in range(20):
        _backward(optimizer.scaled((parameter.float() * math.inf).sum()))
        optimizer.step(1.0)
    assert not optimizer.may_go_on


def test_the_multiple_of_the_loss_is_part_of_what_is_saved_and_gone_on_with() -> None:
    parameter, optimizer = _half()
    for _ in range(3):
        _backward(optimizer.scaled((parameter.float() * math.inf).sum()))
        optimizer.step(1.0)
    _, other = _half()
    assert other.scaled(torch.tensor(1.0)) == 8 * optimizer.scaled(torch.tensor(1.0))
    other.restore(optimizer.state(), optimizer.num_steps)
    assert other.scaled(torch.tensor(1.0)) == optimizer.scaled(torch.tensor(1.0))
    # What counts the steps until it is raised again, too.
    assert all(bool((values == other.state()[name]).all()) for name, values in optimizer.state().items())


def test_without_float16_nothing_is_scaled() -> None:
    optimizer = AdapterOptimizer([torch.nn.Parameter(torch.ones(2))], TrainingConfig())
    assert optimizer.scaled(torch.tensor(2.0)).item() == 2.0
    assert not optimizer.may_go_on
