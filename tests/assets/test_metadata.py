"""What Dagster's page shows of an asset: schemas, counts, previews that stay text, pictures."""

import base64
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests.core.model_scenario import examples
from tests.project_scenario import load_asset, materializations

from ftzard.assets.metadata import as_metadata, describe, picture, table
from ftzard.core.records import EXAMPLE_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA, Cleaned, Raw, Splits

_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURES = {
    "raw_data": set(),
    "cleaned": {"label balance", "text length"},
    "splits": {"label balance"},
    "lora_adapter": {"loss curve"},
    "predictions": set(),
    "metrics": {"confusion matrix", "reliability diagram", "macro-F1"},
}
_HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![seen](http://example.org/pixel.png)",
    "http://example.org and www.example.org and a@example.org",
    "a | b || c",
    "**bold** _it_ `code` ~~gone~~ $x$",
    "\\| \\\\ &lt;b&gt; &#60;",
    "line\nbreak\r\n\n| --- |",
)


def _markdown(value: dg.MetadataValue) -> str:
    assert isinstance(value, dg.MarkdownMetadataValue)
    return str(value.md_str)


def _cells(markdown: str) -> list[list[Token]]:
    """What a Markdown renderer (tables, links and HTML turned on) makes of each cell of the body."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown)
    opened = [index for index, token in enumerate(tokens) if token.type == "td_open"]
    assert {token.type.rpartition("_")[0] for token in tokens if token.type != "inline"} <= {
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    return [tokens[index + 1].children or [] for index in opened]


def _is_text(tokens: list[Token]) -> bool:
    return {token.type for token in tokens} <= {"text", "text_special"}


def _shown(tokens: list[Token]) -> str:
    return "".join(token.content for token in tokens)


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_text_is_shown_and_never_rendered(text: str) -> None:
    [label, cell] = _cells(_markdown(table(pl.DataFrame({"label": ["x"], "text": [text]}))))
    assert _is_text(cell)
    assert _shown(cell) == " ".join(text.split())
    assert _shown(label) == "x"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=60))
def test_no_text_becomes_markup_or_another_cell(text: str) -> None:
    cells = _cells(_markdown(table(pl.DataFrame({text or "column": [text], "after": ["end"]}))))
    assert len(cells) == 2
    assert _is_text(cells[0])
    # What is no valid character in HTML may be replaced, so the length is what a renderer keeps.
    assert _shown(cells[1]) == "end"


def test_column_names_and_nested_values_come_from_data_too_and_are_never_rendered() -> None:
    frame = pl.DataFrame({"<b>": [{"<i>": 0.25, "[x](y)": 1.0}]})
    markdown = _markdown(table(frame))
    assert "<" not in markdown
    assert "[" not in markdown
    assert all(_is_text(cell) for cell in _cells(markdown))


def test_a_preview_is_short_however_long_the_texts_and_the_frame_are() -> None:
    frame = pl.DataFrame({"text": ["word " * 10_000] * 1_000})
    entries = describe(frame)
    assert len(_markdown(entries["preview"])) < 10_000
    assert len(_cells(_markdown(entries["preview"]))) == 5
    assert entries["dagster/row_count"].value == 1_000


def test_an_empty_frame_has_a_schema_and_a_count_of_zero() -> None:
    entries = describe(RAW_SCHEMA.to_frame())
    assert entries["dagster/row_count"].value == 0
    assert _cells(_markdown(entries["preview"])) == []


def test_records_are_described_by_the_examples_they_hold() -> None:
    frame = examples(9, 0)
    assert describe(Cleaned(frame[:4], REJECTED_SCHEMA.to_frame()))["dagster/row_count"].value == 4
    assert describe(Splits(frame[:4], frame[4:6], frame[6:]))["dagster/row_count"].value == 9


def test_a_picture_is_part_of_the_page_and_fetches_nothing() -> None:
    markdown = _markdown(picture(_PNG, "loss"))
    assert markdown == f"![loss](data:image/png;base64,{base64.b64encode(_PNG).decode()})"


def test_frames_among_metadata_become_tables_and_the_rest_stays() -> None:
    entries = as_metadata({"rows": pl.DataFrame({"a": [1]}), "count": 3})
    assert entries["count"] == 3
    assert isinstance(entries["rows"], dg.MarkdownMetadataValue)


@pytest.mark.parametrize(
    ("name", "schema"), [("raw_data", RAW_SCHEMA), ("cleaned", EXAMPLE_SCHEMA), ("splits", EXAMPLE_SCHEMA)]
)
def test_materialized_data_shows_its_columns_its_rows_and_a_preview(
    materialized_project: Path, name: str, schema: pl.Schema
) -> None:
    metadata = materializations(materialized_project)[name].metadata
    shown = metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchemaMetadataValue)
    assert {column.name: column.type for column in shown.schema.columns} == {
        column: str(dtype) for column, dtype in schema.items()
    }
    assert all(column.description for column in shown.schema.columns)
    value = load_asset(materialized_project, name)
    if isinstance(value, Raw | Cleaned):
        rows = value.examples.height
    else:
        rows = sum(map(len, (value.train, value.validation, value.test)))
    assert metadata["dagster/row_count"].value == rows > 0
    assert len(_cells(_markdown(metadata["preview"]))) == 5 * len(schema)


def test_predictions_show_their_columns_and_one_row_per_test_example(materialized_project: Path) -> None:
    metadata = materializations(materialized_project)["predictions"].metadata
    frame = load_asset(materialized_project, "predictions")
    assert metadata["dagster/row_count"].value == frame.height
    assert "probabilities" in str(metadata["dagster/column_schema"].value)


@pytest.mark.parametrize(("name", "titles"), _PICTURES.items())
def test_pictures_are_where_people_look(materialized_project: Path, name: str, titles: set[str]) -> None:
    metadata = materializations(materialized_project)[name].metadata
    pictures = {
        title: str(entry.md_str).partition("base64,")[2]
        for title, entry in metadata.items()
        if isinstance(entry, dg.MarkdownMetadataValue) and "data:image/png" in str(entry.md_str)
    }
    assert set(pictures) == titles
    assert all(base64.b64decode(content.removesuffix(")")).startswith(_PNG) for content in pictures.values())


def test_the_evaluation_shows_its_sentence_its_table_and_its_numbers(materialized_project: Path) -> None:
    metadata = materializations(materialized_project)["metrics"].metadata
    report = load_asset(materialized_project, "metrics")
    assert metadata["sentence"].value == report.sentence
    assert metadata["macro_f1"].value == report.adapter.metrics["macro_f1"].value
    assert metadata["baseline_macro_f1"].value == report.baseline.metrics["macro_f1"].value
    assert len(_cells(_markdown(metadata["scores"]))) == 4 * len(report.adapter.metrics)
    assert len(_cells(_markdown(metadata["scores_by_length"]))) == 5 * len(report.slices)
