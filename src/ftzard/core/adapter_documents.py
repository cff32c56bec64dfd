"""The JSON documents of an adapter directory (`ftzard.core.adapter`): what they hold, and how they are read."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ftzard.config import LoraConfig, decisive
from ftzard.core.base_source import BaseModelIdentity
from ftzard.errors import AdapterCorruptError, AdapterMismatchError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig

MANIFEST_NAME = "manifest.json"
LABELS_NAME = "labels.json"
ANSWERS_NAME = "generation.json"
CONFIG_NAME = "adapter_config.json"
# Where the manifest's provenance names the version of the splits that the adapter was trained on.
SPLITS_KEY = "read.splits"
FORMAT_VERSION: Literal[1] = 1
# What helps where a file of an adapter is not as it was written.
FIX_CORRUPT = "restore the directory (for example with `dvc checkout`) or train the adapter again"

_T = TypeVar("_T")

_STRICT = ConfigDict(extra="forbid")
_LIBRARIES = ("ftzard", "torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")
_LORA_KEYS = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora")
# PEFT names the head by each of its usual names.
_HEADS = frozenset({"classifier", "score"})


@dataclass(frozen=True, config=_STRICT)
class AdapterLabels:
    """`labels.json`: what the adapter's outputs mean and how a text is put to it.

    Attributes:
        labels: In the order of the outputs.
        label_words: Their words, in the same order.
        prompt_template: As configured, with `{text}`.
        max_length: Tokens of prompt and text together, at most.
        head: Where the head started from.
    """

    labels: tuple[str, ...]
    label_words: tuple[str, ...]
    prompt_template: str
    max_length: int
    head: Literal["label_words", "random"]


@dataclass(frozen=True, config=_STRICT)
class AdapterLabelSets(AdapterLabels):
    """`labels.json` of an adapter that gives a text any number of labels: each output is the logit of its label.

    Attributes:
        thresholds: The probability from which on a label is given, in the order of the labels.
    """

    thresholds: tuple[float, ...]


@dataclass(frozen=True, config=_STRICT)
class AdapterManifest:
    """`manifest.json`.

    Attributes:
        format_version: Of this directory's layout.
        base_model: What the adapter was made for.
        config: The sections `data`, `model` and `training` of the configuration.
        seeds: By purpose.
        compute: Device, floating-point type and number of CPU threads of the training.
        versions: Of Python and the libraries that decide the weights.
        provenance: What the caller knows of the data, such as its commit.
        files: Name of every other file -> its SHA-256.
    """

    format_version: Literal[1]
    base_model: BaseModelIdentity
    config: dict[str, Any]
    seeds: dict[str, int]
    compute: dict[str, str]
    versions: dict[str, str]
    provenance: dict[str, str]
    files: dict[str, str]

    @property
    def checksum(self) -> str:
        """SHA-256 of the file list, the adapter's content version."""
        return hashlib.sha256(to_json(self.files).encode()).hexdigest()


def manifest_fields(
    base_model: BaseModelIdentity, config: "FtzardConfig", provenance: Mapping[str, str], compute: Mapping[str, str]
) -> dict[str, Any]:
    """The manifest's fields apart from `files`; of the configuration, the sections that decide the weights."""
    sections = {section: asdict(getattr(config, section)) for section in ("data", "model", "training")}
    return {
        "base_model": base_model,
        "config": {section: decisive(section, values, config.data.task) for section, values in sections.items()},
        "seeds": {"data": config.data.seed, "training": config.training.seed},
        "compute": dict(compute),
        "versions": current_versions(),
        "provenance": dict(provenance),
    }


def current_versions() -> dict[str, str]:
    """Of Python and the libraries that decide the weights."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _LIBRARIES}


def read_manifest(path: Path) -> AdapterManifest:
    """Read `manifest.json`, without checking the files it lists.

    Raises:
        AdapterCorruptError: There is none, or it is not one.
    """
    return read_json(TypeAdapter(AdapterManifest), path / MANIFEST_NAME)


def read_labels(path: Path) -> AdapterLabels:
    """Read `labels.json`.

    Raises:
        AdapterCorruptError: There is none, or it is not one.
        AdapterMismatchError: The adapter is no classifier.
    """
    if not (path / LABELS_NAME).exists() and (path / ANSWERS_NAME).exists():
        raise AdapterMismatchError(
            f"the adapter {path} writes answers, and a classifier is asked for",
            fix="set data.task to what its generation.json says, or train a classifier (with another "
            "tracking.registered_model, so that it has a champion of its own)",
        )
    found: AdapterLabels = read_json(TypeAdapter(AdapterLabelSets | AdapterLabels), path / LABELS_NAME)
    return found


def read_lora_config(path: Path) -> LoraConfig:
    """Read from `adapter_config.json` what FTzard sets there; whatever else PEFT could be told there is not obeyed.

    Raises:
        AdapterCorruptError: There is none, or it is not one.
    """
    file = path / CONFIG_NAME
    fields = read_json(TypeAdapter(dict[str, Any]), file)
    try:
        return LoraConfig(
            **{key: fields[key] for key in _LORA_KEYS if key in fields},
            rank_pattern=fields.get("rank_pattern") or {},
            alpha_pattern=fields.get("alpha_pattern") or {},
            target_parameters=tuple(fields.get("target_parameters") or ()),
            modules_to_save=tuple(name for name in fields.get("modules_to_save") or () if name not in _HEADS),
            layers_to_transform=tuple(fields.get("layers_to_transform") or ()),
        )
    except ValidationError as error:
        raise AdapterCorruptError(
            f"{file} is not the configuration of a LoRA adapter: {error}", fix=FIX_CORRUPT
        ) from error


def read_json(adapter: TypeAdapter[_T], file: Path) -> _T:
    """Read a JSON file of an adapter.

    Raises:
        AdapterCorruptError: There is none, or it is not what it should be.
    """
    try:
        return adapter.validate_json(file.read_bytes())
    except OSError as error:
        raise AdapterCorruptError(f"{file} cannot be read: {error}", fix=FIX_CORRUPT) from error
    except ValidationError as error:
        raise AdapterCorruptError(f"{file} is not what its name says: {error}", fix=FIX_CORRUPT) from error


def to_json(value: object) -> str:
    """One spelling for equal values: keys sorted, sets as sorted lists."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=sorted) + "\n"
