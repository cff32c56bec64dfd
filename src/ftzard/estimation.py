"""What a project's next training would take: its configuration, its splits and its earlier trainings put together."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.cleaning import labels_of
from ftzard.core.records import ASSETS_DIR
from ftzard.resources.committed_splits import read_splits
from ftzard.resources.tracking import Tracking

if TYPE_CHECKING:
    from ftzard.core.estimate import Estimate

# Where neither data nor configuration names the labels; how many there are hardly matters.
_SOME_LABELS = ("negative", "positive")


def estimate_project(project_dir: Path, overrides: Sequence[str] = ()) -> tuple["Estimate", FtzardConfig]:
    """Estimate a training on all training examples, where there are splits already.

    Args:
        project_dir: The project folder; nothing in it changes.
        overrides: In Hydra's grammar.

    Returns:
        The estimate, and the configuration that it is for.

    Raises:
        ConfigError: The configuration is invalid.
        StorageError: The splits cannot be read.
        TrackingError: The store cannot be reached or refuses.
        FtzardError: As `ftzard.core.estimate.estimate`.
    """
    from ftzard.core.estimate import estimate, learned_efficiency

    config = compose(overrides, project_dir=project_dir)
    path = project_dir / config.versioning.data_dir / ASSETS_DIR / "splits"
    splits = read_splits(path) if path.is_dir() else None
    labels = labels_of(splits.train, config.data) if splits else config.data.labels or _SOME_LABELS
    tracking = Tracking(config.tracking, project_dir)
    store = tracking.store_file
    # Looking must not make a store.
    is_empty = store is not None and not store.exists()
    metrics, params = ({}, {}) if is_empty else tracking.last_run(("TRAINING", "RETRAINING"))
    return estimate(config, splits, labels, learned_efficiency(metrics, params, config)), config
