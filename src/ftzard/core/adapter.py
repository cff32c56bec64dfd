"""The adapter directory: what training leaves behind, and what is checked before it is used.

    adapter_model.safetensors   LoRA matrices and head, by PEFT's names
    adapter_config.json         PEFT's configuration
    tokenizer files             as transformers saves them
    labels.json                 of a classifier: labels in the order of the outputs, their words, the prompt
    generation.json             of what writes answers, instead: how a prompt is put, how long an answer may be
    manifest.json               base model, configuration, seeds, versions, provenance, SHA-256 of each other file

The same training makes the same bytes: nothing in it tells the time or the machine's folders.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from ftzard.config import ModelConfig
from ftzard.core.adapter_documents import (
    ANSWERS_NAME,
    CONFIG_NAME,
    FIX_CORRUPT,
    FORMAT_VERSION,
    LABELS_NAME,
    MANIFEST_NAME,
    AdapterLabels,
    AdapterManifest,
    read_manifest,
    to_json,
)
from ftzard.core.base_source import BaseModelIdentity
from ftzard.core.batch_folder import is_cached_object
from ftzard.core.file_digests import sha256_of
from ftzard.core.records import AdapterDirectory
from ftzard.errors import AdapterCorruptError, AdapterMismatchError, StorageError

if TYPE_CHECKING:
    import torch

    from ftzard.config import FtzardConfig
    from ftzard.core.answer_format import AnswerFormat

WEIGHTS_NAME = "adapter_model.safetensors"

# Suffixes of files that can carry code; none of them is ever written here.
_REFUSED_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".py", ".so"})


def write_adapter(
    path: Path,
    *,
    weights: "Mapping[str, torch.Tensor]",
    peft_config: Mapping[str, Any],
    tokenizer: Any,
    labels: "AdapterLabels | AnswerFormat",
    describe: Mapping[str, Any],
) -> AdapterDirectory:
    """Write an adapter directory, the manifest last: without it the directory is not an adapter yet.

    Args:
        path: A folder that is empty or does not exist.
        weights: As `AdaptedModel.adapter_weights` gives them.
        peft_config: The fields of `peft.LoraConfig`, the base model's configured name and revision among them.
        tokenizer: The base model's.
        labels: What the outputs mean; or how answers are asked for and given.
        describe: The manifest's fields apart from `files`, as `manifest_fields` gives them.

    Raises:
        StorageError: The folder holds something already or cannot be written to.
    """
    from safetensors.torch import save_file

    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise StorageError(f"the adapter's folder {path} is not empty", fix="name a folder that does not exist")
        save_file(dict(weights), path / WEIGHTS_NAME, metadata={"format": "pt"})
        (path / CONFIG_NAME).write_text(to_json(peft_config), encoding="utf-8")
        meaning = LABELS_NAME if isinstance(labels, AdapterLabels) else ANSWERS_NAME
        (path / meaning).write_text(to_json(asdict(labels)), encoding="utf-8")
        _save_tokenizer(tokenizer, path)
        files = {file.name: sha256_of(file) for file in sorted(path.iterdir())}
        manifest = AdapterManifest(format_version=FORMAT_VERSION, **describe, files=files)
        (path / MANIFEST_NAME).write_text(to_json(asdict(manifest)), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the adapter cannot be written to {path}: {error}", fix="check the folder's permissions and free space"
        ) from error
    return AdapterDirectory(path, manifest.checksum)


def verify_adapter(path: Path) -> AdapterDirectory:
    """Check that a directory holds exactly the files of its manifest, byte for byte, and none that can carry code.

    Raises:
        AdapterCorruptError: It does not; the message names the file.
    """
    manifest = read_manifest(path)
    present = {entry.name: entry for entry in path.iterdir() if entry.name != MANIFEST_NAME}
    for name in sorted(present.keys() | manifest.files.keys()):
        _verify_file(path, name, present.get(name), manifest.files.get(name))
    meaning = ANSWERS_NAME if ANSWERS_NAME in manifest.files else LABELS_NAME
    for name in (WEIGHTS_NAME, CONFIG_NAME, meaning):
        if name not in manifest.files:
            raise AdapterCorruptError(f"the adapter {path} has no file {name}", fix=FIX_CORRUPT)
    return AdapterDirectory(path, manifest.checksum)


def verify_reference(adapter: AdapterDirectory) -> None:
    """Check that a directory still holds the adapter that a reference is to.

    Raises:
        AdapterCorruptError: It is not what its manifest says, or it is another adapter.
    """
    found = verify_adapter(adapter.path).checksum
    if found != adapter.checksum:
        raise AdapterCorruptError(
            f"the adapter {adapter.path} has the checksum {found}, and {adapter.checksum} was expected",
            fix="restore the version that is meant (for example with `dvc checkout`), or train the adapter again",
        )


def config_for(adapter: AdapterDirectory, config: "FtzardConfig") -> "FtzardConfig":
    """A configuration in which the base model and the prompt are those that an adapter was trained with.

    What serves goes on serving when somebody configures another base model for the next training.

    Raises:
        AdapterCorruptError: The manifest holds no configuration of a model.
    """
    fields = read_manifest(adapter.path).config.get("model")
    try:
        return replace(config, model=TypeAdapter(ModelConfig).validate_python(fields))
    except ValidationError as error:
        raise AdapterCorruptError(
            f"{adapter.path / MANIFEST_NAME} holds no usable configuration of the model: {error}", fix=FIX_CORRUPT
        ) from error


def check_compatible(
    manifest: AdapterManifest, base_model: BaseModelIdentity, made_for: Sequence[str], labels: Sequence[str]
) -> None:
    """Check that an adapter fits a base model and a label set.

    Args:
        manifest: The adapter's.
        base_model: The base model that is configured now.
        made_for: The adapter's labels.
        labels: The labels that are configured now; none means that the adapter's are taken.

    Raises:
        AdapterMismatchError: It does not; the message names both sides.
    """
    if not manifest.base_model.is_same_model(base_model):
        raise AdapterMismatchError(
            f"the adapter was made for the base model {manifest.base_model}, and model.base_model is {base_model}",
            fix="configure the adapter's base model, or train an adapter for this one",
        )
    if labels and tuple(labels) != tuple(made_for):
        raise AdapterMismatchError(
            f"the adapter was made for the labels {list(made_for)}, and data.labels is {list(labels)}",
            fix="configure the adapter's labels in their order, or train an adapter for these",
        )


def _verify_file(path: Path, name: str, entry: Path | None, expected: str | None) -> None:
    problem = None
    if entry is None:
        problem = "is missing"
    elif expected is None:
        problem = "is not in the manifest"
    elif entry.suffix.lower() in _REFUSED_SUFFIXES:
        problem = "is of a kind that can carry code"
    # DVC can place data as links to its cache.
    elif not entry.is_file() or (entry.is_symlink() and not is_cached_object(entry.resolve())):
        problem = "is not a regular file"
    elif sha256_of(entry) != expected:
        problem = "differs from its checksum in the manifest"
    if problem is not None:
        raise AdapterCorruptError(f"in the adapter {path}, the file {name!r} {problem}", fix=FIX_CORRUPT)


def _save_tokenizer(tokenizer: Any, path: Path) -> None:
    """Save the tokenizer without the folder that it was loaded from."""
    tokenizer.save_pretrained(path)
    file = path / "tokenizer_config.json"
    fields = json.loads(file.read_text(encoding="utf-8"))
    fields.pop("name_or_path", None)
    file.write_text(to_json(fields), encoding="utf-8")
