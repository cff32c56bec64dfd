"""Looking for wrong labels in a project, and putting them to people: the labels themselves stay as they are."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.doubted_labels import doubted_labels
from ftzard.core.label_errors import find_label_errors, write_queue
from ftzard.core.reading import read_batches
from ftzard.core.set_label_errors import find_set_label_errors
from ftzard.errors import ConfigError
from ftzard.label_store import doubtful_name, labels_locked
from ftzard.resources.file_changes import FileChanges, commit_file_changes
from ftzard.resources.versioning import DvcRepository

_FINDERS = {"classification": find_label_errors, "multi_label": find_set_label_errors}


@dataclass(frozen=True)
class LabelCheck:
    """What a look at the labels came to.

    Attributes:
        num_examples: How many were judged.
        doubted: `DOUBTED_SCHEMA`: which label of which row is doubted, the most doubtful first.
        file: The queue, relative to the project folder.
        commit_id: The data commit with it; None where it holds what it held before.
    """

    num_examples: int
    doubted: pl.DataFrame
    file: str
    commit_id: str | None


def check_labels(project_dir: Path, config: FtzardConfig, *, max_rows: int) -> LabelCheck:
    """Queue the labelled examples whose label is probably wrong, instead of those that were queued so before.

    `ftzard labels export` then has those of them that nobody has labelled in the folder for labelled data.

    Args:
        project_dir: The project folder.
        config: Says where things are and how texts are cleaned.
        max_rows: How many to queue at most.

    Raises:
        ConfigError: The task has no labels.
        MissingPackageError: `cleanlab` is not installed.
        FtzardError: What there is cannot be read or cleaned, is too little, or DVC or git refuses; nothing has changed.
    """
    find = _FINDERS.get(config.data.task)
    if find is None:
        raise ConfigError(
            f"data.task is {config.data.task!r}, and its answers are no labels",
            fix="look for wrong labels where data.task is 'classification' or 'multi_label'",
        )
    repository = DvcRepository(project_dir, config.versioning)
    repository.check()
    with labels_locked(project_dir, config):
        examples = clean(read_batches(project_dir, config.data).examples, config.data).examples
        labels = labels_of(examples, config.data)
        queue = find(examples, labels, seed=config.labelling.seed, max_rows=max_rows)
        name, text = doubtful_name(config), write_queue(queue)
        message = f"data: queue {queue.rows.height} example(s) with a doubtful label"
        path = project_dir / name
        is_new = not path.exists() or path.read_bytes() != text.encode()
        changes = FileChanges({name: text}, (), message)
        commit_id = commit_file_changes(repository, changes).commit_id if is_new else None
    return LabelCheck(examples.height, doubted_labels(queue, examples), name, commit_id)
