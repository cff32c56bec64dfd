"""Labelled examples whose label is probably wrong, for people to look at; nothing here changes a label.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
70, 2021) as the package cleanlab does it, on what the TF-IDF baseline says of each example without having seen it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from ftzard.core.baseline import out_of_fold_probabilities
from ftzard.core.label_queue import sidecar_schema
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import THRESHOLDS, struct_of
from ftzard.core.records import QUEUE_ROW_SCHEMA, LabelQueue
from ftzard.errors import MissingPackageError, StorageError

STRATEGY: Final = "label_errors"
# Stands where queues of incoming files name the champion that was uncertain.
_JUDGE: Final = "baseline"


def find_label_errors(examples: pl.DataFrame, labels: Sequence[str], *, seed: int, max_rows: int) -> LabelQueue:
    """Queue the examples whose label the others speak against.

    Args:
        examples: `EXAMPLE_SCHEMA`, in any order. A text with several labels is passed over: it is known already.
        labels: The label set.
        seed: Of the folds.
        max_rows: How many at most.

    Returns:
        The most doubtful first. The sidecar's `uncertainty` is 1 minus the probability of the label that the example
        has, its `arm` is `strategy` throughout.

    Raises:
        MissingPackageError: `cleanlab` is not installed.
        TooFewExamplesError: A label has fewer examples than there are folds.
    """
    # By content, so that the folds do not hang on the order of the rows.
    rows = examples.filter(pl.len().over("text_hash") == 1).sort("text_hash")
    codes, probabilities = out_of_fold_probabilities(rows, labels, seed)
    doubtful = _doubtful(codes, probabilities)[:max_rows]
    confidences = probabilities[doubtful]
    return doubts_queue(
        rows[doubtful].with_columns(
            uncertainty=pl.Series(1.0 - probabilities[doubtful, codes[doubtful]], dtype=pl.Float64),
            predicted_label=pl.Series([labels[code] for code in confidences.argmax(axis=1)], dtype=pl.String),
            confidence=pl.Series(confidences.max(axis=1, initial=0.0), dtype=pl.Float64),
            probabilities=struct_of(confidences, labels),
        ),
        sidecar_schema(labels),
    )


def doubts_queue(doubtful: pl.DataFrame, schema: pl.Schema) -> LabelQueue:
    """The queue of doubtful examples.

    Args:
        doubtful: `EXAMPLE_SCHEMA` and what the baseline says of them, the most doubtful first.
        schema: `sidecar_schema`.
    """
    queued = doubtful.with_columns(
        position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        arm=pl.lit("strategy"),
        strategy=pl.lit(STRATEGY),
        champion_version=pl.lit(_JUDGE),
    )
    sidecar = queued.select(schema.names()).sort("text_hash").cast(schema)
    return LabelQueue(queued.select(QUEUE_ROW_SCHEMA.names()), sidecar)


def _doubtful(codes: IntArray, probabilities: FloatArray) -> IntArray:
    """Numbers of the rows with a label that is probably wrong, the least probable label first."""
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise no_cleanlab() from error
    found = find_label_issues(codes, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(found, dtype=np.int64)


def no_cleanlab() -> MissingPackageError:
    """The error where the package is not installed."""
    return MissingPackageError(
        "looking for wrong labels needs the Python package cleanlab, which is not installed",
        fix="pip install 'ftzard[cleanlab]'",
    )


def write_queue(queue: LabelQueue) -> str:
    """The queue as JSON lines, so that a data commit can hold it as text."""
    return queue.rows.join(queue.sidecar, on="text_hash", maintain_order="left").write_ndjson()


def read_queue(path: Path) -> LabelQueue | None:
    """Read what `write_queue` wrote; None where nothing was ever written, or nothing was doubtful.

    Raises:
        StorageError: It cannot be read.
    """
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        if not data.strip():
            return None
        frame = pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
        labels = [field.name for field in frame.schema["probabilities"].fields]  # type: ignore[attr-defined]
        schema = sidecar_schema(labels, sets=THRESHOLDS in frame.columns)
        return LabelQueue(
            frame.select(QUEUE_ROW_SCHEMA.names()).cast(QUEUE_ROW_SCHEMA),
            frame.select(schema.names()).cast(schema).sort("text_hash"),
        )
    except (OSError, LookupError, AttributeError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{path} holds no label queue that can be read: {error}",
            fix="write it anew with `ftzard labels check`, or restore it with `dvc checkout`",
        ) from error
