"""How weights move: the learning rate over a training, and AdamW on float32 master weights."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from ftzard.config import TrainingConfig

# AdamW's names for the running means of a gradient and of its square.
_MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate_factor(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Share of the peak learning rate at a step: a line up, then half a cosine down (Loshchilov and Hutter 2017).

    Args:
        step: In [0, num_steps).
        num_steps: In all.
        warmup_fraction: Share of the steps that rise, in [0, 1].

    Returns:
        In (0, 1]. Neither the first nor the last step is wasted on a rate of 0.
    """
    num_warmup = math.ceil(num_steps * warmup_fraction)
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))


class AdapterOptimizer:
    """AdamW (Loshchilov and Hutter 2019) whose state and weights are float32, whatever the model computes in.

    A bfloat16 has 8 significant bits: an update below about 1/256 of a weight would be rounded away, and late in
    training most are. The update is therefore applied to a float32 copy, and the model gets that copy, rounded.

    Args:
        parameters: What is trained; gradients are read from them.
        config: Peak learning rate, weight decay and the norm that gradients are clipped to.

    Attributes:
        num_steps: Updates that were applied.
        is_whole: Whether none is being applied.
    """

    def __init__(self, parameters: "Sequence[torch.nn.Parameter]", config: "TrainingConfig") -> None:
        """Take the float32 copies."""
        import torch

        self._parameters = list(parameters)
        # A copy even where it is float32 already: one path, and the cost is that of the adapter alone.
        self._masters = [parameter.detach().float().clone() for parameter in self._parameters]
        self._peak = config.learning_rate
        self._max_grad_norm = config.max_grad_norm
        self._adamw = torch.optim.AdamW(self._masters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.num_steps = 0
        # Not while an update is being applied, which an interruption may cut in two.
        self.is_whole = True

    def step(self, factor: float) -> tuple[float, float]:
        """Apply the accumulated gradients and clear them.

        Args:
            factor: Share of the peak learning rate.

        Returns:
            The learning rate, and the norm of the gradients before clipping (not finite if they are not; then nothing
            was applied).
        """
        import torch

        for master, parameter in zip(self._masters, self._parameters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._max_grad_norm))
        learning_rate = self._peak * factor
        if math.isfinite(norm):
            self.is_whole = False
            for group in self._adamw.param_groups:
                group["lr"] = learning_rate
            self._adamw.step()
            self._hand_over()
            self.num_steps += 1
            self.is_whole = True
        return learning_rate, norm

    def state(self) -> "dict[str, torch.Tensor]":
        """All that the next step depends on, besides the gradients: float32 weights and the moments of each."""
        kinds = {"weight": self._masters} | {
            kind: [self._adamw.state[master][kind] for master in self._masters if master in self._adamw.state]
            for kind in _MOMENTS
        }
        return {
            f"{kind}.{number:04d}": tensor for kind, all_of in kinds.items() for number, tensor in enumerate(all_of)
        }

    def restore(self, state: "Mapping[str, torch.Tensor]", num_steps: int) -> None:
        """Become what `state` was taken of, after so many steps, and hand the weights to the model."""
        import torch

        for number, master in enumerate(self._masters):
            master.detach().copy_(state[f"weight.{number:04d}"])
            if num_steps:
                moments = {kind: state[f"{kind}.{number:04d}"].to(master.device, copy=True) for kind in _MOMENTS}
                self._adamw.state[master] = {"step": torch.tensor(float(num_steps)), **moments}
        self._hand_over()
        self.num_steps = num_steps

    def _hand_over(self) -> None:
        import torch

        with torch.no_grad():
            for master, parameter in zip(self._masters, self._parameters, strict=True):
                parameter.copy_(master)
