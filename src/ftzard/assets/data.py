"""From labelled files to train, validation and test examples."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.batch_order import newest_first
from ftzard.core.cleaning import UNKNOWN_LABEL
from ftzard.core.cleaning_answers import answer_lengths, clean_for_task
from ftzard.core.cleaning_questions import question_lengths
from ftzard.core.cleaning_report import (
    changes_document,
    changes_table,
    examples_table,
    find_conflicts,
    first_conflicts,
)
from ftzard.core.data_drift import BatchDrift, batch_drifts, drift_metrics, drift_table
from ftzard.core.frozen_test import FrozenTest
from ftzard.core.label_names import label_counts, num_without_label
from ftzard.core.leakage import quarantined_examples
from ftzard.core.reading import read_batches, sources_table
from ftzard.core.records import Cleaned, Raw, Splits
from ftzard.core.splitting import shortage, split, split_first, stratification_error, test_fingerprint
from ftzard.core.step_registry import registered_version, steps_version
from ftzard.core.versions import batches_version

if TYPE_CHECKING:
    from ftzard.config import DataConfig
    from ftzard.core.text_normalisation import StepChanges

_logger = logging.getLogger(__name__)

_GROUP = "data"
_NUM_EXAMPLES = 5
_NO_LABEL = "(no label)"


def _batch_files(step: Step) -> str:
    """The version of what lies in the data folders, so that a new or changed file makes `raw_data` stale."""
    return batches_version(step.project_dir, step.config.data)


@tracked_asset(
    "DATA_INGESTION",
    group=_GROUP,
    kinds={"polars", "parquet", "dvc"},
    io="record",
    sections=("data",),
    outside_version=_batch_files,
    after=("labelled_batches",),
    code_version="2",
)
def raw_data(step: Step) -> StepResult[Raw]:
    """All labelled batches found in the project's data folders, as read.

    One row per record, with text and label as the file has them, the batch file and the line. How each file was read
    (encoding, delimiter, checksum) is in the metadata. Rows that cannot be read are kept beside the others with the
    reason, the column and what stands there.
    """
    raw = read_batches(step.project_dir, step.config.data)
    reasons = _reasons(raw.quarantined)
    shown = {"quarantined": reasons, "quarantined_examples": raw.quarantined.head(_NUM_EXAMPLES)}
    return StepResult(
        value=Raw(raw.examples, raw.quarantined),
        metadata={"batches": sources_table(raw.sources), **({} if reasons.is_empty() else shown)},
        metrics={
            "num_batches": len(raw.sources),
            "num_rows": raw.examples.height,
            "num_quarantined": raw.quarantined.height,
            **{f"num_quarantined_{reason}": rows for reason, rows in reasons.iter_rows()},
        },
        params={f"batch.{source.name}": source.summary for source in raw.sources},
    )


def cleaning_code(step: Step) -> str:
    """The version of the cleaning steps that other code registered, so that a changed function cleans anew."""
    return steps_version(step.config.data.cleaning_steps)


@tracked_asset(
    "DATA_CLEANING",
    group=_GROUP,
    kinds={"polars", "parquet", "dvc"},
    io="record",
    sections=("data",),
    outside_version=cleaning_code,
    registered_version=registered_version,
    code_version="3",
)
def cleaned(raw_data: Raw, step: Step) -> StepResult[Cleaned]:
    """Normalised text and label of each distinct example.

    Exact duplicates are taken out, as are texts with conflicting labels unless `data.conflicting_labels` keeps some,
    and rows whose label is unknown; every row that did not become an example is kept beside it with a reason. For
    generation the text is the prompt and the label its completion, for preference the pair of answers.
    """
    from ftzard.core.figures import length_histogram

    changes: list[StepChanges] = []
    value = clean_for_task(raw_data.examples, step.config.data, changes.extend)
    conflicts = find_conflicts(value, step.config.data)
    reasons = _reasons(value.rejected)
    unknown = value.rejected.filter(reason=UNKNOWN_LABEL).select("batch", "row", "label", "text").head(_NUM_EXAMPLES)
    return StepResult(
        value=value,
        metadata={
            "rejected": reasons,
            "cleaning_steps": ", ".join(step.config.data.cleaning_steps),
            "rows_changed": changes_table(changes),
            "rows_changed_for_example": examples_table(changes),
            **({} if conflicts.is_empty() else {"conflicting_labels": first_conflicts(conflicts)}),
            **({} if unknown.is_empty() else {"unknown_labels": unknown}),
        },
        metrics={
            "num_examples": value.examples.height,
            "num_rejected": value.rejected.height,
            "num_conflicting_texts": conflicts.height,
            **{f"num_rejected_{reason}": rows for reason, rows in reasons.iter_rows()},
            **{f"num_changed_{change.name}": change.num_rows for change in changes},
        },
        texts={
            "cleaning/changes.json": changes_document(changes),
            "cleaning/conflicts.ndjson": conflicts.write_ndjson(),
        },
        figures={
            **_label_figures({"cleaned": value.examples}, step),
            "text length": length_histogram(
                question_lengths(value.examples["text"], step.config.data).to_list(), unit="characters"
            ),
        },
    )


def _refreezes(step: Step) -> str:
    """What a person decided about the test split since its first use makes `splits` stale."""
    frozen = step.frozen_test()
    return frozen.refreeze_version if frozen else ""


@tracked_asset(
    "DATA_PROCESSING",
    group=_GROUP,
    kinds={"polars", "parquet", "dvc"},
    io="record",
    sections=("data",),
    outside_version=_refreezes,
    code_version="4",
)
def splits(cleaned: Cleaned, step: Step) -> StepResult[Splits]:
    """Train, validation and test examples: disjoint by content, exactly and nearly, and stable when rows are added.

    Which split follows from a hash of the text; texts that are near each other stay together. The test split is frozen
    at its first use: what later comes near it is quarantined, and what is drawn for it waits for `ftzard splits
    refreeze`. Quarantined examples are kept beside the splits with the reason.
    """
    examples, config = cleaned.examples, step.config.data
    frozen = step.frozen_test()
    if frozen is None and config.test_split == "frozen":
        value, test = split_first(examples, config)
        if told := shortage(value, config):
            _logger.warning("%s", told)
        frozen = FrozenTest.first(test)
        # Only now, because nothing is frozen that cannot be trained and scored on.
        step.freeze_test(frozen)
    else:
        value = split(examples, config, frozen.rows if frozen else None)
    reasons = _reasons(value.quarantined)
    num_gone = frozen.rows.join(examples, on="text_hash", how="anti").height if frozen else 0
    drifts = _drifts(examples, value, step)
    table = drift_table(drifts)
    return StepResult(
        value=value,
        metadata={
            **({"drift": table} if drifts else {}),
            "test_fingerprint": test_fingerprint(value.test),
            "test_split": frozen.current.sentence if frozen else "growing",
            "quarantined": reasons,
            "quarantined_examples": quarantined_examples(value, frozen, config),
        },
        metrics={
            "num_train": value.train.height,
            "num_validation": value.validation.height,
            "num_test": value.test.height,
            "num_test_rows_gone": num_gone,
            "num_quarantined": value.quarantined.height,
            **{f"num_quarantined_{reason}": rows for reason, rows in reasons.iter_rows()},
            **({"stratification_error": stratification_error(value, config.task)} if config.has_labels else {}),
            **drift_metrics(drifts),
        },
        texts={"drift/batches.ndjson": table.write_ndjson()} if drifts else {},
        figures=_label_figures({"train": value.train, "validation": value.validation, "test": value.test}, step),
    )


def _drifts(examples: pl.DataFrame, value: Splits, step: Step) -> tuple[BatchDrift, ...]:
    """Each of the newest batches against what is trained on of the others; nothing where there are no others."""
    batches = set(examples["batch"].unique())
    if len(batches) == 1:
        return ()
    names = [name for name in newest_first(step.project_dir, step.config.data) if name in batches]
    # Also where the function was called with frames of no file.
    names += sorted(batches.difference(names), reverse=True)
    return batch_drifts(examples, value.train, names, step.config.data)


def _reasons(aside: pl.DataFrame) -> pl.DataFrame:
    """How many rows were set aside for which reason, the most frequent first."""
    return aside.group_by("reason").len("rows").sort("rows", "reason", descending=[True, False])


def _label_figures(frames: Mapping[str, pl.DataFrame], step: Step) -> dict[str, bytes]:
    """How many examples each label has; or, where the answers are free text, how long those are."""
    from ftzard.core.figures import label_balance, length_histogram

    data = step.config.data
    if data.has_labels:
        return {"label balance": label_balance({name: _balance(frame, data) for name, frame in frames.items()})}
    lengths = answer_lengths(pl.concat(frames.values())["label"], data)
    return {
        f"{what.removesuffix('s')} length": length_histogram(values.to_list(), unit="characters", what=what)
        for what, values in lengths.items()
    }


def _balance(frame: pl.DataFrame, data: "DataConfig") -> dict[str, int]:
    """Label -> examples; those without any first, because only so many labels are drawn."""
    without = num_without_label(frame["label"], data.task)
    return {**({_NO_LABEL: without} if without else {}), **label_counts(frame["label"], data.task)}
