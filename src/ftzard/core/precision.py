"""In which precision a base model is loaded: as configured, or as fits into the memory that is free."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ftzard.core.devices import Device, resolve_dtype

if TYPE_CHECKING:
    from ftzard.config import ModelConfig

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
    config: "ModelConfig", device: Device, num_parameters: int, free_bytes: int, *, can_be_quantized: bool
) -> Precision:
    """Choose the quantization: none where the weights fit without, else nf4, which fits four times as many.

    Args:
        config: What is configured; only `quantization=auto` leaves a choice.
        device: Where the model is to be.
        num_parameters: Of the model.
        free_bytes: Memory that is free there.
        can_be_quantized: Whether it comes in a form that bitsandbytes can load.
    """
    dtype = resolve_dtype(config.dtype, device)
    name = str(dtype).removeprefix("torch.")
    if config.quantization != "auto":
        return Precision(config.quantization, f"{name}, quantization {config.quantization}, as configured")
    weights, free = num_parameters * dtype.itemsize, free_bytes * _SHARE_OF_WEIGHTS
    sizes = f"its weights take {weights / _GIGABYTE:.1f} GB in {name}, and {free_bytes / _GIGABYTE:.1f} GB are free"
    if weights <= free:
        return Precision("none", f"{name}, not quantized: {sizes} on {device}")
    if not can_be_quantized:
        return Precision(
            "none", f"{name}, not quantized, and it may not fit: {sizes} on {device}; its source allows none"
        )
    return Precision("nf4", f"nf4, computed in {name}: {sizes} on {device}")


def free_memory(device: Device) -> int:
    """Bytes that a model may take on a device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil  # type: ignore[import-untyped]  # psutil ships no types

    return int(psutil.virtual_memory().available)


def count_parameters(model_config: Any) -> int:
    """Parameters of a causal language model that is not loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())
