"""When a training has gone on for long enough, and the weights that were best on the validation split until then.

What is known between two validations is one frozen record, `BestSoFar`, so that a training which goes on after a kill
can take it up where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig

_VALUES = ("score", "epoch", "step", "num_waited", "seen_step")


@dataclass(frozen=True, eq=False)
class BestSoFar:
    """The best validation until now.

    Attributes:
        score: Its value of `training.metric_for_best_model`.
        epoch: In which it was, from 1.
        step: After which optimizer step, from 1.
        num_waited: Validations since the last one that was better by more than the threshold.
        seen_step: The optimizer step of the last validation that it knows of.
        weights: The trained parameters at that time, in their order, on the CPU.
    """

    score: float
    epoch: int
    step: int
    num_waited: int
    seen_step: int
    weights: "tuple[torch.Tensor, ...]"

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as JSON types."""
        return {name: getattr(self, name) for name in _VALUES}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], weights: "Sequence[torch.Tensor]") -> Self:
        """What `to_dict` gave, with the weights."""
        return cls(**{name: values[name] for name in _VALUES}, weights=tuple(weights))

    def put_into(self, parameters: "Sequence[torch.nn.Parameter]") -> None:
        """Give the trained parameters these weights."""
        import torch

        with torch.no_grad():
            for parameter, weight in zip(parameters, self.weights, strict=True):
                parameter.copy_(weight)


@dataclass(frozen=True)
class EarlyStopping:
    """The rule; that of transformers' `EarlyStoppingCallback`.

    Attributes:
        patience: So many validations in a row may be no better before training stops.
        metric: What validations are compared by: `macro_f1`, of which more is better, or `loss`, of which less is.
        threshold: By how much more than this a score must be better to end the waiting. The best weights are those of
            the best score, however little it is better; of equal ones the first.
    """

    patience: int
    metric: str
    threshold: float

    @classmethod
    def from_config(cls, config: "TrainingConfig") -> "EarlyStopping | None":
        """The configured rule; None where training goes on to its last epoch and keeps its last weights."""
        if config.early_stopping_patience is None:
            return None
        return cls(config.early_stopping_patience, config.metric_for_best_model, config.early_stopping_threshold)

    def after(
        self,
        best: BestSoFar | None,
        scores: Mapping[str, float],
        epoch: int,
        step: int,
        parameters: "Sequence[torch.nn.Parameter]",
    ) -> BestSoFar:
        """What is the best after one more validation.

        Args:
            best: Until now; None before the first validation.
            scores: Of this validation.
            epoch: In which it was, from 1.
            step: Optimizer steps so far.
            parameters: What is trained; copied if this validation is the best.
        """
        if best is not None and step <= best.seen_step:
            # Looked at before the training was interrupted, which was then to be validated once more.
            return best
        score = scores[self.metric]
        gain = float("inf") if best is None else (best.score - score if self.metric == "loss" else score - best.score)
        num_waited = 0 if best is None or gain > self.threshold else best.num_waited + 1
        if best is not None and gain <= 0:
            return BestSoFar(best.score, best.epoch, best.step, num_waited, step, best.weights)
        weights = tuple(parameter.detach().cpu().clone() for parameter in parameters)
        return BestSoFar(score, epoch, step, num_waited, step, weights)

    def is_over(self, best: BestSoFar) -> bool:
        """Whether training stops now."""
        return best.num_waited >= self.patience

    def sentence(self, best: BestSoFar, step: int, num_steps: int) -> str:
        """Which weights were kept and why, in words, after `step` of `num_steps` optimizer steps."""
        end = "to the end" if step == num_steps else f"stopped after step {step} of {num_steps}"
        return f"best of epoch {best.epoch} (step {best.step}): {self.metric} {best.score:.3f} on validation; {end}"
