"""Label queues as files: CSV that a spreadsheet opens without running anything in it, JSON for Label Studio, Parquet.

What the model thinks of a row is in none of the files that people open: who is shown a prediction tends to agree.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import quoteattr

import polars as pl

from ftzard.core.label_sets import EMPTY
from ftzard.core.records import LabelQueue
from ftzard.errors import StorageError

ID_COLUMN: Final = "ftzard_id"
TEXT_COLUMN: Final = "text"
LABEL_COLUMN: Final = "label"

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), full-width forms included, or what
# hides one from view. The apostrophe is escaped as well, so that taking one away always gives the text back.
_ESCAPED: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}", "'")  # fmt: skip
# Without a byte order mark a spreadsheet takes UTF-8 for the encoding of its own country.
_ENCODING: Final = "utf-8-sig"
_CSV, _JSON, _INTERFACE = "queue.csv", "label-studio.json", "label-studio.xml"
_QUEUED_COLUMNS: Final = ("text_hash", "text", "arm", "strategy", "champion_version", "queue")
_ROWS, _SIDECAR = "rows.parquet", "sidecar.parquet"


def escaped(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_ESCAPED) else text


def unescaped(cell: str) -> str:
    """What `escaped` was given; a cell that `escaped` cannot have made is left as it is."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_ESCAPED) else cell


def label_csv(rows: pl.DataFrame) -> bytes:
    """Rows as a CSV file with an id, the text and a column for the label.

    Args:
        rows: Columns `text_hash` and `text`; `label` where labels are known.
    """
    out = io.StringIO(newline="")
    # All quoted, so that a program that splits at semicolons finds none outside of quotes.
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([ID_COLUMN, TEXT_COLUMN, LABEL_COLUMN])
    labels = rows["label"] if "label" in rows.columns else pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    columns = rows["text_hash"], rows["text"], labels
    writer.writerows(
        [row_id, escaped(text), escaped(label or "")] for row_id, text, label in zip(*columns, strict=True)
    )
    return out.getvalue().encode(_ENCODING)


def label_studio_tasks(rows: pl.DataFrame) -> bytes:
    """Rows as JSON that Label Studio imports: a list of tasks with `data`.

    Args:
        rows: Columns `text_hash` and `text`.
    """
    tasks = [
        {"data": {ID_COLUMN: row_id, TEXT_COLUMN: text}}
        for row_id, text in rows.select("text_hash", "text").iter_rows()
    ]
    return (json.dumps(tasks, ensure_ascii=False, indent=2) + "\n").encode()


def label_studio_interface(labels: Sequence[str], *, takes_sets: bool = False) -> bytes:
    """The labelling interface for those tasks, as Label Studio's settings take it.

    Args:
        labels: What there is to choose from.
        takes_sets: Whether any number may be chosen, for which there is then a choice that says none; else it is one.
    """
    choice = "multiple" if takes_sets else "single"
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    if takes_sets:
        # What is chosen is written as its alias.
        choices += f'\n    <Choice value="none of these" alias={quoteattr(EMPTY)}/>'
    interface = f"""\
<View>
  <Text name="{TEXT_COLUMN}" value="${TEXT_COLUMN}" valueType="text"/>
  <Choices name="{LABEL_COLUMN}" toName="{TEXT_COLUMN}" choice="{choice}" showInLine="true">
{choices}
  </Choices>
</View>
"""
    return interface.encode()


def write_label_queue(queue: LabelQueue, folder: Path) -> None:
    """Write a queue into a folder that does not exist yet: what people open, and the queue itself as Parquet."""
    folder.mkdir()
    (folder / _CSV).write_bytes(label_csv(queue.rows))
    (folder / _JSON).write_bytes(label_studio_tasks(queue.rows))
    (folder / _INTERFACE).write_bytes(label_studio_interface(queue.labels, takes_sets=queue.takes_sets))
    queue.rows.write_parquet(folder / _ROWS)
    queue.sidecar.write_parquet(folder / _SIDECAR)


def read_label_queue(folder: Path) -> LabelQueue:
    """Read what `write_label_queue` wrote, from the Parquet files alone.

    Raises:
        StorageError: They are missing or damaged.
    """
    try:
        return LabelQueue(pl.read_parquet(folder / _ROWS), pl.read_parquet(folder / _SIDECAR))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{folder} holds no label queue that can be read: {error}",
            fix="materialize `label_queue` again for this file, or restore the folder with `dvc checkout`",
        ) from error


def read_label_queues(folder: Path) -> dict[str, LabelQueue]:
    """Read all queues of a project, by the name of their folder; one that is just being written is passed over.

    Args:
        folder: Holds a folder for each queue; it need not exist.

    Raises:
        StorageError: One cannot be read.
    """
    found = sorted(path for path in folder.glob("*/") if not path.name.startswith("."))
    return {path.name: read_label_queue(path) for path in found}


def queued_rows(queues: Mapping[str, LabelQueue]) -> pl.DataFrame:
    """Every row that is queued, once, in the order of the queues and of each queue.

    Returns:
        Columns `text_hash`, `text`, `arm`, `strategy`, `champion_version` and `queue`. A text of several queues has the
        control arm where one of them has it, as for `live_accuracy`, and else is as the first queue has it.
    """
    schema = pl.Schema(dict.fromkeys(_QUEUED_COLUMNS, pl.String()))
    parts = [
        queue.rows.sort("position")
        .join(queue.sidecar, on="text_hash", maintain_order="left")
        .with_columns(queue=pl.lit(name))
        .select(_QUEUED_COLUMNS)
        for name, queue in queues.items()
    ]
    rows = pl.concat([schema.to_frame(), *parts]).with_columns(pl.col("arm").min().over("text_hash"))
    return rows.unique("text_hash", keep="first", maintain_order=True)
