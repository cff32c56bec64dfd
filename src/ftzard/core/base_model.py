"""The base model: loaded from where the configuration says, and lent to one step after another.

Loading is most of the cost of a short step (a .gguf file takes many seconds), so the last base model stays in the
process. It is lent by `borrowed_base_model`; whoever borrows it takes its adapter off again before giving it back.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from ftzard.core.base_description import read_config, read_tokenizer, where
from ftzard.core.base_failures import check_is_causal, check_is_whole, reading
from ftzard.core.base_files import check_files
from ftzard.core.base_source import BaseModelIdentity, BaseModelSource, find_base_model
from ftzard.core.devices import Device, resolve_dtype
from ftzard.core.precision import Precision, precision_for
from ftzard.core.tiny_model import build_tiny_llama
from ftzard.core.token_budget import memory_failures_explained
from ftzard.errors import ConfigError

if TYPE_CHECKING:
    from ftzard.config import ModelConfig
    from ftzard.core.frozen_prefix import FrozenPrefix

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A causal language model in eval mode, none of whose parameters wants a gradient.

    Attributes:
        model: `transformers.PreTrainedModel` with a language-modelling head.
        tokenizer: Its tokenizer.
        identity: What tells it from another base model.
        device: Where it is.
        precision: What it was loaded in, and why.
        prefixes: What its first layers make of the texts of a training, see `ftzard.core.frozen_prefix`.
    """

    model: Any
    tokenizer: Any
    identity: BaseModelIdentity
    device: Device
    precision: Precision
    prefixes: "dict[tuple[int, int, str], FrozenPrefix]" = field(default_factory=dict)


@dataclass
class _Shelf:
    """Room for one base model. What is lent is not on the shelf, so nobody else can get it meanwhile."""

    key: object = None
    base: BaseModel | None = None
    lock: Lock = field(default_factory=Lock)

    def take(self, key: object) -> BaseModel | None:
        with self.lock:
            base = self.base if self.key == key else None
            # A base that is not wanted goes too: two of them may not fit in memory.
            self.key, self.base = None, None
            return base

    def put(self, key: object, base: BaseModel) -> None:
        with self.lock:
            self.key, self.base = key, base


_SHELF = _Shelf()


@contextmanager
def borrowed_base_model(config: "ModelConfig", device: Device) -> Iterator[BaseModel]:
    """A base model for the length of a step: the last one of this process if it is the same, else a new one.

    It must be given back as it was lent, without adapter and in eval mode. After an exception it is not kept, because
    then nobody knows in what state it is, nor is one that use itself changes.

    Raises:
        FtzardError: As `load_base_model`.
    """
    source = find_base_model(config)
    key = _key(source, config, device)
    base = _SHELF.take(key)
    if base is None:
        with memory_failures_explained(f"the base model {source.identity.name!r} was loaded"):
            base = _load(source, config, device)
    with memory_failures_explained("something was computed with the base model"):
        yield base
    if not _is_changed_by_use(base):
        _SHELF.put(key, base)


def _is_changed_by_use(base: BaseModel) -> bool:
    """On a CPU, bitsandbytes repacks 4-bit weights for inference and back again, and rounds their scales on the way."""
    return base.device == "cpu" and base.precision.quantization in {"nf4", "fp4"}


def is_at_hand(config: "ModelConfig", device: Device) -> bool:
    """Whether this process keeps this very base model, so that lending it takes no more memory."""
    # Looked at first: an empty shelf is no reason to read a checksum.
    return _SHELF.key is not None and _SHELF.key == _key(find_base_model(config), config, device)


def forget_base_model() -> None:
    """Free the memory of the base model that this process keeps."""
    _SHELF.take(None)


def _key(source: BaseModelSource, config: "ModelConfig", device: Device) -> object:
    return (source, config.quantization, config.dtype, config.attn_implementation, device)


def load_base_model(config: "ModelConfig", device: Device) -> BaseModel:
    """Load the base model anew.

    Args:
        config: What to load and how. Safetensors and GGUF only; no code that comes with a model is ever run.
        device: Where to put it.

    Raises:
        ModelNotFoundError: It is not where the configuration says, or cannot be read.
        MissingPackageError: The Python package that ships it is not installed.
        NotACausalLanguageModelError: It is there and is another kind of model.
        ConfigError: The combination of source and quantization is not possible.
    """
    return _load(find_base_model(config), config, device)


def _load(source: BaseModelSource, config: "ModelConfig", device: Device) -> BaseModel:
    dtype = resolve_dtype(config.dtype, device)
    if source.location is None:
        _refuse_quantization(source, config)
        model, tokenizer = build_tiny_llama(dtype, config.attn_implementation)
        precision = precision_for(source, config, device, model.config)
    else:
        model, tokenizer, precision = _load_pretrained(source, config, device)
    # A quantized model was put on its device by the loader and must not be moved.
    model = model if precision.quantization != "none" else model.to(device)
    model.eval().requires_grad_(requires_grad=False)
    _logger.info("base model %s loaded on %s: %s", source.identity, device, precision.reason)
    return BaseModel(model, tokenizer, source.identity, device, precision)


def _load_pretrained(source: BaseModelSource, config: "ModelConfig", device: Device) -> tuple[Any, Any, Precision]:
    from transformers import AutoModelForCausalLM

    if source.gguf_file is not None:
        _refuse_quantization(source, config)
    with reading(source), _bars_on_terminals_only():
        model_config = read_config(source)
        check_is_causal(source, model_config)
        precision = precision_for(source, config, device, model_config)
        tokenizer = read_tokenizer(source)
        arguments = where(source.gguf_file, source.identity.revision)
        if source.gguf_file is None:
            check_files(source, model_config, arguments)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source.location,
            **arguments,
            config=model_config,
            dtype=resolve_dtype(config.dtype, device),
            attn_implementation=_attention(config, model_config),
            use_safetensors=True,
            output_loading_info=True,
            **_quantization(source, config, precision, device),
        )
        check_is_whole(source, model, loaded)
    return model, tokenizer, precision


def describe_base_model(config: "ModelConfig") -> tuple[BaseModelSource, Any, Any]:
    """Where the base model is, its configuration and its tokenizer; neither its weights are read nor their checksum.

    Raises:
        FtzardError: As `load_base_model`.
    """
    source = find_base_model(config, pinned=False)
    if source.gguf_file is not None or source.location is None:
        _refuse_quantization(source, config)
    with reading(source), _bars_on_terminals_only():
        model_config, tokenizer = read_config(source), read_tokenizer(source)
        check_is_causal(source, model_config)
    return source, model_config, tokenizer


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """Keep transformers' progress bars out of logs, where each refresh would be a line."""
    from transformers.utils import logging as transformers_logging

    was_enabled = transformers_logging.is_progress_bar_enabled()
    if was_enabled and not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


def _quantization(
    source: BaseModelSource, config: "ModelConfig", precision: Precision, device: Device
) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` for the quantization."""
    from transformers import BitsAndBytesConfig, GgufConfig

    if source.gguf_file is not None:
        return {"quantization_config": GgufConfig(dequantize=True)}
    if precision.quantization == "none":
        return {}
    if precision.quantization == "int8":
        quantization = BitsAndBytesConfig(load_in_8bit=True)
    else:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=precision.quantization,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=resolve_dtype("float16" if config.dtype == "float16" else "bfloat16", device),
        )
    return {"quantization_config": quantization, "device_map": {"": device}}


def _attention(config: "ModelConfig", model_config: Any) -> str:
    """The configured attention, but where transformers (5.23) has it wrong: Falcon's eager one adds ALiBi twice."""
    if model_config.model_type == "falcon" and model_config.alibi and config.attn_implementation == "eager":
        _logger.info("attention is computed by sdpa: with eager, transformers adds this model's ALiBi bias twice")
        return "sdpa"
    return config.attn_implementation


def _refuse_quantization(source: BaseModelSource, config: "ModelConfig") -> None:
    if config.quantization not in {"auto", "none"}:
        raise ConfigError(
            f"model.quantization is {config.quantization!r}, which {source.identity.name!r} cannot be loaded in",
            fix="set model.quantization=none or auto, or take a base model from a folder or the hub",
        )
