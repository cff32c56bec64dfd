"""The labels of a project: what is to be labelled, what people said, and what becomes of it.

Queues are what `label_queue` stored, one for each incoming file, and what `ftzard labels check` doubts. What people say
is kept as they say it, below `data/annotations/`; what the majority says goes into `data/labelled/annotations.csv`,
which `raw_data` reads as any other labelled batch. A filled-in queue that somebody puts there counts as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.annotation_store import append_annotations, check_annotator, read_annotations, write_whole
from ftzard.core.annotations import (
    ANNOTATION_SCHEMA,
    Agreement,
    Resolution,
    agreements,
    latest_annotations,
    resolve,
)
from ftzard.core.batch_folder import files_below
from ftzard.core.evaluation_report import Interval
from ftzard.core.forgetting import Forgetting, forgotten_folder, read_forgettings
from ftzard.core.label_answers import answers, read_answers
from ftzard.core.label_errors import STRATEGY, read_queue
from ftzard.core.label_files import (
    label_csv,
    label_studio_interface,
    label_studio_tasks,
    queued_rows,
    read_label_queues,
)
from ftzard.core.live_accuracy import LiveAccuracy, live_accuracy
from ftzard.core.reading import read_returned_labels
from ftzard.core.records import ASSETS_DIR, LabelQueue
from ftzard.core.returned_labels import LABEL_STUDIO_SUFFIX, is_label_file, read_label_csv, read_label_studio
from ftzard.errors import AnnotatorNameError, ConfigError, MalformedBatchError, OutputExistsError, StorageError
from ftzard.label_store import annotations_folder, doubtful_name, labels_locked, resolved_data, resolved_name

ExportFormat = Literal["csv", "label-studio"]

_QUEUES_DIR: Final = "label_queue"


@dataclass(frozen=True)
class LabelStatus:
    """Where the labelling of a project stands.

    Attributes:
        num_queues: Incoming files that have a queue, and that of doubtful labels where there is one.
        rows: One row for each strategy: `strategy`, `queued`, `labelled` and `open`, both arms together.
        num_control: Rows of the control arms, and how many of them are labelled.
        ties: As in `Resolution`: rows whose annotators disagree without a majority.
        contradicted: Text hashes of rows to which files in the folder for labelled data give several labels.
        live: Champion version -> how good it is on what comes in; only those with labelled control rows.
        agreements: For each two people who labelled the same rows.
        forgettings: What was taken out, oldest first; those rows are open again unless somebody else labelled them.
    """

    num_queues: int
    rows: pl.DataFrame
    num_control: tuple[int, int]
    ties: pl.DataFrame
    contradicted: tuple[str, ...]
    live: Mapping[str, LiveAccuracy]
    agreements: tuple[Agreement, ...]
    forgettings: tuple[Forgetting, ...]

    def lines(self) -> Iterator[str]:
        """The same for a person to read; nothing says which row is in which arm."""
        totals = self.rows.select(pl.col("queued", "labelled", "open").sum()).row(0)
        yield "{} row(s) of {} file(s) queued: {} labelled, {} open".format(totals[0], self.num_queues, *totals[1:])
        for strategy, queued, labelled, waiting in self.rows.iter_rows():
            yield f"  {strategy}: {queued} queued, {labelled} labelled, {waiting} open"
        yield f"  of them drawn at random: {self.num_control[0]} queued, {self.num_control[1]} labelled"
        for version, live in self.live.items():
            yield f"live accuracy of champion {version}: {_told(live.accuracy)} on {live.num_control} random row(s)"
            if live.label_f1 is not None:
                yield f"  of whole sets of labels; F1 of all their labels together: {_told(live.label_f1)}"
            if live.gain is not None:
                yield f"  errors found by choosing rows, beyond chance: {_told(live.gain)} a label"
        if not self.live:
            yield "live accuracy: not known before rows that were drawn at random are labelled"
        for one in self.agreements:
            kappa = "not defined" if one.kappa is None else f"{one.kappa:.2f}"
            first, second = one.annotators
            yield f"{first} and {second}: agree on {one.observed:.0%} of {one.num_rows} row(s), Cohen's kappa {kappa}"
        for text_hash, labels in self.ties.iter_rows():
            yield f"tie, stays open: {text_hash} ({' / '.join(labels)})"
        for text_hash in self.contradicted:
            yield f"label files contradict each other, stays open: {text_hash}"
        for forgetting in self.forgettings:
            yield forgetting.sentence


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


def label_status(project_dir: Path, config: FtzardConfig) -> LabelStatus:
    """Say where the labelling stands.

    Raises:
        FtzardError: A queue, an annotation or a label file cannot be read.
    """
    queues = _queues(project_dir, config)
    queued = queued_rows(queues)
    annotations = read_annotations(annotations_folder(project_dir, config))
    labels, contradicted = _known_labels(project_dir, config)
    is_labelled = pl.col("text_hash").is_in(labels["text_hash"].implode())
    rows = queued.group_by("strategy").agg(queued=pl.len(), labelled=is_labelled.sum(), open=(~is_labelled).sum())
    control = queued.filter(pl.col("arm") == "control")
    sidecars = [queue.sidecar for queue in queues.values()]
    versions = sorted(queued["champion_version"].unique(), key=lambda version: (len(version), version))
    live = {version: live_accuracy(sidecars, labels, version, config.data.task) for version in versions}
    return LabelStatus(
        num_queues=len(queues),
        rows=rows.sort("strategy"),
        num_control=(control.height, control.filter(is_labelled).height),
        ties=resolve(annotations).ties,
        contradicted=contradicted,
        live={version: measured for version, measured in live.items() if measured is not None},
        agreements=agreements(annotations),
        forgettings=read_forgettings(forgotten_folder(project_dir, config.versioning)),
    )


def export_open_rows(
    project_dir: Path, config: FtzardConfig, output: Path, export_format: ExportFormat = "csv"
) -> tuple[int, tuple[Path, ...]]:
    """Write all rows that wait for a label into one file, those of a queue together and in its order.

    Args:
        project_dir: The project folder.
        config: Says where things are.
        output: A file that does not exist yet.
        export_format: `csv`, or `label-studio`, which also writes the labelling interface beside it.

    Returns:
        The number of rows and the files; none where no row is open.

    Raises:
        ConfigError: The task has no labels to choose from.
        OutputExistsError: A file is there: somebody may have filled it in.
        FtzardError: A queue or a label file cannot be read.
    """
    _check_task(config)
    queues = _queues(project_dir, config)
    labels, _ = _known_labels(project_dir, config)
    rows = queued_rows(queues).join(labels, on="text_hash", how="anti", maintain_order="left")
    files = {output: label_csv(rows.drop("strategy"))}
    if export_format == "label-studio":
        takes_sets = config.data.task == "multi_label"
        interface = label_studio_interface(_label_set(queues.values(), config), takes_sets=takes_sets)
        files = {output: label_studio_tasks(rows), output.with_suffix(".xml"): interface}
    if rows.is_empty():
        return 0, ()
    for path in files:
        if path.exists():
            raise OutputExistsError(
                f"{path} exists, and somebody may have filled it in", fix="import or move it, or give another --output"
            )
    for path, data in files.items():
        write_whole(path, data, replace=False)
    return rows.height, tuple(files)


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
    _check_task(config)
    queues = _queues(project_dir, config)
    queued = queued_rows(queues)
    returned = _read_file(path, config, dict(queued.select("text_hash", "text").iter_rows()))
    labels = _label_set(queues.values(), config)
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


def _check_task(config: FtzardConfig) -> None:
    if not config.data.has_labels:
        raise ConfigError(
            f"data.task is {config.data.task!r}: people are asked for labels only where it is 'classification' or "
            "'multi_label'",
            fix="put files with prompts and answers into data.labelled_dir; `ftzard labels forget --batch` takes one "
            "out again",
        )


def _told(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _queues(project_dir: Path, config: FtzardConfig) -> dict[str, LabelQueue]:
    queues = read_label_queues(project_dir / config.versioning.data_dir / ASSETS_DIR / _QUEUES_DIR)
    doubtful = read_queue(project_dir / doubtful_name(config))
    return queues if doubtful is None else {**queues, STRATEGY: doubtful}


def _label_set(queues: Iterable[LabelQueue], config: FtzardConfig) -> tuple[str, ...]:
    """The labels that may be given: those configured, otherwise those that the champions of the queues tell apart."""
    return config.data.labels or tuple(dict.fromkeys(label for queue in queues for label in queue.labels))


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


def _known_labels(project_dir: Path, config: FtzardConfig) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """What all label files in the folder for labelled data say: `text_hash` and `label`; and where they disagree."""
    found = [pl.DataFrame(schema={"text_hash": pl.String, "label": pl.String})]
    for path in sorted(files_below(project_dir, config.data.labelled_dir)):
        returned = read_returned_labels(path.read_bytes(), path.relative_to(project_dir).as_posix(), config.data)
        if returned is not None:
            found.append(returned.rows.drop_nulls("label").select("text_hash", "label"))
    labels = read_answers(pl.concat(found), config.data.labels, config.data)[0].unique()
    is_contradicted = pl.len().over("text_hash") > 1
    contradicted = labels.filter(is_contradicted)["text_hash"].unique().sort()
    return labels.filter(~is_contradicted).sort("text_hash"), tuple(contradicted)


def _write_resolved(resolution: Resolution, project_dir: Path, config: FtzardConfig) -> None:
    """Bring the file that `raw_data` reads along, also after an import that was killed half-way."""
    path, data = project_dir / resolved_name(config), resolved_data(resolution)
    if data is None:
        path.unlink(missing_ok=True)
    # An unchanged file is not touched, so that nobody takes it for news.
    elif not path.exists() or path.read_bytes() != data:
        write_whole(path, data, replace=True)
