"""Where a project keeps what people say, and who may change it when."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from ftzard.config import FtzardConfig
from ftzard.core.annotations import Resolution
from ftzard.core.label_files import label_csv
from ftzard.resources.file_changes import finish_file_changes
from ftzard.resources.versioning import DvcRepository

_ANNOTATIONS_DIR: Final = "annotations"
_RESOLVED_NAME: Final = "annotations.csv"
_DOUBTFUL_NAME: Final = "label_errors/queue.ndjson"


def annotations_folder(project_dir: Path, config: FtzardConfig) -> Path:
    """Where what each person says is kept; it need not exist."""
    return project_dir / config.versioning.data_dir / _ANNOTATIONS_DIR


def doubtful_name(config: FtzardConfig) -> str:
    """The file with the examples whose label is to be looked at again, relative to the project folder."""
    return f"{config.versioning.data_dir}/{_DOUBTFUL_NAME}"


def resolved_name(config: FtzardConfig) -> str:
    """The file with what the majority says, relative to the project folder; `raw_data` reads it as any other batch."""
    return f"{config.data.labelled_dir}/{_RESOLVED_NAME}"


def resolved_data(resolution: Resolution) -> bytes | None:
    """What stands in that file; None where there is to be none."""
    return None if resolution.labels.is_empty() else label_csv(resolution.labels)


@contextmanager
def labels_locked(project_dir: Path, config: FtzardConfig) -> Iterator[None]:
    """One change at a time: each writes the majority of all. What a killed process began is finished first.

    Raises:
        FtzardError: As `finish_file_changes`.
    """
    folder = project_dir / ".ftzard"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "labels.lock"):
        finish_file_changes(DvcRepository(project_dir, config.versioning))
        yield
