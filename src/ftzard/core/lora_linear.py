"""A linear layer with LoRA as one operation (Hu et al. 2021, equation 3), forward and backward.

PEFT computes it in steps of which each writes a whole tensor of outputs: the base's product, the adapter's, the scaled
one, the sum. On short sequences that costs a third as much as the base's matrix products. Here the adapter's product is
added where the base's is written, and the base's frozen weight never asks for a gradient.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def fused_lora(peft_model: Any) -> Iterator[int]:
    """Compute a model's plain LoRA layers in one operation each; afterwards they are PEFT's again.

    Layers that are not plain (quantized, with dropout, DoRA, a bias of their own, several adapters) stay as they are.

    Yields:
        How many layers are fused.
    """
    layers = [module for module in peft_model.modules() if _is_plain(module)]
    for layer in layers:
        # An instance's attribute hides the class's method, and goes with it.
        layer.forward = partial(_forward, layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(module: Any) -> bool:
    import torch
    from peft.tuners.lora.layer import Linear

    if type(module) is not Linear or type(module.base_layer) is not torch.nn.Linear or module.merged:
        return False
    names = module.active_adapters
    if len(names) != 1 or names[0] not in module.lora_A or names[0] in module.lora_variant:
        return False
    parts = (module.lora_A[names[0]], module.lora_B[names[0]])
    has_dropout = not isinstance(module.lora_dropout[names[0]], torch.nn.Identity)
    return not has_dropout and all(part.bias is None for part in parts) and not module.base_layer.weight.requires_grad


def _forward(layer: Any, x: "torch.Tensor") -> "torch.Tensor":
    name = layer.active_adapters[0]
    base = layer.base_layer
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    result: torch.Tensor = _operation().apply(x, base.weight, base.bias, down, up, layer.scaling[name])
    return result


@cache
def _operation() -> Any:
    """The operation's class, made at first use, because its base class is torch's."""
    import torch

    class LoraLinear(torch.autograd.Function):
        """y = x W^T + b + s (x A^T) B^T for x of shape (..., in), W (out, in), A (r, in) and B (out, r)."""

        @staticmethod
        def forward(
            ctx: Any,
            x: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            down: torch.Tensor,
            up: torch.Tensor,
            scaling: float,
        ) -> torch.Tensor:
            rows = x.reshape(-1, x.shape[-1])
            low = rows @ down.T
            y = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
            y.addmm_(low, up.T, alpha=scaling)
            ctx.save_for_backward(rows, low, weight, down, up)
            ctx.scaling = scaling
            return y.view(*x.shape[:-1], y.shape[-1])

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            rows, low, weight, down, up = ctx.saved_tensors
            (dy,) = gradients
            dy_rows = dy.reshape(-1, dy.shape[-1])
            dlow = (dy_rows @ up).mul_(ctx.scaling)
            dx = None
            if ctx.needs_input_grad[0]:
                dx = (dy_rows @ weight).addmm_(dlow, down).view(*dy.shape[:-1], -1)
            # (r, out) transposed: the smaller of the two ways to compute it.
            dup = (low.T @ dy_rows).T.mul(ctx.scaling)
            return dx, None, None, dlow.T @ rows, dup, None

    return LoraLinear
