"""In which precision a base model is loaded: as configured, or as fits into the memory that is free."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ftzard.core.device_memory import free_bytes
from ftzard.core.devices import Device, resolve_dtype

if TYPE_CHECKING:
    from ftzard.config import ModelConfig
    from ftzard.core.base_source import BaseModelSource

Quantization = Literal["none", "nf4", "fp4", "int8"]

# Weights take this share of what a training takes; the rest is for adapter, gradients and activations.
_SHARE_OF_WEIGHTS = 0.75
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Precision:
    """What was chosen.

    Attributes:
        quantization: Of the base model's linear layers.
        reason: Type and quantization, and why, in words.
    """

    quantization: Quantization
    reason: str


def choose_precision(
    config: "ModelConfig", device: Device, num_parameters: int, num_free: int, *, can_be_quantized: bool
) -> Precision:
    """Choose the quantization: none where the weights fit without, else nf4, which fits four times as many.

    Args:
        config: What is configured; only `quantization=auto` leaves a choice.
        device: Where the model is to be.
        num_parameters: Of the model.
        num_free: Bytes that are free there.
        can_be_quantized: Whether it comes in a form that bitsandbytes can load.
    """
    dtype = resolve_dtype(config.dtype, device)
    name = str(dtype).removeprefix("torch.")
    if config.quantization != "auto":
        return Precision(config.quantization, f"{name}, quantization {config.quantization}, as configured")
    weights, free = num_parameters * dtype.itemsize, num_free * _SHARE_OF_WEIGHTS
    sizes = f"its weights take {weights / _GIGABYTE:.1f} GB in {name}, and {num_free / _GIGABYTE:.1f} GB are free"
    if weights <= free:
        return Precision("none", f"{name}, not quantized: {sizes} on {device}")
    if not can_be_quantized:
        return Precision(
            "none", f"{name}, not quantized, and it may not fit: {sizes} on {device}; its source allows none"
        )
    return Precision("nf4", f"nf4, computed in {name}: {sizes} on {device}")


def precision_for(source: "BaseModelSource", config: "ModelConfig", device: Device, model_config: Any) -> Precision:
    """Choose for a base model that is not loaded; it is measured only where something is to be chosen.

    Args:
        source: The base model.
        config: What is configured.
        device: Where the model is to be.
        model_config: The model's configuration, as transformers has it.
    """
    if config.quantization != "auto":
        return choose_precision(config, device, 0, 0, can_be_quantized=True)
    can_be_quantized = source.gguf_file is None and source.location is not None
    size = count_parameters(model_config)
    return choose_precision(config, device, size, free_bytes(device), can_be_quantized=can_be_quantized)


def count_parameters(model_config: Any) -> int:
    """Parameters of a causal language model that is not loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())
