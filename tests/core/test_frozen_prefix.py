"""What the layers below the trained ones make of a text is computed once, and changes nothing but the time."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.model_scenario import LABELS, config, examples, splits, train
from tests.core.test_packed_attention import _FAMILIES, _SEQUENCES, _SMALL, _tokens
from transformers import AutoConfig, AutoModelForCausalLM

from ftzard.config import FtzardConfig, LoraConfig, TrainingConfig
from ftzard.core import frozen_prefix
from ftzard.core.base_model import BaseModel, load_base_model
from ftzard.core.base_source import BaseModelIdentity
from ftzard.core.classifier import Classifier, lora_classifier
from ftzard.core.frozen_prefix import num_frozen_layers, with_kept_prefix
from ftzard.core.label_head import LabelHead
from ftzard.core.precision import Precision
from ftzard.core.progress import Progress
from ftzard.core.records import Splits
from ftzard.core.training import TrainingResult, fitted_classifier, train_adapter

_TOP = LoraConfig(r=4, lora_alpha=8, layers_to_transform=(1,))


def _base_of(family: str) -> BaseModel:
    torch.manual_seed(0)
    shape = AutoConfig.for_model(family, **{**_SMALL, **_FAMILIES[family], "num_hidden_layers": 3})
    model = AutoModelForCausalLM.from_config(shape, attn_implementation="eager", dtype=torch.float32)
    model.eval().requires_grad_(requires_grad=False)
    return BaseModel(model, None, BaseModelIdentity("small", None, None), "cpu", Precision("none", "as made"))


def _head(base: BaseModel) -> LabelHead:
    generator = torch.Generator().manual_seed(1)
    return LabelHead(torch.randn(2, base.model.config.hidden_size, generator=generator), "random", None)


def _loss_and_gradients(classifier: Classifier, rows: list[list[int]]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    loss = classifier.logits(_tokens(rows)).square().sum()
    gradients = torch.autograd.grad(loss, classifier.trainable_parameters(), allow_unused=True)
    return loss.detach(), [gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("rows", _SEQUENCES.values(), ids=_SEQUENCES.keys())
def test_values_and_gradients_are_those_without_it(family: str, rows: list[list[int]]) -> None:
    base = _base_of(family)
    lora = LoraConfig(r=2, layers_to_transform=(2,))
    torch.manual_seed(2)
    with lora_classifier(base, _head(base), lora) as classifier:
        for name, part in classifier.peft_model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(part, std=0.02)
        assert num_frozen_layers(classifier.decoder) == 2
        expected, gradients = _loss_and_gradients(classifier, rows)
        faster = with_kept_prefix(base, classifier, _tokens(rows), TrainingConfig())
        assert faster.prefix is not None
        # Together with others than those that it was computed with.
        for some in (rows, rows[::-1]):
            loss, found = _loss_and_gradients(faster, some)
            torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
            for one, other in zip(found, gradients, strict=True):
                assert float((one - other).norm()) <= 1e-4 * float(other.norm())


def _train_top(folder: Path, checkpoints: Path | None = None, stop_at: int | None = None, **training: Any) -> Any:
    def on_progress(progress: Progress) -> None:
        if progress.done == stop_at:
            raise KeyboardInterrupt

    settings = config(lora=_TOP, **({"checkpoint_interval_s": 0.0} | training))
    return train_adapter(splits(), settings, LABELS, folder, on_progress=on_progress, checkpoint_dir=checkpoints)


def test_a_training_learns_the_same_with_and_without_it(tmp_path: Path) -> None:
    kept: TrainingResult = _train_top(tmp_path / "kept")
    each: TrainingResult = _train_top(tmp_path / "each", keep_frozen_layers=False)
    assert kept.curve["loss"].to_list() == pytest.approx(each.curve["loss"].to_list(), rel=1e-5)
    assert kept.validation["loss"].to_list() == pytest.approx(each.validation["loss"].to_list(), rel=1e-5)


def test_gone_on_with_after_an_interruption_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = _train_top(tmp_path / "whole")
    for step in (2, 8):
        with pytest.raises(KeyboardInterrupt):
            _train_top(tmp_path / "never", tmp_path / f"checkpoints-{step}", stop_at=step)
        again = _train_top(tmp_path / f"again-{step}", tmp_path / f"checkpoints-{step}")
        assert again.resumed_from == step
        assert again.adapter.checksum == whole.adapter.checksum


def _tokens_in_layers(base: BaseModel, settings: FtzardConfig, parts: Splits) -> Counter[int]:
    """Tokens that each layer computes in a training."""
    counts: Counter[int] = Counter()
    hooks = [
        layer.mlp.register_forward_hook(
            lambda _module, inputs, _output, number=number: counts.update({number: inputs[0].shape[1]})
        )
        for number, layer in enumerate(base.model.model.layers)
    ]
    with fitted_classifier(base, parts, settings, LABELS):
        pass
    for hook in hooks:
        hook.remove()
    return counts


def test_the_frozen_layers_are_computed_once_for_all_epochs_and_trials_with_the_same_texts() -> None:
    settings = config(lora=_TOP, num_train_epochs=3)
    base = load_base_model(settings.model, "cpu")
    first = _tokens_in_layers(base, settings, splits())
    # Three epochs and as many validations, of nearly the same texts.
    assert first[0] < first[1] / 2.5
    second = _tokens_in_layers(base, config(lora=_TOP, learning_rate=1e-3), splits())
    assert second[0] == 0
    assert second[1] > 0
    others = Splits(examples(96, 7), splits().validation, splits().test)
    assert _tokens_in_layers(base, settings, others)[0] > 0
    assert len(base.prefixes) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"lora": LoraConfig(r=4)},
        {"lora": LoraConfig(r=4, layers_to_transform=(1,), modules_to_save=("embed_tokens",))},
        {"lora": _TOP, "keep_frozen_layers": False},
    ],
    ids=["LoRA in every layer", "a trained embedding", "not wanted"],
)
def test_without_frozen_layers_that_are_wanted_nothing_is_kept(settings: dict[str, Any]) -> None:
    base = load_base_model(config().model, "cpu")
    with fitted_classifier(base, splits(), config(**settings), LABELS):
        pass
    assert not base.prefixes


def test_dropout_below_is_drawn_anew_each_time() -> None:
    base = _base_of("gpt_neox")
    with lora_classifier(base, _head(base), LoraConfig(r=2, layers_to_transform=(2,))) as classifier:
        assert num_frozen_layers(classifier.decoder) == 2
        classifier.decoder.layers[0].post_mlp_dropout.p = 0.1
        assert num_frozen_layers(classifier.decoder) == 0


def test_what_would_fill_the_memory_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frozen_prefix, "free_bytes", lambda _: 1000)
    with caplog.at_level("INFO"):
        train(tmp_path / "adapter", lora=_TOP)
    assert "the 1 frozen layers are computed each time" in caplog.text


def test_memory_that_runs_out_meanwhile_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(frozen_prefix, "_computed", full)
    train(tmp_path / "adapter", lora=_TOP)
    assert "memory ran out" in caplog.text
