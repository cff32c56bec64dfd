"""Mixtures of experts: the experts lie in tensors that are no layers, and PEFT gives them an adapter all the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.core import answer_scenario
from tests.core.model_scenario import LABELS, config, splits

from ftzard.config import FtzardConfig, LoraConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_lora_config
from ftzard.core.answer_inference import predict_answers
from ftzard.core.answer_training import train_answers
from ftzard.core.base_model import forget_base_model, load_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.inference import predict
from ftzard.core.label_head import LabelHead
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.tiny_model import build_tiny_tokenizer
from ftzard.core.training import train_adapter
from ftzard.errors import AdapterMismatchError, ConfigError

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_MIXTURES: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 16},
}
_LORA = LoraConfig(r=4, lora_alpha=8)


@pytest.fixture(scope="module", params=_MIXTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of random weights, as a folder."""
    folder = tmp_path_factory.mktemp("mixture")
    tokenizer = build_tiny_tokenizer()
    make_shape = getattr(transformers, f"{request.param}Config")
    shape = make_shape(**_SHAPE, **_MIXTURES[request.param], vocab_size=len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, f"{request.param}ForCausalLM")(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _fresh_base(one_thread: None) -> Iterator[None]:
    del one_thread
    forget_base_model()
    yield
    forget_base_model()


def _few() -> Splits:
    return Splits(splits().train.head(32), splits().validation.head(4), splits().test.head(5))


def _classifying(folder: Path, **training: Any) -> FtzardConfig:
    return config({"base_model": str(folder)}, num_train_epochs=1, **{"lora": _LORA, **training})


def _answering(folder: Path) -> FtzardConfig:
    return answer_scenario.config(model={"base_model": str(folder)}, num_train_epochs=1, lora=_LORA)


def _moved_experts(adapter: AdapterDirectory) -> list[str]:
    """What the training made of the experts' second matrices, which begin with zeros."""
    weights = load_file(adapter.path / WEIGHTS_NAME)
    return [name for name, tensor in weights.items() if ".experts." in name and "lora_B" in name and bool(tensor.any())]


def test_a_classifier_trains_the_experts_and_predicts_what_peft_alone_does(folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    settings, few = _classifying(folder), _few()
    trained = train_adapter(few, settings, LABELS, tmp_path / "adapter").adapter
    assert len(_moved_experts(trained)) == 4
    forget_base_model()
    ours = predict(trained, few.test, settings)["logits"].struct.unnest().to_numpy()
    forget_base_model()
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS), dtype="float32")
    model = PeftModel.from_pretrained(plain, str(trained.path)).eval()
    base = load_base_model(settings.model, "cpu")
    template = PromptTemplate.from_parts(settings.model.prompt_template, LABELS, settings.model.max_length)
    rows = encode_prompts(few.test["text"].to_list(), template, base.tokenizer).input_ids
    with torch.inference_mode():
        expected = torch.cat([model(torch.from_numpy(row[None].astype(int))).logits for row in rows])
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_answers_are_trained_predicted_and_trained_on(folder: Path, tmp_path: Path) -> None:
    settings, few = _answering(folder), answer_scenario.few()
    first = train_answers(few, settings, tmp_path / "first").adapter
    assert len(_moved_experts(first)) == 4
    forget_base_model()
    assert predict_answers(first, few.test, settings).height == few.test.height
    second = train_answers(few, settings, tmp_path / "second", initial=first).adapter
    assert read_lora_config(second.path) == read_lora_config(first.path)
    assert second.checksum != first.checksum


def test_training_goes_on_from_an_adapter_of_experts_and_not_with_another_rank(folder: Path, tmp_path: Path) -> None:
    few = _few()
    first = train_adapter(few, _classifying(folder), LABELS, tmp_path / "first").adapter
    assert train_adapter(few, _classifying(folder), LABELS, tmp_path / "second", initial=first).adapter
    other = _classifying(folder, lora=LoraConfig(r=4, lora_alpha=8, rank_pattern={"q_proj": 2}))
    with pytest.raises(AdapterMismatchError, match="rank_pattern"):
        train_adapter(few, other, LABELS, tmp_path / "third", initial=first)


def test_afterwards_the_base_is_as_it_was(folder: Path) -> None:
    base = load_base_model(_classifying(folder).model, "cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    with lora_classifier(base, LabelHead(torch.ones(2, 32), "random", None), _LORA) as classifier:
        assert any(".experts." in name for name in classifier.adapter_weights())
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"target_parameters": ("gate_up", "experts.down_proj")}, r"target_parameters names \['gate_up'\].*down_proj"),
        ({"lora_dropout": 0.1}, "PEFT puts no adapter.*lora_dropout"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights=pissa starts from.*is none"),
    ],
)
def test_what_experts_cannot_have_is_an_error_that_names_it(folder: Path, lora: dict[str, Any], said: str) -> None:
    base = load_base_model(_classifying(folder).model, "cpu")
    with (
        pytest.raises(ConfigError, match=f"(?s){said}"),
        lora_classifier(base, LabelHead(torch.ones(2, 32), "random", None), LoraConfig(r=4, **lora)),
    ):
        pass


def test_experts_that_are_named_get_an_adapter_and_the_layers_that_are_not_named_get_none(folder: Path) -> None:
    base = load_base_model(_classifying(folder).model, "cpu")
    lora = LoraConfig(r=4, target_modules=("q_proj",), target_parameters=("experts.down_proj",))
    with lora_classifier(base, LabelHead(torch.ones(2, 32), "random", None), lora) as classifier:
        places = {
            name.split("layers.")[1][2:].split(".lora")[0] for name in classifier.adapter_weights() if "layers." in name
        }
    assert places == {"self_attn.q_proj", "mlp.experts"}
