"""The adapter directory: anybody can load it, nothing of the machine is in it, and a changed byte is noticed."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.core.model_scenario import LABELS, config, save_tiny_model, splits, train

from ftzard.core.adapter import check_compatible, verify_adapter, write_adapter
from ftzard.core.adapter_documents import read_labels, read_lora_config, read_manifest
from ftzard.core.base_source import BaseModelIdentity
from ftzard.core.inference import predict
from ftzard.core.predictions import probability_matrix
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.core.records import AdapterDirectory
from ftzard.core.training import train_adapter
from ftzard.errors import AdapterCorruptError, AdapterMismatchError, StorageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AdapterDirectory:
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    return train_adapter(splits(), config(), LABELS, folder, provenance={"data_commit": "abc123"}).adapter


@pytest.fixture
def copy(trained: AdapterDirectory, tmp_path: Path) -> Path:
    return shutil.copytree(trained.path, tmp_path / "copy")


def test_an_adapter_that_was_just_written_is_verified_with_the_same_checksum(trained: AdapterDirectory) -> None:
    assert verify_adapter(trained.path) == trained


def test_the_manifest_says_what_made_the_adapter(trained: AdapterDirectory) -> None:
    manifest = read_manifest(trained.path)
    assert manifest.base_model == BaseModelIdentity("random:tiny-llama", None, None)
    assert manifest.provenance == {"data_commit": "abc123"}
    assert manifest.config["training"]["learning_rate"] == 5e-3
    assert manifest.seeds == {"data": 0, "training": 0}
    assert {"python", "torch", "peft", "transformers"} <= manifest.versions.keys()
    # A tracking address may hold a password.
    assert "tracking" not in manifest.config


def test_the_labels_file_says_what_the_outputs_mean(trained: AdapterDirectory) -> None:
    labels = read_labels(trained.path)
    assert labels.labels == LABELS
    assert labels.prompt_template == config().model.prompt_template
    assert labels.head == "label_words"


def test_no_folder_of_the_machine_is_in_any_file(trained: AdapterDirectory) -> None:
    for file in trained.path.iterdir():
        content = file.read_bytes()
        assert str(trained.path.parent).encode() not in content
        assert str(Path.home()).encode() + b"/" not in content


def test_the_adapter_loads_in_plain_transformers_and_peft_with_the_same_predictions(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = str(save_tiny_model(tmp_path / "base"))
    adapter = train(tmp_path / "adapter", model={"base_model": folder}, num_train_epochs=1).adapter
    ours = probability_matrix(predict(adapter, splits().test, config({"base_model": folder})))

    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter.path)
    template = PromptTemplate.from_parts(config().model.prompt_template, LABELS, 96)
    rows = encode_prompts(splits().test["text"].to_list(), template, tokenizer).input_ids
    with torch.inference_mode():
        plain = [model(torch.from_numpy(row.astype(np.int64))[None]).logits.softmax(-1)[0].tolist() for row in rows]
    np.testing.assert_allclose(ours, plain, atol=1e-5)
    peft_config = json.loads((adapter.path / "adapter_config.json").read_text())
    assert peft_config["base_model_name_or_path"] == folder


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "labels.json", "tokenizer.json"])
def test_a_changed_or_missing_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-2] + b"~" + content[-1:])
    with pytest.raises(AdapterCorruptError, match=f"{name}.*checksum"):
        verify_adapter(copy)
    (copy / name).unlink()
    with pytest.raises(AdapterCorruptError, match=f"{name}.*missing"):
        verify_adapter(copy)


def test_a_file_that_is_not_in_the_manifest_is_named(copy: Path) -> None:
    (copy / "extra.json").write_text("{}")
    with pytest.raises(AdapterCorruptError, match=r"extra\.json.*not in the manifest"):
        verify_adapter(copy)


@pytest.mark.parametrize("name", ["weights.bin", "optimizer.pt", "model.PKL", "modeling.py"])
def test_a_file_that_can_carry_code_is_refused_even_if_the_manifest_lists_it(copy: Path, name: str) -> None:
    import hashlib

    (copy / name).write_bytes(b"")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(b"").hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AdapterCorruptError, match=name):
        verify_adapter(copy)


def test_a_link_in_the_place_of_a_file_is_refused(copy: Path, trained: AdapterDirectory) -> None:
    (copy / "labels.json").unlink()
    (copy / "labels.json").symlink_to(trained.path / "labels.json")
    with pytest.raises(AdapterCorruptError, match=r"labels\.json.*regular"):
        verify_adapter(copy)


@pytest.mark.parametrize("content", [None, "not JSON", "{}", '{"format_version": 99}'])
def test_a_manifest_that_is_missing_or_unreadable_is_named(copy: Path, content: str | None) -> None:
    (copy / "manifest.json").unlink()
    if content is not None:
        (copy / "manifest.json").write_text(content)
    with pytest.raises(AdapterCorruptError, match=r"manifest\.json"):
        verify_adapter(copy)


def test_a_folder_that_does_not_exist_is_not_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterCorruptError, match="nowhere"):
        verify_adapter(tmp_path / "nowhere")


def test_only_what_ftzard_sets_is_read_from_pefts_configuration(copy: Path) -> None:
    file = copy / "adapter_config.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"megatron_config": {}, "megatron_core": "os", "r": 4}))
    lora = read_lora_config(copy)
    assert lora.r == 4
    assert not hasattr(lora, "megatron_core")
    file.write_text(json.dumps(fields | {"r": -1}))
    with pytest.raises(AdapterCorruptError, match=r"adapter_config\.json"):
        read_lora_config(copy)


def test_another_base_model_or_other_labels_do_not_fit_and_both_sides_are_named(trained: AdapterDirectory) -> None:
    manifest = read_manifest(trained.path)
    check_compatible(manifest, manifest.base_model, LABELS, ())
    other = dataclasses.replace(manifest.base_model, name="org/other", revision="1" * 40)
    with pytest.raises(AdapterMismatchError, match=r"random:tiny-llama.*org/other"):
        check_compatible(manifest, other, LABELS, LABELS)
    with pytest.raises(AdapterMismatchError, match=r"'negative', 'positive'.*'positive', 'negative'"):
        check_compatible(manifest, manifest.base_model, LABELS, LABELS[::-1])


def test_nothing_is_written_over(trained: AdapterDirectory) -> None:
    before = {file.name: file.read_bytes() for file in trained.path.iterdir()}
    with pytest.raises(StorageError, match="not empty"):
        train(trained.path, num_train_epochs=1)
    assert {file.name: file.read_bytes() for file in trained.path.iterdir()} == before


def test_a_place_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path: Path, trained: AdapterDirectory) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        write_adapter(
            tmp_path / "file" / "adapter",
            weights={},
            peft_config={},
            tokenizer=None,
            labels=read_labels(trained.path),
            describe={},
        )
