"""A base model that is not whole, not a model, or not for this machine is told by what is the matter with it."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import transformers
from tests.core import answer_scenario, model_scenario
from tests.core.model_scenario import save_tiny_model

from ftzard.config import LoraConfig, ModelConfig
from ftzard.core.answer_inference import predict_answers
from ftzard.core.answer_training import train_answers
from ftzard.core.base_model import describe_base_model, load_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.inference import predict
from ftzard.core.label_head import LabelHead
from ftzard.core.tiny_model import build_tiny_tokenizer
from ftzard.core.training import train_adapter
from ftzard.errors import ModelNotFoundError

_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"


def _folder(path: Path) -> ModelConfig:
    return ModelConfig(base_model=str(path), dtype="float32")


def _change(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])


def _without_output_layer(folder: Path) -> None:
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    _change(folder, architectures=["LlamaForCausalLM"], tie_word_embeddings=False)


def _with_an_adapter_beside_it(folder: Path) -> None:
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut, r"damaged or were not copied whole.*git lfs pull"),
        (lambda folder: (folder / "model.safetensors").write_text(_POINTER), r"damaged or were not copied whole"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda folder: _change(folder, num_hidden_layers=3), r"no weights for 9 of its parameter\(s\).*layers\.2\."),
        (lambda folder: _change(folder, intermediate_size=40), r"other shapes than its config\.json says"),
        (
            _without_output_layer,
            r"no weights for 1 of its parameter\(s\), such as lm_head\.weight.*AutoModelForCausalLM",
        ),
        (
            lambda folder: _change(folder, quantization_config={"quant_method": "gptq", "bits": 4}),
            r"GPTQ.*quantizes it",
        ),
        (_with_an_adapter_beside_it, r"holds an adapter of PEFT.*merge_and_unload"),
    ],
)
def test_what_is_the_matter_is_said_and_what_to_do(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    folder = save_tiny_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelNotFoundError, match=f"(?s){said}"):
        load_base_model(_folder(folder), "cpu")


def test_a_folder_with_an_adapter_alone_is_no_base_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match="name the base model that the adapter is for"):
        describe_base_model(_folder(tmp_path))


def test_weights_that_have_no_place_in_the_model_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    _change(folder, num_hidden_layers=1)
    with caplog.at_level(logging.WARNING):
        load_base_model(_folder(folder), "cpu")
    assert "9 tensor(s) of the base model's files have no place in it, such as model.layers.1." in caplog.text


def test_a_tokenizer_with_more_tokens_than_the_model_has_is_told_where_a_text_holds_one(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<mark{number}>" for number in range(1000)])
    tokenizer.save_pretrained(folder)
    model = {"base_model": str(folder)}

    said = r"(?s)token '<mark999>' of number \d+, and the model has embeddings for \d+.*resize_token_embeddings"
    marked = pl.col("text") + pl.lit(" <mark999>")
    # Its texts hold none of them.
    well, some = model_scenario.train(tmp_path / "well", model, num_train_epochs=1), model_scenario.splits()
    writes, few = answer_scenario.config(model=model), answer_scenario.few()
    answers_well = train_answers(few, writes, tmp_path / "answers-well")

    for part in ("train", "validation"):
        marks = replace(some, **{part: getattr(some, part).with_columns(text=marked)})
        with pytest.raises(ModelNotFoundError, match=said):
            train_adapter(marks, model_scenario.config(model), model_scenario.LABELS, tmp_path / "labels")
    # Of what is written with an adapter the test split is looked at too: it would be asked when all is trained.
    for part in ("train", "test"):
        marks = replace(few, **{part: getattr(few, part).with_columns(text=marked)})
        with pytest.raises(ModelNotFoundError, match=said):
            train_answers(marks, writes, tmp_path / "answers")
    with pytest.raises(ModelNotFoundError, match=said):
        predict(well.adapter, some.test.with_columns(text=marked), model_scenario.config(model))
    with pytest.raises(ModelNotFoundError, match=said):
        predict_answers(answers_well.adapter, few.test.with_columns(text=marked), writes)


def test_of_a_model_that_also_sees_pictures_the_part_that_reads_and_writes_is_trained(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText
    from transformers.models.qwen3_5 import Qwen3_5Config, Qwen3_5TextConfig, Qwen3_5VisionConfig

    tokenizer = build_tiny_tokenizer()
    text = Qwen3_5TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    vision = Qwen3_5VisionConfig(hidden_size=16, intermediate_size=16, depth=1, num_heads=2, out_hidden_size=32)
    shape = Qwen3_5Config(text_config=text, vision_config=vision)
    AutoModelForImageTextToText.from_config(shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Qwen3_5ForConditionalGeneration"]
    base = load_base_model(_folder(tmp_path), "cpu")
    with lora_classifier(base, LabelHead(torch.ones(2, 32), "random", None), LoraConfig(r=2)) as classifier:
        assert classifier.adapter_weights()
        assert not [name for name, _ in classifier.peft_model.named_parameters() if "visual" in name]
