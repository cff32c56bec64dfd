"""Where a project keeps what people are asked and what they say, and who may change it when."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from ftzard.config import FtzardConfig
from ftzard.core.annotations import Resolution
from ftzard.core.label_errors import STRATEGY, read_queue
from ftzard.core.label_files import label_csv, read_label_queues
from ftzard.core.records import ASSETS_DIR, LabelQueue
from ftzard.errors import ConfigError
from ftzard.resources.file_changes import finish_file_changes
from ftzard.resources.versioning import DvcRepository

_QUEUES_DIR: Final = "label_queue"
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


def check_asks_for_labels(config: FtzardConfig) -> None:
    """Check that the task is one whose rows people give labels to.

    Raises:
        ConfigError: It is not.
    """
    if not config.data.has_labels:
        raise ConfigError(
            f"data.task is {config.data.task!r}: people are asked for labels only where it is 'classification' or "
            "'multi_label'",
            fix="put files with prompts and answers into data.labelled_dir; `ftzard labels forget --batch` takes one "
            "out again",
        )


def stored_queues(project_dir: Path, config: FtzardConfig) -> dict[str, LabelQueue]:
    """The queues of incoming files by their keys, and that of doubtful labels by its strategy.

    Raises:
        FtzardError: One cannot be read.
    """
    queues = read_label_queues(project_dir / config.versioning.data_dir / ASSETS_DIR / _QUEUES_DIR)
    doubtful = read_queue(project_dir / doubtful_name(config))
    return queues if doubtful is None else {**queues, STRATEGY: doubtful}


def label_set(queues: Iterable[LabelQueue], config: FtzardConfig) -> tuple[str, ...]:
    """The labels that may be given: those configured, otherwise those that the champions of the queues tell apart."""
    return config.data.labels or tuple(dict.fromkeys(label for queue in queues for label in queue.labels))


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
