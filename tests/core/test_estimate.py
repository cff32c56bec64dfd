"""What a training will take is counted from shapes alone, near what it then takes, and refused where it cannot fit."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.core.model_scenario import LABELS, config, save_tiny_model, splits, train

from ftzard.config import LauncherConfig, LoraConfig
from ftzard.core import base_model, base_source, device_memory, estimate
from ftzard.core.base_model import describe_base_model, forget_base_model, load_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.device_memory import PeakMemory, free_bytes
from ftzard.core.estimate import Estimate, learned_efficiency
from ftzard.core.estimate_report import estimate_lines, to_document
from ftzard.core.label_head import LabelHead
from ftzard.core.outline import Outline, outline
from ftzard.core.prompts import PromptTemplate
from ftzard.core.training_time import Pace
from ftzard.core.training_work import Work, work_of
from ftzard.errors import ConfigError, DoesNotFitError, FtzardError


def _outline(num_rows: int = 3, length: int = 20, **settings: Any) -> Outline:
    made = config(**settings)
    source, model_config, _ = describe_base_model(made.model)
    sequences = [np.arange(row, row + length, dtype=np.int32) for row in range(num_rows)]
    return outline(source, model_config, made, ("cpu", torch.float32), num_labels=2, sequences=sequences)


def _estimate(**settings: Any) -> Estimate:
    return estimate.estimate(config(**settings), splits(), LABELS)


def _template_and_tokenizer() -> tuple[PromptTemplate, Any]:
    model = config().model
    return PromptTemplate.from_parts(model.prompt_template, LABELS, model.max_length), describe_base_model(model)[2]


@pytest.mark.parametrize(
    "lora", [{}, {"r": 3}, {"target_modules": ["q_proj", "v_proj"]}, {"use_dora": True}, {"lora_dropout": 0.1}]
)
def test_the_numbers_counted_are_those_of_the_classifier_that_is_trained(lora: dict[str, Any]) -> None:
    counted = _outline(lora=lora)
    base = load_base_model(config().model, "cpu")
    head = LabelHead(torch.zeros(2, 64), "random", None)
    with lora_classifier(base, head, config(lora=lora).training.lora) as classifier:
        trained = sum(part.numel() for part in classifier.trainable_parameters())
    assert counted.num_trainable == trained
    assert counted.num_parameters == trained + sum(part.numel() for part in base.model.parameters())
    assert counted.weight_bytes == sum(part.nbytes for part in base.model.parameters())


@pytest.mark.parametrize("model", [{}, {"attn_implementation": "sdpa"}])
def test_the_activations_counted_are_those_that_the_real_forward_pass_keeps(model: dict[str, Any]) -> None:
    counted = _outline(model=model).activation_bytes
    base = load_base_model(config(model).model, "cpu")
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages.append(tensor.untyped_storage())
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    storages: list[Any] = []
    head = LabelHead(torch.zeros(2, 64), "random", None)
    with lora_classifier(base, head, config().training.lora) as classifier:
        weights = {part.data_ptr() for part in classifier.peft_model.parameters()}
        classifier.peft_model.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            classifier.logits([np.arange(row, row + 20, dtype=np.int32) for row in range(3)])
    real = sum(size for address, size in kept.items() if address not in weights)
    assert counted == pytest.approx(real, rel=0.02)


def test_more_tokens_at_once_take_more_and_quantized_weights_less() -> None:
    assert _outline(num_rows=6).activation_bytes > 1.8 * _outline(num_rows=3).activation_bytes
    made = config()
    source, model_config, _ = describe_base_model(made.model)
    quantized = dataclasses.replace(made, model=dataclasses.replace(made.model, quantization="nf4"))
    sequences = [np.arange(9, dtype=np.int32)]
    small = outline(source, model_config, quantized, ("cpu", torch.bfloat16), num_labels=2, sequences=sequences)
    large = outline(source, model_config, made, ("cpu", torch.bfloat16), num_labels=2, sequences=sequences)
    assert large.weight_bytes - small.weight_bytes == pytest.approx(large.num_computed * 1.484, rel=0.01)


def test_nothing_of_the_base_model_is_loaded_and_no_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    forget_base_model()

    def refuse(*_: object) -> None:
        pytest.fail("weights were read")

    monkeypatch.setattr(base_model, "_load", refuse)
    monkeypatch.setattr(base_source, "_sha256", refuse)
    found = _estimate(model={"base_model": str(folder)})
    assert found.outline.num_parameters > 90_000
    assert found.peak_bytes > 0


def test_an_estimate_without_texts_takes_the_longest_that_can_be() -> None:
    known = _estimate(max_tokens_per_batch=2048, train_batch_size=64)
    unknown = estimate.estimate(config(max_tokens_per_batch=2048, train_batch_size=64), None, LABELS)
    assert unknown.seconds is None
    assert known.seconds is not None
    assert unknown.outline.activation_bytes > known.outline.activation_bytes
    assert unknown.seconds_per_1000_examples > 0
    assert any("the texts are not known yet" in line for line in estimate_lines(unknown, config()))


def test_an_epoch_takes_less_where_the_lower_layers_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another rate each time would hide it; and it is operations whose share is known.
    monkeypatch.setattr(estimate, "gemm_flops", lambda *_: 1e-9)
    whole, top = _estimate(), _estimate(lora=LoraConfig(r=4, layers_to_transform=(1,)))
    for found in (whole, top):
        trained = found.outline.num_computed - found.outline.num_frozen
        share = (4 * trained + 2 * found.outline.num_frozen) / (4 * found.outline.num_computed)
        expected = whole.seconds_per_1000_examples * share
        assert found.seconds_per_1000_examples == pytest.approx(expected)
    assert top.outline.num_frozen > 0
    assert top.seconds_per_1000_examples < whole.seconds_per_1000_examples


def test_what_cannot_fit_is_refused_with_the_bytes_the_biggest_parts_and_what_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "free_bytes", lambda _: 2**20)
    found = _estimate()
    assert not found.fits
    with pytest.raises(
        DoesNotFitError, match=r"needs about [\d,]+ bytes (?s:.*)1,048,576 \(1 MiB\) are free"
    ) as caught:
        found.check(config())
    assert "activations" in caught.value.what
    assert "training.max_tokens_per_batch=" in caught.value.fix
    assert any("It does not fit" in line for line in estimate_lines(found, config()))
    assert to_document(found)["fits"] is False


def test_the_budget_that_is_advised_would_fit() -> None:
    whole = _estimate(max_tokens_per_batch=1024)
    activations = whole.parts["activations"] + whole.parts["temporaries"]
    free = sum(whole.parts.values()) - round(0.7 * activations)
    found = dataclasses.replace(whole, free_bytes=free, loading_bytes=0)
    with pytest.raises(DoesNotFitError) as caught:
        found.check(config(max_tokens_per_batch=1024))
    assert "training.max_tokens_per_batch=256," in caught.value.fix


def test_each_process_of_a_launcher_takes_its_own_memory_and_computes_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = dataclasses.replace(config(), launcher=LauncherConfig(kind="local"))
    two = dataclasses.replace(config(), launcher=LauncherConfig(kind="torchrun", num_processes=2))
    alone = estimate.estimate(one, splits(), LABELS)
    # Between what one and what two of them take.
    monkeypatch.setattr(estimate, "free_bytes", lambda _: round(1.5 * alone.peak_bytes))
    assert estimate.estimate(one, splits(), LABELS).fits
    found = estimate.estimate(two, splits(), LABELS)
    assert found.outline.activation_bytes < alone.outline.activation_bytes
    with pytest.raises(DoesNotFitError, match="each of 2 processes of the training needs"):
        found.check(two)
    assert "For each of 2 processes." in estimate_lines(found, two)


def test_what_fits_is_not_refused() -> None:
    found = _estimate()
    found.check(config())
    document = to_document(found)
    assert document["fits"] is True
    assert document["peak_bytes"] == max(document["loading_bytes"], sum(document["bytes"].values()))


def test_an_earlier_training_of_the_same_model_on_the_same_device_says_how_much_of_the_rate_is_used() -> None:
    params = {"model.base_model": "random:tiny-llama", "model.quantization": "none", "device": "cpu"}
    metrics = {"efficiency": 0.2}
    assert learned_efficiency(metrics, {**params, "dtype": "float32"}, config()) == 0.2
    assert learned_efficiency(metrics, {**params, "dtype": "bfloat16"}, config()) is None
    assert learned_efficiency({}, {}, config()) is None
    found = estimate.estimate(config(), splits(), LABELS, 0.2)
    assert found.efficiency == 0.2
    # If the training takes as long as was said, the share that it made use of is the one that was taken.
    assert found.seconds is not None
    errors = found.errors(found.peak_bytes * 2, found.seconds)
    assert errors["estimate_time_error"] == pytest.approx(0)
    assert errors["estimate_memory_error"] == pytest.approx(-0.5)
    assert errors["efficiency"] == pytest.approx(0.2)


def test_fewer_tokens_at_once_take_the_same_operations_and_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "gemm_flops", lambda *_: 1e9)
    steps = {"train_batch_size": 8, "num_train_epochs": 2}
    few, many = _estimate(max_tokens_per_batch=32, **steps), _estimate(max_tokens_per_batch=4096, **steps)
    assert few.flop == many.flop
    assert few.seconds is not None
    assert many.seconds is not None
    assert few.seconds > many.seconds
    assert few.seconds_per_1000_examples > many.seconds_per_1000_examples


def test_the_time_is_that_of_operations_and_of_what_each_token_and_each_batch_takes_besides() -> None:
    pace = Pace(flop_per_s=10.0, token_s=0.5, batch_s=3.0)
    work = Work([np.arange(4, dtype=np.int32)], longest=4, mean_tokens=2.0, batches_per_example=0.25)
    assert pace.seconds_per_example(work, flop_per_token=20.0) == pytest.approx(2 * (2 + 0.5) + 0.75)
    known = dataclasses.replace(
        work, num_train_tokens=100, num_validation_tokens=40, num_train_batches=12, num_validation_batches=4
    )
    assert pace.seconds(known, flop=1000.0) == pytest.approx(100 + 0.5 * (100 + 20) + 3 * (12 + 2))


def test_the_work_is_counted_in_the_batches_that_there_will_be() -> None:
    made = config(max_tokens_per_batch=4096, train_batch_size=8, num_train_epochs=2, num_validations_per_epoch=3)
    found = work_of(splits(), made, *_template_and_tokenizer())
    # With so large a budget each step is one batch, and so is a validation.
    assert found.num_train_batches == pytest.approx(2 * -(-splits().train.height // 8))
    assert found.num_validation_batches == pytest.approx(2 * 3)
    two = dataclasses.replace(made, launcher=LauncherConfig(kind="torchrun", num_processes=2))
    assert work_of(splits(), two, *_template_and_tokenizer()).num_train_batches == found.num_train_batches


def test_each_validation_of_an_epoch_takes_its_time() -> None:
    once, often = _estimate(), _estimate(num_validations_per_epoch=3)
    tokens = 2 * once.outline.num_computed
    lengths = work_of(splits(), config(), *_template_and_tokenizer()).num_validation_tokens
    assert lengths
    assert often.flop - once.flop == pytest.approx(2 * tokens * lengths)


def test_a_target_module_that_does_not_exist_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="no linear layer named"):
        _estimate(lora={"target_modules": ["nowhere"]})


def test_a_base_model_that_is_not_there_is_the_same_error_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FtzardError, match="cannot be loaded"):
        _estimate(model={"base_model": str(tmp_path)})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread watches")
def test_the_peak_of_a_block_is_what_it_took_at_once_beyond_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # However short the peak is, and whatever was higher before.
    monkeypatch.setattr(device_memory, "_INTERVAL_S", 3600.0)
    higher = torch.ones(64 * 2**20)
    del higher
    before = torch.ones(8 * 2**20)
    with PeakMemory("cpu") as peak:
        # 64 MiB, and again, but never both.
        for _ in range(2):
            held = torch.ones(16 * 2**20)
            assert float(held[-1]) == 1.0
            del held
    assert 0.9 * 2**26 < peak.num_bytes < 1.6 * 2**26
    assert free_bytes("cpu") > 0
    del before


def test_the_peak_of_a_block_is_watched_where_the_system_does_not_forget_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory, "_CLEAR_REFS", tmp_path / "no such folder" / "clear_refs")
    with PeakMemory("cpu") as peak:
        held = torch.ones(16 * 2**20)
        # The thread that watches gets its turn, however busy the machine is.
        deadline = time.monotonic() + 60
        while peak._highest - peak._before < 0.9 * 2**26 and time.monotonic() < deadline:
            time.sleep(0.01)
        del held
    assert 0.9 * 2**26 < peak.num_bytes < 1.6 * 2**26


def test_a_training_tells_its_budget(tmp_path: Path) -> None:
    assert train(tmp_path / "adapter", num_train_epochs=1).budget.max_tokens == 2048


def test_frozen_layers_take_less_time_and_the_memory_of_what_is_kept() -> None:
    top: dict[str, Any] = {"lora": LoraConfig(layers_to_transform=(1,)), "num_train_epochs": 4}
    every = estimate.estimate(config(num_train_epochs=4), splits(), LABELS)
    kept = estimate.estimate(config(**top), splits(), LABELS)
    each_time = estimate.estimate(config(**top, keep_frozen_layers=False), splits(), LABELS)
    assert kept.flop < each_time.flop < every.flop
    assert kept.outline.num_frozen == pytest.approx(kept.outline.num_computed / 2)
    assert kept.parts["frozen layers' states"] > 0
    assert "frozen layers' states" not in {*each_time.parts, *every.parts}
