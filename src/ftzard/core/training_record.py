"""What is written down during a training: its curves, its validations, and the weights that were best."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.core.early_stopping import BestSoFar
from ftzard.core.token_budget import TokenBudget

if TYPE_CHECKING:
    import torch

CURVE_SCHEMA = pl.Schema(
    {
        "step": pl.Int64,
        "epoch": pl.Int64,
        "loss": pl.Float64,
        "learning_rate": pl.Float64,
        "num_tokens": pl.Int64,
        "seconds": pl.Float64,
    }
)
VALIDATION_SCHEMA = pl.Schema(
    {"epoch": pl.Int64, "step": pl.Int64, "loss": pl.Float64, "macro_f1": pl.Float64, "is_kept": pl.Boolean}
)

_BEST = "best"


@dataclass
class StepRecord:
    """What is written down of any training, step by step.

    Attributes:
        budget: Tokens at once.
        seconds: Wall-clock time in all.
        validation_seconds: The part of it that validation took.
        num_tokens: Real tokens trained on so far.
    """

    budget: TokenBudget = field(kw_only=True)
    seconds: float = 0.0
    validation_seconds: float = 0.0
    num_tokens: int = 0
    _curve: list[dict[str, Any]] = field(default_factory=list)
    _validation: list[dict[str, Any]] = field(default_factory=list)

    def add_step(self, *, num_tokens: int, **row: float) -> None:
        """Add a row of `CURVE_SCHEMA`."""
        self._curve.append({**row, "num_tokens": num_tokens})
        self.num_tokens += num_tokens

    def add_validation(self, **row: float) -> None:
        """Add the scores of a validation, with `epoch` and `step`."""
        self._validation.append(row)

    @property
    def num_steps(self) -> int:
        """Optimizer steps so far."""
        return len(self._curve)

    def is_validated(self, step: int) -> bool:
        """Whether there was a validation after an optimizer step."""
        return any(row["step"] == step for row in self._validation)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        return {
            "seconds": self.seconds,
            "validation_seconds": self.validation_seconds,
            "num_tokens": self.num_tokens,
            "curve": self._curve,
            "validation": self._validation,
            "token_budgets": [list(change) for change in self.budget.budgets.items()],
        }

    def tensors(self) -> "dict[str, torch.Tensor]":
        """What of it are weights: nothing."""
        return {}

    def restore(self, values: Mapping[str, Any], tensors: "Mapping[str, torch.Tensor]") -> None:
        """Become what `to_dict` and `tensors` gave."""
        del tensors
        self.seconds, self.validation_seconds = float(values["seconds"]), float(values["validation_seconds"])
        self.num_tokens = int(values["num_tokens"])
        self._curve, self._validation = list(values["curve"]), list(values["validation"])
        # A checkpoint from before there were budgets had the configured one throughout.
        budgets = values.get("token_budgets", [[1, self.budget.max_tokens]])
        self.budget.restore({int(step): int(tokens) for step, tokens in budgets})

    def curve(self) -> pl.DataFrame:
        """A row for each optimizer step."""
        return pl.DataFrame(self._curve, schema=CURVE_SCHEMA)

    def validation(self) -> pl.DataFrame:
        """A row for each validation, if there was anything to validate on: `epoch`, `step` and the scores."""
        return pl.DataFrame(self._validation, schema_overrides={"epoch": pl.Int64, "step": pl.Int64})

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second of training, validation not counted."""
        training_seconds = self.seconds - self.validation_seconds
        return self.num_tokens / training_seconds if training_seconds > 0 else 0.0


@dataclass
class TrainingRecord(StepRecord):
    """What is written down during the training of a classifier.

    Attributes:
        kept_step: The optimizer step after which the weights were what they are at the end.
        kept: Which weights these are and why, in words.
        best: The best validation so far, where training may stop early.
    """

    kept_step: int = 0
    kept: str = ""
    best: BestSoFar | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        return super().to_dict() | {"best": self.best and self.best.to_dict()}

    def tensors(self) -> "dict[str, torch.Tensor]":
        """The weights that were best until now, where training may stop early."""
        weights = self.best.weights if self.best else ()
        return {f"{_BEST}.{number:04d}": weight for number, weight in enumerate(weights)}

    def restore(self, values: Mapping[str, Any], tensors: "Mapping[str, torch.Tensor]") -> None:
        """Become what `to_dict` and `tensors` gave."""
        super().restore(values, tensors)
        best = values.get("best")
        self.best = best and BestSoFar.from_dict(best, [tensors[name] for name in sorted(tensors)])

    def validation(self) -> pl.DataFrame:
        """A row of `VALIDATION_SCHEMA` for each validation, if there was anything to validate on."""
        rows = [{**row, "is_kept": row["step"] == self.kept_step} for row in self._validation]
        return pl.DataFrame(rows, schema=VALIDATION_SCHEMA)

    def kept_score(self, metric: str) -> float:
        """The validation score, `loss` or `macro_f1`, of the weights that were kept."""
        return float(next(row[metric] for row in self._validation if row["step"] == self.kept_step))
