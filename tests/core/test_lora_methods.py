"""Every kind of LoRA is written as an adapter that PEFT alone puts on the untouched base model, with equal logits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.core.model_scenario import LABELS, TINY_MODEL, config, save_tiny_model, splits, train

from ftzard.config import LoraConfig, ModelConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_lora_config
from ftzard.core.base_model import BaseModel, forget_base_model, load_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.inference import predict
from ftzard.core.label_head import make_label_head
from ftzard.core.language_model import lora_language_model
from ftzard.core.lora_methods import stored_lora
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.core.tiny_model import build_tiny_tokenizer
from ftzard.core.training import train_adapter
from ftzard.errors import AdapterMismatchError, ConfigError

_FROM_BASE = ["pissa", "pissa_niter_4", "olora"]
_METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa, few iterations": {"init_lora_weights": "pissa_niter_4", "lora_dropout": 0.1},
    "pissa, rslora": {"init_lora_weights": "pissa", "use_rslora": True},
    "pissa, dora": {"init_lora_weights": "pissa", "use_dora": True},
    "pissa, patterns": {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 16}},
    "olora": {"init_lora_weights": "olora"},
    "patterns": {"rank_pattern": {"layers.0.*q_proj": 2, "down_proj": 8}, "alpha_pattern": {"up_proj": 32}},
    "named modules": {"target_modules": ["q_proj", "layers.1.mlp.up_proj"]},
    "one layer": {"layers_to_transform": [1]},
    "whole modules": {"modules_to_save": ["model.norm", "embed_tokens"], "target_modules": ["v_proj"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(autouse=True)
def _fresh_base() -> Iterator[None]:
    """What is written must fit a base model that no training has touched."""
    forget_base_model()
    yield
    forget_base_model()


def _peft_logits(folder: Path, adapter: Path, texts: list[str], **how: Any) -> np.ndarray:
    """What anybody gets who loads the adapter with transformers and PEFT, and nothing of FTzard's."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS), dtype="float32", **how)
    model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    template = PromptTemplate.from_parts(TINY_MODEL["prompt_template"], LABELS, TINY_MODEL["max_length"])
    prompts = encode_prompts(texts, template, AutoTokenizer.from_pretrained(adapter))
    with torch.inference_mode():
        return torch.cat([model(torch.from_numpy(ids[None].astype(int))).logits for ids in prompts.input_ids]).numpy()


def _own_logits(trained: Any, settings: Any) -> np.ndarray:
    rows = predict(trained.adapter, splits().test.head(6), settings)["logits"].to_list()
    return np.array([[row[label] for label in LABELS] for row in rows])


@pytest.mark.parametrize("lora", _METHODS.values(), ids=_METHODS)
def test_an_adapter_loads_with_peft_on_the_untouched_base_with_equal_logits(
    folder: Path, tmp_path: Path, lora: dict[str, Any]
) -> None:
    settings = config({"base_model": str(folder)}, num_train_epochs=1, lora={"r": 4, "lora_alpha": 8, **lora})
    trained = train_adapter(splits(), settings, LABELS, tmp_path / "adapter")
    forget_base_model()
    expected = _peft_logits(folder, trained.adapter.path, splits().test["text"].head(6).to_list())
    np.testing.assert_allclose(_own_logits(trained, settings), expected, rtol=1e-3, atol=1e-4)
    assert trained.curve["loss"][-1] < trained.curve["loss"][0]


@pytest.mark.parametrize("init", [True, "pissa"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_on_a_quantized_base_it_is_the_same_each_time_and_loads_with_peft(
    folder: Path, tmp_path: Path, quantization: str, init: Any
) -> None:
    from transformers import BitsAndBytesConfig

    settings = config(
        {"base_model": str(folder), "quantization": quantization},
        num_train_epochs=1,
        lora={"r": 4, "lora_alpha": 8, "init_lora_weights": init},
    )
    trained, again = (train_adapter(splits(), settings, LABELS, tmp_path / name) for name in ("one", "again"))
    assert again.adapter.checksum == trained.adapter.checksum
    assert trained.curve["loss"][-1] < trained.curve["loss"][0]
    same = {"nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}}
    how = BitsAndBytesConfig(**same.get(quantization, {"load_in_8bit": True}), bnb_4bit_compute_dtype=torch.bfloat16)
    texts = splits().test["text"].head(6).to_list()
    expected = _peft_logits(folder, trained.adapter.path, texts, quantization_config=how)
    # Quantized layers compute in bfloat16 or float16.
    np.testing.assert_allclose(_own_logits(trained, settings), expected, rtol=5e-2, atol=2e-2)


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load_base_model(ModelConfig(**TINY_MODEL), "cpu")


def _lora_logits(base: BaseModel, lora: LoraConfig) -> torch.Tensor:
    head = make_label_head(base, LABELS, ["bad", "good"], "label_words")
    with lora_classifier(base, head, lora) as classifier, torch.inference_mode():
        return classifier.logits([np.array([5, 6, 7, 8], dtype=np.int32)])


@pytest.mark.parametrize("method", _FROM_BASE)
def test_a_start_from_the_base_is_the_base_and_its_largest_part_is_trained(base: BaseModel, method: Any) -> None:
    lora = LoraConfig(r=4, lora_alpha=8, init_lora_weights=method)
    torch.testing.assert_close(_lora_logits(base, lora), _lora_logits(base, LoraConfig()), rtol=1e-4, atol=1e-4)
    head = make_label_head(base, LABELS, ["bad", "good"], "label_words")
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    with lora_classifier(base, head, lora) as classifier:
        weights = classifier.adapter_weights()
        classifier.logits([np.array([5, 6, 7], dtype=np.int32)]).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves `backward` unannotated
        layer = classifier.decoder.layers[0].self_attn.q_proj
        gradients = layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad.T
        assert all(bool(gradient[:4].any()) and not bool(gradient[4:].any()) for gradient in gradients)
    a, b = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
    assert (a.shape[0], b.shape[1]) == (8, 8)
    torch.testing.assert_close(b @ a, torch.zeros_like(b @ a), rtol=0, atol=1e-5)
    if method == "pissa":
        weight = base.model.model.layers[0].self_attn.q_proj.weight
        u, s, vh = torch.linalg.svd(weight)
        torch.testing.assert_close(2.0 * b[:, :4] @ a[:4], u[:, :4] * s[:4] @ vh[:4], rtol=1e-3, atol=1e-4)


def test_half_of_an_adapter_that_started_from_the_base_stays_where_it_was(tmp_path: Path) -> None:
    lora = {"r": 4, "init_lora_weights": "pissa"}
    before = load_file(
        train(tmp_path / "one", num_train_epochs=1, learning_rate=1e-12, lora=lora).adapter.path / WEIGHTS_NAME
    )
    after = load_file(train(tmp_path / "two", num_train_epochs=1, lora=lora).adapter.path / WEIGHTS_NAME)
    for name in (name for name in before if "lora_A" in name):
        assert torch.equal(before[name][4:], after[name][4:])
        assert not torch.equal(before[name][:4], after[name][:4])


def test_whole_modules_that_were_trained_are_taken_off_the_base_again(base: BaseModel) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    head = make_label_head(base, LABELS, ["bad", "good"], "label_words")
    with lora_classifier(base, head, LoraConfig(modules_to_save=("norm", "embed_tokens"))) as classifier:
        assert any("embed_tokens" in name for name in classifier.adapter_weights())
        with torch.no_grad():
            for parameter in classifier.trainable_parameters():
                parameter.add_(1)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight


def test_ranks_alphas_and_layers_are_those_that_are_asked_for(base: BaseModel) -> None:
    lora = LoraConfig(r=4, rank_pattern={"q_proj": 2}, layers_to_transform=(1,))
    head = make_label_head(base, LABELS, ["bad", "good"], "label_words")
    with lora_classifier(base, head, lora) as classifier:
        ranks = {name: len(weight) for name, weight in classifier.adapter_weights().items() if "lora_A" in name}
    assert len(ranks) == 7
    assert all("layers.1." in name and rank == (2 if "q_proj" in name else 4) for name, rank in ranks.items())


@pytest.mark.parametrize(
    ("lora", "complaint"),
    [
        ({"r": 33}, r"training\.lora\.r is 33 .*k_proj, which maps 64 to 32"),
        ({"rank_pattern": {"v_proj": 40}}, r"is 40 .*v_proj"),
        ({"rank_pattern": {"query": 2}}, r"training\.lora\.rank_pattern names \['query'\](?s:.*)'q_proj'"),
        ({"alpha_pattern": {"q_(proj": 2}}, r"training\.lora\.alpha_pattern .*no regular expression"),
        ({"modules_to_save": ["wte"]}, r"training\.lora\.modules_to_save names \['wte'\](?s:.*)'embed_tokens'"),
        ({"layers_to_transform": [1, 2]}, r"the layer\(s\) \[2\], and the model has 2(?s:.*)from 0 to 1"),
    ],
)
def test_what_fits_no_layer_is_refused_by_its_key_and_nothing_is_written(
    tmp_path: Path, lora: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        train(tmp_path / "adapter", lora={"r": 4, **lora})
    assert not (tmp_path / "adapter").exists()


def test_weight_decay_would_move_what_is_frozen_and_is_refused() -> None:
    with pytest.raises(ValueError, match="weight_decay must be 0"):
        config(weight_decay=0.1, lora={"init_lora_weights": "pissa"})


def test_training_goes_on_from_an_adapter_that_started_from_the_base(tmp_path: Path) -> None:
    lora = {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa", "rank_pattern": {"q_proj": 2}}
    first = train(tmp_path / "first", lora=lora)
    settings = config(num_train_epochs=1, lora=lora)
    second = train_adapter(splits(), settings, LABELS, tmp_path / "second", initial=first.adapter)
    assert second.curve["loss"][0] < first.curve["loss"][0]
    stored = stored_lora(settings.training.lora)
    for trained in (first, second):
        written = read_lora_config(trained.adapter.path)
        assert (written.r, written.lora_alpha, written.rank_pattern) == (8, 16, {"q_proj": 4})
        assert (stored.r, stored.lora_alpha, dict(stored.rank_pattern)) == (8, 16, {"q_proj": 4})
    third = train_adapter(splits(), settings, LABELS, tmp_path / "third", initial=second.adapter)
    assert third.adapter.checksum != second.adapter.checksum
    with pytest.raises(AdapterMismatchError, match="r=8"):
        train_adapter(splits(), config(lora={"r": 4}), LABELS, tmp_path / "fourth", initial=first.adapter)


def test_a_layer_that_peft_takes_no_adapter_for_in_an_architecture_is_named(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = build_tiny_tokenizer()
    MambaForCausalLM(MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1)).save_pretrained(
        tmp_path
    )
    tokenizer.save_pretrained(tmp_path)
    base = load_base_model(ModelConfig(base_model=str(tmp_path), dtype="float32"), "cpu")
    said = r"(?s)MambaForCausalLM.*out_proj.*target_modules name other layers, of.*x_proj"
    with pytest.raises(ConfigError, match=said), lora_language_model(base, LoraConfig(r=4)):
        pass
