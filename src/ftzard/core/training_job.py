"""A training as a value: what one process hands to another, or to itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ftzard.core.device_memory import PeakMemory
from ftzard.core.devices import resolve_device

if TYPE_CHECKING:
    from pathlib import Path

    from ftzard.config import FtzardConfig
    from ftzard.core.data_parallel import Ranks
    from ftzard.core.progress import Progress
    from ftzard.core.records import AdapterDirectory, Splits
    from ftzard.core.training import TrainingResult


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """All that decides what is trained.

    Attributes:
        splits: Each `EXAMPLE_SCHEMA`; `test` is not looked at.
        config: The configuration.
        labels: A classifier's label set, in the order of the outputs.
        provenance: What is to stand in the manifest about the data.
        initial: The adapter whose weights to go on from; None: a fresh one.
    """

    splits: "Splits"
    config: "FtzardConfig"
    labels: Sequence[str]
    provenance: Mapping[str, str] = field(default_factory=dict)
    initial: "AdapterDirectory | None" = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a job.

    Attributes:
        result: The adapter, and what was written down.
        peak_bytes: Memory that rank 0 took at its peak, beyond what its process had before.
    """

    result: "TrainingResult"
    peak_bytes: int


class Trainer(Protocol):
    """Runs a job, here or elsewhere."""

    def __call__(
        self,
        job: TrainingJob,
        output_dir: "Path",
        *,
        checkpoint_dir: "Path | None" = None,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> Trained:
        """Train, and put the adapter where nothing is yet.

        Raises:
            FtzardError: As `train_adapter` and `train_answers`.
        """


def train_here(
    job: TrainingJob,
    output_dir: "Path",
    *,
    checkpoint_dir: "Path | None" = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    ranks: "Ranks | None" = None,
) -> Trained:
    """Run a job in this process, as rank 0 where there are several.

    Raises:
        FtzardError: As `train_adapter` and `train_answers`.
    """
    from ftzard.core.answer_training import train_answers
    from ftzard.core.data_parallel import ALONE
    from ftzard.core.training import train_adapter

    known: dict[str, Any] = {
        "on_progress": on_progress,
        "provenance": job.provenance,
        "initial": job.initial,
        "checkpoint_dir": checkpoint_dir,
    }
    with PeakMemory(resolve_device(job.config.training.device)) as peak:
        if job.config.data.has_labels:
            result = train_adapter(job.splits, job.config, job.labels, output_dir, ranks=ranks or ALONE, **known)
        else:
            result = train_answers(job.splits, job.config, output_dir, **known)
    return Trained(result, peak.num_bytes)
