"""A training whose numbers are no longer finite: it ends there, and nothing of it becomes an adapter."""

from typing import TYPE_CHECKING

from ftzard.errors import TrainingDivergedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_FIX = "lower training.learning_rate, or compute in float32 (model.dtype=float32); nothing was written"


def diverged(what: str) -> TrainingDivergedError:
    """The error for numbers that are not finite.

    Args:
        what: Which, and where.
    """
    return TrainingDivergedError(what, fix=_FIX)


def check_weights(parameters: "Sequence[torch.nn.Parameter]", num_steps: int) -> None:
    """Check what is trained after its last update, which is followed by no loss that would show what it did.

    Raises:
        TrainingDivergedError: Not all of it is finite.
    """
    if not all(bool(parameter.isfinite().all()) for parameter in parameters):
        raise diverged(f"after optimizer step {num_steps}, the last one, weights of the adapter are not finite")
