"""How weights move: the learning rate over a training, and AdamW on float32 master weights."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from ftzard.config import TrainingConfig

# AdamW's names for the running means of a gradient and of its square.
_MOMENTS = ("exp_avg", "exp_avg_sq")
# `GradScaler`'s names for what it changes.
_SCALER = ("scale", "_growth_tracker")
_NUMBERS = "numbers"


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
    A float16 has too small a range instead: its gradients are computed of a multiple of the loss, which torch's
    `GradScaler` chooses (Micikevicius et al. 2018, section 3.2). A step whose gradients overflow is left out.

    Args:
        parameters: What is trained; gradients are read from them.
        config: Peak learning rate, weight decay and the norm that gradients are clipped to.

    Attributes:
        num_steps: Steps that were taken; in float16 some of them were left out.
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
        # In one kernel: an adapter is hundreds of small tensors, to each of which a dozen operations would be applied.
        self._adamw = torch.optim.AdamW(
            self._masters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.num_steps = 0
        self._num_updates = 0
        # Not while an update is being applied, which an interruption may cut in two.
        self.is_whole = True
        is_half = any(parameter.dtype == torch.float16 for parameter in self._parameters)
        self._scaler = torch.amp.GradScaler(self._masters[0].device.type, enabled=is_half)
        # It is made at its first use, which a process that has no example of a step would not come to.
        self.scaled(torch.zeros(1, device=self._masters[0].device))

    def scaled(self, loss: "torch.Tensor") -> "torch.Tensor":
        """What gradients are computed of: the loss, in float16 a multiple of it."""
        scaled: torch.Tensor = self._scaler.scale(loss)
        return scaled

    @property
    def may_go_on(self) -> bool:
        """Whether gradients that were not finite were left out and a smaller multiple of the loss may keep them so."""
        return self._scaler.is_enabled() and self._scaler.get_scale() >= 1

    def step(
        self, factor: float, add_up: "Callable[[Sequence[torch.Tensor]], None] | None" = None
    ) -> tuple[float, float]:
        """Apply the accumulated gradients and clear them.

        Args:
            factor: Share of the peak learning rate.
            add_up: Puts the sum over several processes in the place of the float32 gradients.

        Returns:
            The learning rate, and the norm of the gradients before clipping (not finite if they are not; then nothing
            was applied).
        """
        import torch

        for master, parameter in zip(self._masters, self._parameters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        if add_up is not None:
            add_up(self._masters)
        self._scaler.unscale_(self._adamw)
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._max_grad_norm))
        learning_rate = self._peak * factor
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        if math.isfinite(norm):
            self.is_whole = False
            self._scaler.step(self._adamw)
            self._hand_over()
            self._num_updates += 1
        self._scaler.update()
        if math.isfinite(norm) or self.may_go_on:
            self.num_steps += 1
        self.is_whole = True
        return learning_rate, norm

    def state(self) -> "dict[str, torch.Tensor]":
        """All that the next step depends on, besides the gradients: float32 weights, moments, the loss's multiple."""
        import torch

        kinds = {"weight": self._masters} | {
            kind: [self._adamw.state[master][kind] for master in self._masters if master in self._adamw.state]
            for kind in _MOMENTS
        }
        tensors = {
            f"{kind}.{number:04d}": tensor for kind, all_of in kinds.items() for number, tensor in enumerate(all_of)
        }
        scaler = self._scaler.state_dict()
        numbers = [self._num_updates, *(scaler[name] for name in _SCALER if scaler)]
        return tensors | {_NUMBERS: torch.tensor(numbers, dtype=torch.float64)}

    def restore(self, state: "Mapping[str, torch.Tensor]", num_steps: int) -> None:
        """Become what `state` was taken of, after so many steps, and hand the weights to the model."""
        import torch

        num_updates, *scaler = state[_NUMBERS].tolist()
        for number, master in enumerate(self._masters):
            master.detach().copy_(state[f"weight.{number:04d}"])
            if num_updates:
                moments = {kind: state[f"{kind}.{number:04d}"].to(master.device, copy=True) for kind in _MOMENTS}
                step = torch.tensor(num_updates, dtype=torch.float32, device=master.device)
                self._adamw.state[master] = {"step": step, **moments}
        if scaler:
            scale, tracker = scaler
            self._scaler.load_state_dict(
                self._scaler.state_dict() | dict(zip(_SCALER, (scale, int(tracker)), strict=True))
            )
        self._hand_over()
        self.num_steps, self._num_updates = num_steps, int(num_updates)

    def _hand_over(self) -> None:
        import torch

        with torch.no_grad():
            for master, parameter in zip(self._masters, self._parameters, strict=True):
                parameter.copy_(master)
