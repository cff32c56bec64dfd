"""Groups of named tensors as one, which is what safetensors holds: `optimizer.weight.0000`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]


def joined(groups: Mapping[str, Tensors]) -> "dict[str, torch.Tensor]":
    """Put groups together, on the CPU; each tensor's name begins with that of its group."""
    return {
        f"{group}.{name}": tensor.cpu().contiguous()
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def group_of(tensors: Tensors, group: str) -> "dict[str, torch.Tensor]":
    """Take a group out of what `joined` gave."""
    return {name.removeprefix(f"{group}."): each for name, each in tensors.items() if name.startswith(f"{group}.")}
