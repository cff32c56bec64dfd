"""A base model's weights are safetensors of its own, whatever it says of its files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file
from tests.core.model_scenario import save_tiny_model

from ftzard.config import ModelConfig
from ftzard.core.base_model import load_base_model
from ftzard.core.base_source import find_base_model
from ftzard.errors import ModelNotFoundError

_REVISION = "a" * 40


def _folder(path: Path) -> ModelConfig:
    return ModelConfig(base_model=str(path), dtype="float32")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model, as the hub's cache holds the model `org/name`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    # For files that it does not have the hub would be asked, again and again where there is no network.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return save_tiny_model(tmp_path / "hub" / "models--org--name" / "snapshots" / _REVISION)


_ON_THE_HUB = ModelConfig(base_model="org/name", revision=_REVISION, dtype="float32")


def _is_never_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        pytest.fail("a pickle was read")

    monkeypatch.setattr(torch, "load", load)


def _move_weights(folder: Path, name: str) -> None:
    """Put the weights into another file, and an index in their place that names it."""
    weights = load_file(folder / "model.safetensors")
    (folder / name).parent.mkdir(exist_ok=True)
    if name.endswith(".bin"):
        torch.save(weights, folder / name)
        (folder / "model.safetensors").unlink()
    else:
        (folder / "model.safetensors").rename(folder / name)
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../other.safetensors", "below/model.safetensors"])
def test_an_index_leads_to_no_pickle_and_out_of_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    _move_weights(folder, name)
    _is_never_unpickled(monkeypatch)
    with pytest.raises(ModelNotFoundError, match=f"its weights are in '{name}', and only safetensors beside"):
        load_base_model(_folder(folder), "cpu")


@pytest.mark.parametrize("name", ["adapter_model.bin", "below/model.safetensors", "below/model.safetensors.index.json"])
def test_the_configuration_names_no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = save_tiny_model(tmp_path / "model")
    _move_weights(folder, name)
    own = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**own, "transformers_weights": name}))
    _is_never_unpickled(monkeypatch)
    with pytest.raises(ModelNotFoundError, match=f"its weights are in '{name}', and only safetensors beside"):
        load_base_model(_folder(folder), "cpu")


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    whole, parts = (save_tiny_model(tmp_path / name) for name in ("whole", "parts"))
    (parts / "model.safetensors").unlink()
    transformers.AutoModelForCausalLM.from_pretrained(whole).save_pretrained(parts, max_shard_size="20KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    expected, found = (load_base_model(_folder(folder), "cpu").model.state_dict() for folder in (whole, parts))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_of_the_hub_is_held_to_the_same(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_base_model(_ON_THE_HUB, "cpu").identity.revision == _REVISION
    _move_weights(repository, "pytorch_model.bin")
    _is_never_unpickled(monkeypatch)
    with pytest.raises(ModelNotFoundError, match=r"its weights are in 'pytorch_model\.bin'"):
        load_base_model(_ON_THE_HUB, "cpu")


def test_an_adapter_beside_a_model_of_the_hub_leads_to_no_other_model(repository: Path, tmp_path: Path) -> None:
    elsewhere = save_tiny_model(tmp_path / "elsewhere")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(elsewhere)}
    (repository / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(ModelNotFoundError, match="the repository holds an adapter of PEFT"):
        load_base_model(_ON_THE_HUB, "cpu")


def test_an_adapter_beside_a_gguf_file_is_not_put_on_it(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not looked at")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match="the folder holds an adapter of PEFT"):
        find_base_model(_folder(tmp_path / "model.gguf"))
