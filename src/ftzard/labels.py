"""The labels of a project: what is to be labelled, and where that stands.

Queues are what `label_queue` stored, one for each incoming file, and what `ftzard labels check` doubts. What people say
is kept as they say it, below `data/annotations/`; what the majority says goes into `data/labelled/annotations.csv`,
which `raw_data` reads as any other labelled batch. A filled-in queue that somebody puts there counts as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.annotation_store import read_annotations, write_whole
from ftzard.core.annotations import (
    Agreement,
    agreements,
    resolve,
)
from ftzard.core.batch_folder import files_below
from ftzard.core.evaluation_report import Interval
from ftzard.core.forgetting import Forgetting, forgotten_folder, read_forgettings
from ftzard.core.label_answers import read_answers
from ftzard.core.label_files import (
    label_csv,
    label_studio_interface,
    label_studio_tasks,
    queued_rows,
)
from ftzard.core.live_accuracy import LiveAccuracy, live_accuracy
from ftzard.core.reading import read_returned_labels
from ftzard.core.visible_text import visible
from ftzard.errors import OutputExistsError
from ftzard.label_store import annotations_folder, check_asks_for_labels, label_set, stored_queues

ExportFormat = Literal["csv", "label-studio"]


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
            yield f"tie, stays open: {text_hash} ({visible(' / '.join(labels))})"
        for text_hash in self.contradicted:
            yield f"label files contradict each other, stays open: {text_hash}"
        for forgetting in self.forgettings:
            yield forgetting.sentence


def label_status(project_dir: Path, config: FtzardConfig) -> LabelStatus:
    """Say where the labelling stands.

    Raises:
        FtzardError: A queue, an annotation or a label file cannot be read.
    """
    queues = stored_queues(project_dir, config)
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
    check_asks_for_labels(config)
    queues = stored_queues(project_dir, config)
    labels, _ = _known_labels(project_dir, config)
    rows = queued_rows(queues).join(labels, on="text_hash", how="anti", maintain_order="left")
    files = {output: label_csv(rows.drop("strategy"))}
    if export_format == "label-studio":
        takes_sets = config.data.task == "multi_label"
        interface = label_studio_interface(label_set(queues.values(), config), takes_sets=takes_sets)
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


def _told(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


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
