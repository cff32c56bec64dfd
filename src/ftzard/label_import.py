"""Labels that people gave, taken in from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.annotation_store import append_annotations, check_annotator, read_annotations, write_whole
from ftzard.core.annotations import ANNOTATION_SCHEMA, Resolution, latest_annotations, resolve
from ftzard.core.label_answers import answers
from ftzard.core.label_files import queued_rows
from ftzard.core.returned_labels import LABEL_STUDIO_SUFFIX, is_label_file, read_label_csv, read_label_studio
from ftzard.errors import AnnotatorNameError, MalformedBatchError, StorageError
from ftzard.label_store import (
    annotations_folder,
    check_asks_for_labels,
    label_set,
    labels_locked,
    resolved_data,
    resolved_name,
    stored_queues,
)


@dataclass(frozen=True)
class LabelImport:
    """What an import changed.

    Attributes:
        annotators: Who gave the labels, sorted.
        num_new: Labels of people for rows that they labelled for the first time.
        num_corrected: Those for rows that they labelled otherwise before.
        num_unchanged: Those for rows that they labelled just so before.
        num_empty: Rows without a label of anybody.
        resolution: What all annotations of the project now come to.
    """

    annotators: tuple[str, ...]
    num_new: int
    num_corrected: int
    num_unchanged: int
    num_empty: int
    resolution: Resolution


def import_labels(
    project_dir: Path, config: FtzardConfig, path: Path, annotator: str | None, *, now: datetime | None = None
) -> LabelImport:
    """Take in what people said, all of the file or nothing.

    The same file again changes nothing; another label for a row that a person labelled before corrects them.

    Args:
        project_dir: The project folder.
        config: Says where things are and which labels there are.
        path: A filled-in queue or export (CSV), or Label Studio's export (JSON), wherever it lies.
        annotator: Who filled it in; None: those whom Label Studio's export names, each with their own labels.
        now: When; the current time by default.

    Raises:
        ConfigError: The task has no labels to choose from.
        AnnotatorNameError: A name cannot be part of a file's name, or a label is nobody's.
        ConflictingLabelsError: One person gives a row several labels.
        UnknownLabelError: A label is none of the project's.
        UnknownRowError: A row is in no queue.
        FtzardError: The file, a queue or an annotation cannot be read.
    """
    check_asks_for_labels(config)
    queues = stored_queues(project_dir, config)
    queued = queued_rows(queues)
    returned = _read_file(path, config, dict(queued.select("text_hash", "text").iter_rows()))
    labels = label_set(queues.values(), config)
    given = _by_person(returned.drop_nulls("label"), path.name, annotator)
    said = {person: answers(rows, path.name, labels, config.data) for person, rows in given.items()}
    with labels_locked(project_dir, config):
        folder = annotations_folder(project_dir, config)
        before = read_annotations(folder)
        changed = {person: _changed(rows, before, person) for person, rows in said.items()}
        at = now or datetime.now(UTC)
        new = {person: _annotations(rows, queued, person, at) for person, rows in changed.items()}
        for person, rows in new.items():
            if rows.height:
                append_annotations(folder, rows, person, at)
        resolution = resolve(pl.concat([before, *new.values()]))
        _write_resolved(resolution, project_dir, config)
    num_changed = sum(rows.height for rows in changed.values())
    num_corrected = sum(rows["before"].count() for rows in changed.values())
    labelled = {text_hash for rows in said.values() for text_hash in rows["text_hash"]}
    return LabelImport(
        annotators=tuple(said),
        num_new=num_changed - num_corrected,
        num_corrected=num_corrected,
        num_unchanged=sum(rows.height for rows in said.values()) - num_changed,
        num_empty=len({*returned["text_hash"]} - labelled),
        resolution=resolution,
    )


def _by_person(given: pl.DataFrame, name: str, annotator: str | None) -> dict[str, pl.DataFrame]:
    """The labels of each person, sorted by their names.

    Raises:
        AnnotatorNameError: A label is nobody's, or a name cannot be part of a file's name.
    """
    if annotator is not None:
        check_annotator(annotator)
        return {annotator: given}
    nameless = given.filter(pl.col("annotator").is_null())
    if nameless.height:
        raise AnnotatorNameError(
            f"{name} does not say who gave {nameless.height} of its labels (row {nameless['row'][0]} first)",
            fix="say who did with --annotator",
        )
    people = {str(person): rows for (person,), rows in given.partition_by("annotator", as_dict=True).items()}
    for person in people:
        check_annotator(person)
    return dict(sorted(people.items()))


def _read_file(path: Path, config: FtzardConfig, texts: Mapping[str, str]) -> pl.DataFrame:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror}", fix="look at the file and its permissions"
        ) from error
    if path.suffix.lower() == LABEL_STUDIO_SUFFIX:
        return read_label_studio(data, path.name, config.data, texts).rows
    if is_label_file(data):
        return read_label_csv(data, path.name, config.data, texts).rows
    raise MalformedBatchError(
        f"{path.name} has no column with the ids of a label queue in its first row",
        fix="give a file that `ftzard labels export` or `label_queue` wrote, with its columns, or Label Studio's JSON",
    )


def _changed(said: pl.DataFrame, annotations: pl.DataFrame, annotator: str) -> pl.DataFrame:
    """What a person says otherwise than before or for the first time; `before` is the label of before, or null."""
    own = latest_annotations(annotations.filter(pl.col("annotator") == annotator)).select("text_hash", before="label")
    compared = said.join(own, on="text_hash", how="left", maintain_order="left")
    return compared.filter(pl.col("before").ne_missing(pl.col("label")))


def _annotations(changed: pl.DataFrame, queued: pl.DataFrame, annotator: str, at: datetime) -> pl.DataFrame:
    rows = changed.select("text_hash", "label").join(queued, on="text_hash", maintain_order="left")
    rows = rows.with_columns(annotator=pl.lit(annotator), annotated_at=pl.lit(at.astimezone(UTC)))
    return rows.select(ANNOTATION_SCHEMA.names()).cast(ANNOTATION_SCHEMA)


def _write_resolved(resolution: Resolution, project_dir: Path, config: FtzardConfig) -> None:
    """Bring the file that `raw_data` reads along, also after an import that was killed half-way."""
    path, data = project_dir / resolved_name(config), resolved_data(resolution)
    if data is None:
        path.unlink(missing_ok=True)
    # An unchanged file is not touched, so that nobody takes it for news.
    elif not path.exists() or path.read_bytes() != data:
        write_whole(path, data, replace=True)
