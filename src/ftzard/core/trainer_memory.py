"""Where memory runs out in a forward pass of TRL's trainers: fewer rows at once, and the same optimizer step.

A trainer is told once how many rows a pass has. What it hands over as one pass is computed here in as many pieces as
the token budget asks for, each made from the rows as the trainer's own collator makes a batch. The gradients of a pass
are those of its pieces added up, so that the optimizer step stays what it would have been.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftzard.core.batching import Indices
from ftzard.core.token_budget import TokenBudget

_ROWS = "ftzard_rows"
_MODE = "train"


def configured_budget(max_tokens_per_batch: int) -> TokenBudget:
    """What a training of TRL's begins with."""
    return TokenBudget(max_tokens_per_batch, "optimizer step")


@dataclass(frozen=True)
class _Rows:
    """What a batch was made from; no tensor, and therefore left alone by all that looks for tensors in a batch."""

    rows: tuple[dict[str, Any], ...]


@dataclass
class PassesInPieces:
    """Computes the passes of a trainer in pieces that fit into memory.

    Attributes:
        trainer: Made, and not yet at work.
        parameters: What is trained.
        budget: Tokens at once, padding included; halved where memory runs out.
        longest: Tokens of the longest row, as the budget counts them.
        rows_within: How many rows are computed at once within a budget, as the trainer was told for the first one.
    """

    trainer: Any
    parameters: "Sequence[Any]"
    budget: TokenBudget
    longest: int
    rows_within: Callable[[int], int]
    # The piece's part of the pass, where the trainer averages over the rows of one.
    _share: float = 1.0
    _own: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def install(self) -> None:
        """Take the place of what the trainer collates, computes and adds up with."""
        for name, instead in {
            "data_collator": self._collate,
            "compute_loss": self._loss,
            "training_step": self._step,
        }.items():
            self._own[name] = getattr(self.trainer, name)
            setattr(self.trainer, name, instead)

    def _collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {**self._batch(rows), _ROWS: _Rows(tuple(dict(row) for row in rows))}

    def _batch(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        # Copies: a collator may take something out of them.
        batch: dict[str, Any] = dict(self._own["data_collator"]([dict(row) for row in rows]))
        return batch

    def _loss(self, *arguments: Any, **options: Any) -> Any:
        loss = self._own["compute_loss"](*arguments, **options)
        return loss if self._share == 1.0 else loss * self._share

    def _step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """The loss of a pass, whose gradients are added to those that there are."""
        inputs = dict(inputs)
        rows = inputs.pop(_ROWS).rows
        numbers, lengths = np.arange(len(rows)), np.full(len(rows), self.longest, dtype=np.int64)

        def compute(max_tokens: int) -> Any:
            size = self.rows_within(max_tokens)
            pieces = [numbers[start : start + size] for start in range(0, len(numbers), size)]
            if len(pieces) == 1:
                return self._own["training_step"](model, dict(inputs), num_items_in_batch)
            return sum(self._piece(model, rows, piece, num_items_in_batch) for piece in pieces)

        step = int(self.trainer.state.global_step) + 1
        return self.budget.redoing(compute, numbers, lengths, step=step, undo=self._undoing())

    def _piece(self, model: Any, rows: Sequence[dict[str, Any]], piece: Indices, num_items_in_batch: Any) -> Any:
        # With the number of tokens of the whole step each token counts the same; without it the rows of a pass do.
        self._share = 1.0 if num_items_in_batch is not None else len(piece) / len(rows)
        try:
            batch = self._batch([rows[number] for number in piece])
            return self._own["training_step"](model, batch, num_items_in_batch)
        finally:
            self._share = 1.0

    def _undoing(self) -> Callable[[], None]:
        """What takes back a pass that did not come to its end: gradients, draws, and what TRL counted."""
        import torch

        gradients = [None if part.grad is None else part.grad.clone() for part in self.parameters]
        random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if self.parameters[0].is_cuda else []
        counted, metrics = self.trainer._total_train_tokens, self.trainer._metrics[_MODE]  # noqa: SLF001 - TRL has no other
        before = {name: list(values) for name, values in metrics.items()}

        def undo() -> None:
            for part, gradient in zip(self.parameters, gradients, strict=True):
                # A copy again: memory may run out once more.
                part.grad = None if gradient is None else gradient.clone()
            torch.set_rng_state(random[0])
            if random[1]:
                torch.cuda.set_rng_state_all(random[1])
            self.trainer._total_train_tokens = counted  # noqa: SLF001 - as above
            self.trainer._metrics[_MODE] = defaultdict(list, {name: list(v) for name, v in before.items()})  # noqa: SLF001 - as above

        return undo
