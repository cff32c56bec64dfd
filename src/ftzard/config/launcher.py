"""The section `launcher`: where a training runs."""

from typing import Literal, Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, PositiveFloat, PositiveInt


@dataclass(frozen=True, config=STRICT)
class LauncherConfig:
    """Where a training runs. Nothing here decides what is trained, and changing it makes no adapter stale."""

    # `in_process`: in the process of the asset. `local`: in a process of its own. `torchrun` and `ray`: in several on
    # this machine, which divide the examples of each optimizer step.
    kind: Literal["in_process", "local", "torchrun", "ray"] = "in_process"
    num_processes: PositiveInt = 1
    # CPU threads of each process; None: what OMP_NUM_THREADS says, else this machine's cores divided among them.
    num_threads: PositiveInt | None = None
    # How long a training may take; None: however long.
    timeout_s: PositiveFloat | None = None
    # How long a process waits for the others in the middle of a step before it takes them for lost.
    peer_timeout_s: PositiveFloat = 600.0
    # How long processes that are asked to end may take to save where they were, before they are killed.
    grace_s: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_processes > 1 and self.kind in {"in_process", "local"}:
            message = f"num_processes is {self.num_processes}, and kind {self.kind!r} has one: take 'torchrun' or 'ray'"
            raise ValueError(message)
        return self
