"""Taking labels out of a project: what one person said, or a file of labelled rows.

The files go from the data folder by one data commit; where people labelled the same rows, the others decide anew. A
list of names to be passed over would leave the labels in the data and every reader to remember it; without the files,
whatever reads labels follows, and what the same person says later counts again. Who took out what, when and why stays
as a record (`ftzard.core.forgetting`), by which the retrain decision knows what the champion was trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.annotation_store import read_annotation_files
from ftzard.core.annotations import ANNOTATION_SCHEMA, latest_annotations, resolve
from ftzard.core.batch_formats import PARSED_SCHEMA
from ftzard.core.cleaning_answers import clean_for_task
from ftzard.core.forgetting import Forgetting, forgotten_folder
from ftzard.core.frozen_test import frozen_path, read_frozen
from ftzard.core.reading import read_batches, read_returned_labels
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.splitting import split
from ftzard.errors import NoExamplesError, SingleClassError, StorageError, TooFewExamplesError, UnknownSourceError
from ftzard.label_store import annotations_folder, labels_locked, resolved_data, resolved_name
from ftzard.references import matching_names
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.file_changes import FileChanges, commit_file_changes
from ftzard.resources.git import person
from ftzard.resources.versioning import DvcRepository

Kind = Literal["annotator", "batch"]


@dataclass(frozen=True)
class ForgottenSource:
    """What was taken out, and what is left.

    Attributes:
        record: What stays in the data.
        commit: The data commit without the labels.
        files: Those that are gone or were written anew, relative to the project folder.
        num_examples: Cleaned examples of before and after.
        shortage: What is missing in what is left, so that it cannot be split; None where it can.
    """

    record: Forgetting
    commit: DataCommit
    files: tuple[str, ...]
    num_examples: tuple[int, int]
    shortage: str | None


@dataclass(frozen=True, eq=False)
class _Removal:
    """How a source is taken out.

    Attributes:
        name: Of the source.
        num_labels: How many labels are gone.
        written: Path relative to the project -> content.
        removed: Paths likewise.
        rows: `RAW_SCHEMA`; what `raw_data` will read.
    """

    name: str
    num_labels: int
    written: Mapping[str, str]
    removed: tuple[str, ...]
    rows: pl.DataFrame


def forget_labels(
    project_dir: Path, config: FtzardConfig, kind: Kind, name: str, *, why: str = "", now: datetime | None = None
) -> ForgottenSource:
    """Take labels out by one data commit, all of it or nothing.

    Args:
        project_dir: The project folder.
        config: Says where things are.
        kind: Whether `name` is an annotator or a file of labelled rows.
        name: The annotator's name, or the file's path, or just its name where only one file is called so.
        why: The reason, which is kept.
        now: When; the current time by default.

    Raises:
        UnknownSourceError: There is no such annotator or file.
        NoExamplesError: Nothing to train on would be left.
        FtzardError: What there is cannot be read, or DVC or git refuses; nothing has changed.
    """
    repository = DvcRepository(project_dir, config.versioning)
    repository.check()
    with labels_locked(project_dir, config):
        # Also of copies, which are read once what they repeat is gone.
        rows = read_batches(project_dir, config.data, each_content_once=False).examples
        take_out = _annotator if kind == "annotator" else _batch
        removal = take_out(project_dir, config, name, rows)
        before, after = clean_for_task(rows, config.data).examples, _examples_left(removal, kind, config.data)
        changed = before.join(after, on=["text_hash", "label"], how="anti")["text_hash"].unique().sort()
        at, by = (now or datetime.now(UTC)).astimezone(UTC), person(project_dir)
        record = Forgetting(at, kind, removal.name, removal.num_labels, tuple(changed), by, " ".join(why.split()))
        path = forgotten_folder(project_dir, config.versioning) / record.file_name
        written = {path.relative_to(project_dir).as_posix(): record.to_json(), **removal.written}
        commit = commit_file_changes(repository, FileChanges(written, removal.removed, _message(record)))
    files, heights = (*removal.removed, *removal.written), (before.height, after.height)
    return ForgottenSource(record, commit, files, heights, _shortage(after, config, project_dir))


def _annotator(project_dir: Path, config: FtzardConfig, name: str, rows: pl.DataFrame) -> _Removal:
    files = read_annotation_files(annotations_folder(project_dir, config))
    said = pl.concat([ANNOTATION_SCHEMA.to_frame(), *files.values()])
    own = {path: frame for path, frame in files.items() if name in frame["annotator"]}
    if not own:
        known = ", ".join(sorted(said["annotator"].unique())) or "nobody yet"
        raise UnknownSourceError(
            f"no annotation of the project is from {name!r}", fix=f"name one of those who gave some: {known}"
        )
    if mixed := [path for path, frame in own.items() if frame["annotator"].n_unique() > 1]:
        raise StorageError(
            f"{mixed[0]} holds what several people said, and no import writes such a file",
            fix="restore the file with `dvc checkout`, or split it by annotator",
        )
    data = resolved_data(resolve(said.filter(pl.col("annotator") != name)))
    target = resolved_name(config)
    rest = [rows.filter(pl.col("batch") != target)]
    removed = [path.relative_to(project_dir).as_posix() for path in own]
    if data is not None:
        rest.append(_rows_of(data, target, config.data))
    elif (project_dir / target).exists():
        removed.append(target)
    num_labels = latest_annotations(pl.concat(own.values())).height
    written = {} if data is None else {target: data.decode()}
    return _Removal(name, num_labels, written, tuple(removed), pl.concat(rest, how="diagonal"))


def _rows_of(data: bytes, name: str, config: DataConfig) -> pl.DataFrame:
    """The rows that `raw_data` will read from the file of the majority."""
    returned = read_returned_labels(data, name, config)
    parsed = returned.rows.select(PARSED_SCHEMA.names()) if returned else PARSED_SCHEMA.to_frame()
    return parsed.with_columns(batch=pl.lit(name)).select(RAW_SCHEMA.names())


def _batch(project_dir: Path, config: FtzardConfig, name: str, rows: pl.DataFrame) -> _Removal:
    batch = _find_batch(project_dir, name, rows["batch"].unique().sort().to_list())
    if batch == resolved_name(config):
        raise UnknownSourceError(
            f"{batch} is what the majority of the annotators says, and each import writes it anew",
            fix="take out what one of them said: `ftzard labels forget --annotator NAME`",
        )
    is_gone = pl.col("batch") == batch
    num_labels = rows.filter(is_gone & (pl.col("label").str.strip_chars() != "")).height
    return _Removal(batch, num_labels, {}, (batch,), rows.filter(~is_gone))


def _find_batch(project_dir: Path, name: str, batches: list[str]) -> str:
    found = matching_names(project_dir, name, batches)
    if len(found) != 1:
        raise UnknownSourceError(
            f"{len(found) or 'no'} file(s) with labelled rows are called {name!r}",
            fix=f"name one of {', '.join(found or batches)}",
        )
    return found[0]


def _examples_left(removal: _Removal, kind: Kind, config: DataConfig) -> pl.DataFrame:
    try:
        return clean_for_task(removal.rows, config).examples
    except (NoExamplesError, SingleClassError, TooFewExamplesError) as error:
        raise NoExamplesError(
            f"without the {kind} {removal.name} there would be nothing left to train on: {error.what}",
            fix="put other labelled data into the project first; nothing has changed",
        ) from error


def _shortage(examples: pl.DataFrame, config: FtzardConfig, project_dir: Path) -> str | None:
    """Too few to be split is no reason to keep what somebody wants out; they are told."""
    is_frozen = config.data.test_split == "frozen"
    frozen = read_frozen(frozen_path(project_dir, config.versioning)) if is_frozen else None
    try:
        split(examples, config.data, frozen.rows if frozen else None)
    except TooFewExamplesError as error:
        return error.what
    return None


def _message(record: Forgetting) -> str:
    """Subject: what is gone; body: who took it out and why."""
    lines = [
        f"data: forget {record.num_labels} label(s) of the {record.kind} {record.name}",
        "",
        *([record.why, ""] if record.why else []),
        f"Forgotten-By: {record.by}",
        f"Changed-Examples: {len(record.text_hashes)}",
    ]
    return "\n".join(lines) + "\n"
