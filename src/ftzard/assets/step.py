"""What an asset function takes and returns: plain values, so that a test can call it."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ftzard.config import FtzardConfig
from ftzard.core.versions import AssetValue

T_co = TypeVar("T_co", bound=AssetValue, covariant=True)


def _report_nowhere(metrics: Mapping[str, float], step: int) -> None:
    """Nobody is watching a function that was called directly."""


@dataclass(frozen=True)
class Step:
    """One execution of an asset function.

    Attributes:
        config: The composed configuration.
        project_dir: The project folder.
        report: Takes metrics at a training step, while they happen.
        provenance: What the product should say of its origin, such as the data commit it was made from.
    """

    config: FtzardConfig
    project_dir: Path
    report: Callable[[Mapping[str, float], int], None] = _report_nowhere
    provenance: Mapping[str, str] = field(default_factory=dict)

    def new_directory(self) -> Path:
        """A path for a new folder on the project's file system, which an IO manager will move into place.

        Nothing is made yet, so a step that fails before it has a result leaves nothing behind.
        """
        scratch = self.project_dir / ".ftzard" / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`, whose folders only their owner may read: this one becomes part of the project's data.
        return scratch / uuid.uuid4().hex


@dataclass(frozen=True)
class StepResult(Generic[T_co]):
    """What an asset function made, and what is worth showing of it.

    Attributes:
        value: The asset's value.
        metadata: Shown in Dagster: text, numbers, Dagster metadata values, or small frames (as tables).
        metrics: Logged to MLflow and shown in Dagster.
        params: Logged to MLflow beside the configuration.
        figures: PNG bytes by title, logged to MLflow and shown in Dagster.
    """

    value: T_co
    metadata: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
