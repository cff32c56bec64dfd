"""Values as Dagster metadata: schemas, previews and pictures."""

import base64
from collections.abc import Mapping

import dagster as dg
import polars as pl

from ftzard.core.records import Cleaned, LabelQueue, Raw, Splits
from ftzard.core.versions import AssetValue

_PREVIEW_ROWS = 5
_PREVIEW_CHARACTERS = 120
_MARKUP = frozenset("\\`*_{}[]<>()#!|~$&:@")


def describe(value: AssetValue, asset: str = "") -> dict[str, dg.MetadataValue]:
    """Row count, column schema and a preview of a value that consists of frames; nothing for others.

    Args:
        value: The asset's value.
        asset: Its name, by which it is known what its columns mean and may hold; empty: only their types are shown.
    """
    match value:
        case pl.DataFrame():
            return _describe_frame(value, asset, "")
        case LabelQueue():
            return _describe_frame(value.rows, asset, "rows")
        case Raw() | Cleaned():
            return _describe_frame(value.examples, asset, "examples")
        case Splits():
            return _describe_frame(value.train, asset, "train") | {
                "dagster/row_count": dg.MetadataValue.int(
                    value.train.height + value.validation.height + value.test.height
                )
            }
        case _:
            return {}


def picture(png: bytes, title: str) -> dg.MetadataValue:
    """A picture that Dagster's page shows in place."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(frame: pl.DataFrame) -> dg.MetadataValue:
    """A small frame as a table; long texts are cut."""
    return dg.MetadataValue.md(_markdown(frame))


def as_metadata(entries: Mapping[str, object]) -> dict[str, object]:
    """Entries as Dagster takes them: frames become tables."""
    return {key: table(value) if isinstance(value, pl.DataFrame) else value for key, value in entries.items()}


def _describe_frame(frame: pl.DataFrame, asset: str, part: str) -> dict[str, dg.MetadataValue]:
    return {
        "dagster/row_count": dg.MetadataValue.int(frame.height),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(_columns(frame, asset, part))),
        "preview": table(frame.head(_PREVIEW_ROWS)),
    }


def _columns(frame: pl.DataFrame, asset: str, part: str) -> list[dg.TableColumn]:
    from ftzard.core.frame_schemas import describe_columns

    told = describe_columns(asset, part, frame)
    columns = []
    for name, dtype in frame.schema.items():
        about = told.get(name)
        rules = dg.TableColumnConstraints(nullable=about.is_nullable, other=about.rules) if about else None
        columns.append(dg.TableColumn(name, str(dtype), about.description if about else None, rules))
    return columns


def _markdown(frame: pl.DataFrame) -> str:
    header = [f"| {' | '.join(_cell(name) for name in frame.columns)} |", f"|{'---|' * frame.width}"]
    return "\n".join(header + [f"| {' | '.join(_cell(value) for value in row)} |" for row in frame.iter_rows()])


def _cell(value: object) -> str:
    """One cell of a Markdown table. Data must not become markup: the page that shows it would render it."""
    match value:
        case float():
            text = f"{value:.4g}"
        case dict():
            text = ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
        case None:
            text = "-"
        case _:
            text = str(value)
    text = " ".join(text.split())
    text = text if len(text) <= _PREVIEW_CHARACTERS else f"{text[: _PREVIEW_CHARACTERS - 1]}…"
    return "".join(f"&#{ord(character)};" if character in _MARKUP else character for character in text)
