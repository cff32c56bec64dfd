"""What an asset function takes and returns: plain values, so that a test can call it."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ftzard.config import FtzardConfig
from ftzard.core.child_run import OpenChild, untracked
from ftzard.core.forgetting import Forgetting, ForgottenLabels, forgotten_folder, read_forgettings
from ftzard.core.frozen_test import FrozenTest, read_frozen, write_frozen
from ftzard.core.intake import STAGING_DIR
from ftzard.core.records import Splits
from ftzard.core.training_job import Trainer, train_here
from ftzard.core.versions import AssetValue
from ftzard.resources.serving_records import ServingRecords

if TYPE_CHECKING:
    from ftzard.resources.registry import AdapterRegistry

T_co = TypeVar("T_co", bound=AssetValue, covariant=True)


def _report_nowhere(metrics: Mapping[str, float], step: int) -> None:
    """Nobody is watching a function that was called directly."""


def scratch_dir(project_dir: Path) -> Path:
    """Where steps make what is then moved into place; a folder for each Dagster run."""
    return project_dir / ".ftzard" / "scratch"


@dataclass(frozen=True)
class Step:
    """One execution of an asset function.

    Attributes:
        config: The composed configuration.
        project_dir: The project folder.
        report: Takes metrics at a training step, while they happen.
        provenance: What the product should say of its origin, such as the data commit it was made from.
        open_child: Opens a run of its own, named as given, for a part of the step; it ends FINISHED, FAILED where the
            block raises, KILLED where it is interrupted.
        registry: Where adapters are registered; None where the function was called directly without one.
        run_id: The MLflow run of this execution; empty where the function was called directly.
        previous_version: The data version that the asset has had until now; None where there is none.
        serving: What was predicted for incoming files and put to people; None where the function was called directly.
        partition_key: The partition that is made; None for an asset without partitions.
        dagster_run_id: The Dagster run; `direct` where the function was called directly.
        train: Runs a training, where the section `launcher` says; in this process where the function was called
            directly.
        frozen_path: Where the frozen test split is kept; None where the function was called directly, which then
            neither reads nor freezes one.
        committed_splits: Reads the splits that a product's provenance names from their data commit; None where the
            function was called directly, with splits that it was made from.
    """

    config: FtzardConfig
    project_dir: Path
    report: Callable[[Mapping[str, float], int], None] = _report_nowhere
    provenance: Mapping[str, str] = field(default_factory=dict)
    open_child: OpenChild = untracked
    registry: "AdapterRegistry | None" = None
    run_id: str = ""
    previous_version: str | None = None
    serving: ServingRecords | None = None
    partition_key: str | None = None
    dagster_run_id: str = "direct"
    train: Trainer = train_here
    frozen_path: Path | None = None
    committed_splits: Callable[[Mapping[str, str]], Splits] | None = None

    @property
    def staging_dir(self) -> Path:
        """Where the copies of incoming files lie until they are done with."""
        return self.project_dir / STAGING_DIR

    @property
    def forgettings(self) -> tuple[Forgetting, ...]:
        """What was ever taken out of the project's labels, oldest first.

        Raises:
            StorageError: A record of it cannot be read.
        """
        return read_forgettings(forgotten_folder(self.project_dir, self.config.versioning))

    def forgotten_labels(self, splits: Splits) -> ForgottenLabels:
        """The same beside what is labelled now."""
        return ForgottenLabels(self.forgettings, splits.labelled["text_hash"])

    def frozen_test(self) -> FrozenTest | None:
        """The frozen test split; None where there is none, or where it is configured to grow.

        Raises:
            StorageError: Its file is damaged.
        """
        is_frozen = self.config.data.test_split == "frozen"
        return read_frozen(self.frozen_path) if is_frozen and self.frozen_path else None

    def freeze_test(self, frozen: FrozenTest) -> None:
        """Keep it with the data, for the data commit of the step; nowhere where the function was called directly."""
        if self.frozen_path:
            write_frozen(self.frozen_path, frozen)

    def new_directory(self) -> Path:
        """A path for a new folder on the project's file system, which an IO manager will move into place.

        Nothing is made yet, so a step that fails before it has a result leaves nothing behind. What a killed one leaves
        is removed by the next, which knows by the folder's name that its run is over.
        """
        scratch = scratch_dir(self.project_dir) / self.dagster_run_id
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
        texts: Text files by path, logged to MLflow.
        tags: Set on the MLflow run.
        data_version: Stands for the value where its content does not; None: the content's hash.
    """

    value: T_co
    metadata: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data_version: str | None = None
