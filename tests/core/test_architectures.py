"""Causal language models of each common shape: trained, written, loaded by PEFT, and padded without a mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.core.model_scenario import LABELS, config, splits

from ftzard.core.base_model import borrowed_base_model, forget_base_model
from ftzard.core.classifier import Classifier
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.core.records import Splits
from ftzard.core.tiny_model import build_tiny_tokenizer
from ftzard.core.training import fitted_classifier, train_adapter

# No pad token, and a random spread that lets two layers tell texts apart.
_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {"num_key_value_heads": 2}
# A window shorter than the texts, so that it matters.
_WINDOW = {**_GROUPED, "head_dim": 8, "sliding_window": 8}
_ARCHITECTURES: dict[str, tuple[str, dict[str, Any], int]] = {
    # Class, what differs from the usual shape, linear layers in a block.
    "Llama": ("Llama", _GROUPED, 7),
    "Qwen2": ("Qwen2", _GROUPED, 7),
    "Qwen3": ("Qwen3", {**_GROUPED, "head_dim": 8}, 7),
    "Gemma": ("Gemma", {**_GROUPED, "head_dim": 8}, 7),
    "Gemma2 with window and soft cap": ("Gemma2", _WINDOW, 7),
    "Gemma3 with window": ("Gemma3", _WINDOW, 7),
    "Mistral with window": ("Mistral", _WINDOW, 7),
    "Falcon": ("Falcon", {}, 4),
    "Falcon with ALiBi": ("Falcon", {"alibi": True}, 4),
    "GPT-NeoX": ("GPTNeoX", {}, 4),
    "OPT": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}, 6),
    "Phi": ("Phi", {}, 6),
    "Phi3": ("Phi3", _GROUPED, 4),
}


def _save(folder: Path, name: str, differs: dict[str, Any]) -> None:
    tokenizer = build_tiny_tokenizer()
    config_class = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    shape = config_class(**{**_SHAPE, "vocab_size": len(tokenizer), **differs})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, f"{name}ForCausalLM")(shape).save_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)


def _logits(classifier: Classifier, rows: list[Any]) -> np.ndarray:
    with torch.inference_mode():
        return classifier.logits(rows).numpy()


@pytest.mark.parametrize(("name", "differs", "num_linear"), _ARCHITECTURES.values(), ids=_ARCHITECTURES)
def test_an_architecture_trains_and_a_row_in_company_has_the_logits_that_peft_gives_it_alone(
    tmp_path: Path, name: str, differs: dict[str, Any], num_linear: int
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path / "model"
    _save(folder, name, differs)
    settings = config({"base_model": str(folder)}, num_train_epochs=1, lora={"r": 4, "lora_alpha": 8})
    few = Splits(splits().train.head(32), splits().validation.head(4), splits().test.head(5))
    trained = train_adapter(few, settings, LABELS, tmp_path / "adapter")
    assert trained.head == "label_words"
    with borrowed_base_model(settings.model, "cpu") as base:
        assert base.tokenizer.pad_token is None
        template = PromptTemplate.from_parts(settings.model.prompt_template, LABELS, settings.model.max_length)
        rows = encode_prompts(few.test["text"].to_list(), template, base.tokenizer).input_ids
        with fitted_classifier(base, few, settings, LABELS) as fit:
            together = _logits(fit.classifier, rows)
            alone = np.concatenate([_logits(fit.classifier, [row]) for row in rows])
            adapted = [key for key in fit.classifier.adapter_weights() if "lora_B" in key]
            moved = [key for key in adapted if bool(fit.classifier.adapter_weights()[key].any())]
    # A window longer than the texts would not be seen.
    assert _WINDOW["sliding_window"] < min(map(len, rows)) < max(map(len, rows))
    assert len(adapted) == len(moved) == 2 * num_linear
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    forget_base_model()
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS), dtype="float32")
    model = PeftModel.from_pretrained(plain, str(trained.adapter.path)).eval()
    with torch.inference_mode():
        expected = torch.cat([model(torch.from_numpy(row[None].astype(int))).logits for row in rows])
    np.testing.assert_allclose(together, expected.numpy(), rtol=1e-3, atol=1e-4)
