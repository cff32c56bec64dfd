"""What crosses an asset edge: frozen records of frames, and references to directories.

Everything here can be imported without torch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

# The folder below the project's data folder that holds the assets; batches lie beside it.
ASSETS_DIR: Final = "assets"
# A row as read. `batch` is the file, `row` the 1-based line it starts on (the record number in Parquet).
RAW_SCHEMA = pl.Schema({"text": pl.String, "label": pl.String, "batch": pl.String, "row": pl.Int64})
# What a row may have beside that, where `data.group_column` or `data.time_column` names a column; null where it says
# nothing. Splits are made by it; of them the test split holds the group.
PLACEMENT_SCHEMA = pl.Schema([("group", pl.String()), ("time", pl.Datetime("us", "UTC"))])
# `text_hash` identifies an example by its cleaned text: the first 16 bytes of its SHA-256, in hexadecimal.
EXAMPLE_SCHEMA = pl.Schema([("text_hash", pl.String), *RAW_SCHEMA.items()])
# A row of a label queue.
QUEUE_ROW_SCHEMA = pl.Schema({"text_hash": pl.String, "text": pl.String, "position": pl.Int64})
REJECTED_SCHEMA = pl.Schema([*RAW_SCHEMA.items(), ("reason", pl.String)])
# A row that could not be read: what is wrong with which value, shortened, of which column (null: the whole row).
UNREADABLE_SCHEMA = pl.Schema(
    {
        "batch": pl.String,
        "row": pl.Int64,
        "reason": pl.String,
        "column": pl.String,
        "value": pl.String,
        "problem": pl.String,
    }
)
QUARANTINED_SCHEMA = pl.Schema([*EXAMPLE_SCHEMA.items(), ("reason", pl.String)])


@dataclass(frozen=True)
class Raw:
    """The labelled batches as read and, beside them, every row that could not be read.

    Attributes:
        examples: `RAW_SCHEMA`, and columns of `PLACEMENT_SCHEMA` where they are configured.
        quarantined: `UNREADABLE_SCHEMA`.
    """

    examples: pl.DataFrame
    quarantined: pl.DataFrame = field(default_factory=UNREADABLE_SCHEMA.to_frame)


@dataclass(frozen=True)
class Cleaned:
    """The cleaned examples and, beside them, every row that did not become one.

    Attributes:
        examples: `EXAMPLE_SCHEMA`; one row per distinct text, or text and label where conflicting labels are kept.
        rejected: `REJECTED_SCHEMA`; `text` and `label` as read, and the reason code.
    """

    examples: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(frozen=True)
class Splits:
    """Disjoint parts of the cleaned examples; each frame is sorted by `text_hash`.

    Attributes:
        train: `EXAMPLE_SCHEMA`.
        validation: Likewise.
        test: Likewise, and with `data.group_column` the `group` of `PLACEMENT_SCHEMA`: rows of one are drawn together
            where intervals are made.
        quarantined: `QUARANTINED_SCHEMA`: examples that nothing is trained or scored on, with the reason code.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    quarantined: pl.DataFrame = field(default_factory=QUARANTINED_SCHEMA.to_frame)

    @property
    def labelled(self) -> pl.DataFrame:
        """All examples that have a label, `EXAMPLE_SCHEMA`."""
        frames = (self.train, self.validation, self.test, self.quarantined)
        return pl.concat([frame.select(EXAMPLE_SCHEMA.names()) for frame in frames])


@dataclass(frozen=True)
class LabelQueue:
    """Rows to be labelled, and what their annotators should not see.

    Attributes:
        rows: `QUEUE_ROW_SCHEMA`, sorted by `position`, which counts from 1; the order says nothing about the arms.
        sidecar: `ftzard.core.label_queue.sidecar_schema`, one row for each of `rows`, sorted by `text_hash`.
    """

    rows: pl.DataFrame
    sidecar: pl.DataFrame

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the champion tells apart, in the order of its outputs."""
        return tuple(self.sidecar["probabilities"].struct.fields)

    @property
    def takes_sets(self) -> bool:
        """Whether a text may get several labels, or none of them."""
        return "thresholds" in self.sidecar.columns


@dataclass(frozen=True)
class AdapterDirectory:
    """A PEFT adapter on disk.

    Attributes:
        path: The directory; its files are listed with their SHA-256 in its `manifest.json`.
        checksum: SHA-256 of the manifest's file list, the adapter's content version.
    """

    path: Path
    checksum: str
