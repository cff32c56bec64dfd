"""The page: complete in itself, and whatever strangers wrote is text on it."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from tests.core import answer_scenario, model_scenario, set_scenario

from ftzard.config import DataConfig, GenerationConfig
from ftzard.core.cleaning import clean, hash_texts
from ftzard.core.conversations import write_messages
from ftzard.core.data_funnel import StoredData, batch_rows
from ftzard.core.data_page import PAGE_BEGINS, PageHead, auc_reading, psi_reading, render_page, stacked
from ftzard.core.data_report import Absence, data_report
from ftzard.core.evaluation_report import Interval
from ftzard.core.population_stability import Stability
from ftzard.core.records import EXAMPLE_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA, Cleaned, Splits
from ftzard.core.splitting import split

_HEAD = PageHead("my <b>project</b>", datetime(2026, 11, 26, 8, 0, tzinfo=UTC), "0123456789abcdef", "0.1.0")
_HOSTILE = (
    "{{ 7 * 7 }} {% include 'x' %} {# no #}",
    "<script>alert(1)</script>",
    "</style><h1>out of the style</h1>",
    "</title><img src=http://example.org/x onerror=alert(1)>",
    '" onmouseover="alert(1)" style="position:fixed',
    "' autofocus onfocus='alert(1)",
    "<svg/onload=alert(1)>",
    "<!-- not --> a comment --><b>",
    "`<i>code</i>`",
    "\u202eturned round\u202c",
    "zero\u200bwidth",
    "\x1b[31mred\x1b[0m",
    "&lt;b&gt; &amp;amp; &#60;",
    "javascript:alert(1)",
)
_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "bdi", "code", "nav", "a"),
    *("main", "div", "b", "span", "section", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "figure"),
    *("figcaption", "i", "details", "summary", "footer", "br"),
}
_EMPTY = {"meta", "br"}


class _Page(HTMLParser):
    """The tags, attributes and visible texts of a page, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "title"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def _hostile_data() -> tuple[StoredData, DataConfig]:
    """Texts, labels and file names of strangers, in each place that the page shows some."""
    config = DataConfig(
        cleaning_steps=("collapse_whitespace", "html_entities"),
        train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3,
    )  # fmt: skip
    names = ("data/raw/<script>alert(2)</script>.csv", 'data/raw/" onload="x.csv', "data/raw/\u202egnp.csv")
    rows: list[tuple[str, str, str]] = []
    for number in range(100):
        filler = " ".join(f"w{number}{letter}" for letter in "abcdefghi")
        rows.append(
            (f"{_HOSTILE[number % len(_HOSTILE)]}  {filler}", ("<b>good", "</td>bad")[number % 2], names[number % 3])
        )
    # Copies, conflicts and near copies.
    rows += [(text, label, names[1]) for text, label, _ in rows[:20:2]]
    rows += [(text, "`<u>other`", names[2]) for text, _, _ in rows[20:40:2]]
    rows += [(text.replace("w", "v", 1), "</td>bad", names[0]) for text, _, _ in rows[40:60:2]]
    rows += [(f"{_HOSTILE[1]} o{number} p{number} q{number}", "`<u>other`", names[0]) for number in range(40)]
    numbered = [(*row, number) for number, row in enumerate(rows, start=2)]
    raw = pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")
    cleaned = clean(raw, config)
    first = split(cleaned.examples, config)
    copies = first.test.head(2).with_columns(reason=pl.lit("in_test_split"))
    splits = replace(first, quarantined=pl.concat([first.quarantined, copies]))
    odd = pl.DataFrame([(f"{text} <b>unheard</b> {n}", None, "data/incoming/<img src=x>.csv", n)
                        for n, text in enumerate(_HOSTILE * 3)], schema=RAW_SCHEMA, orient="row")  # fmt: skip
    incoming = odd.with_columns(hash_texts(odd["text"])).select(EXAMPLE_SCHEMA.names())
    files = (*names, "data/raw/<i>unread.csv")
    return StoredData(raw, cleaned, splits, files=files, incoming=(incoming,)), config


@pytest.fixture(scope="module")
def hostile_page() -> str:
    stored, data = _hostile_data()
    config = replace(model_scenario.config({"max_length": 100}), data=data)
    absences = (Absence("the <x> asset", "it <script>broke</script>", "mend `<it>`"),)
    return render_page(data_report(stored, config, absences), _HEAD)


def test_what_strangers_wrote_is_text_and_never_markup(hostile_page: str) -> None:
    page = _Page(hostile_page)
    assert page.open == []
    assert page.tags <= _TAGS
    assert set(page.attributes) <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "style", "href", "id", "title", "dir"),
        *("role", "aria-label", "colspan"),
    }
    assert all(re.fullmatch(r"#[a-z]+", href) for href in page.attributes["href"])
    assert all(re.fullmatch(r"((width|height|left|right):-?[\d.]+%;?)+", style) for style in page.attributes["style"])
    for text in ("<script>alert(1)</script>", "</style><h1>out of the style", "<script>alert(2)</script>.csv"):
        assert text in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<b>good" in page.text
    assert "my <b>project</b>" in page.text


def test_what_cannot_be_seen_is_written_out(hostile_page: str) -> None:
    assert all(character == "\n" or character.isprintable() for character in hostile_page)
    page = _Page(hostile_page)
    for shown in (r"\u202eturned round\u202c", r"zero\u200bwidth", r"\x1b[31mred\x1b[0m", r"\u202egnp.csv"):
        assert shown in page.text


def test_the_page_needs_nothing_but_itself(hostile_page: str) -> None:
    assert hostile_page.startswith(PAGE_BEGINS)
    page = _Page(hostile_page)
    assert not page.tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "svg",
        "audio",
        "video",
    }
    style = hostile_page.partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"url\(|@import|@font-face", style)
    assert "prefers-color-scheme: dark" in style
    assert any(
        policy.startswith("default-src 'none'; style-src 'unsafe-inline'") for policy in page.attributes["content"]
    )
    assert "width=device-width, initial-scale=1" in page.attributes["content"]


def test_each_part_is_on_the_page(hostile_page: str) -> None:
    page = _Page(hostile_page)
    assert {
        "rows",
        "files",
        "labels",
        "lengths",
        "repeated",
        "characters",
        "cleaning",
        "drift",
        "incoming",
        "tokens",
    } <= (page.attributes["id"])
    assert {href.removeprefix("#") for href in page.attributes["href"]} <= page.attributes["id"]
    for told in (
        "0.25",
        "0.5: the two cannot be told apart",
        "Near copies",
        "Texts with several labels",
        "not read yet",
        "differs clearly from the training data",
    ):
        assert told in page.text


def test_a_page_of_nothing_says_so() -> None:
    absences = (Absence("raw_data", "it was never materialized", "ftzard materialize"),)
    page = _Page(render_page(data_report(StoredData(), model_scenario.config(), absences), _HEAD))
    assert page.open == []
    assert "Nothing is stored yet." in page.text
    assert "raw_data : it was never materialized." in page.text
    assert "ftzard materialize" in page.text


@pytest.mark.parametrize("kept", ["raw", "cleaned", "splits"])
def test_a_page_of_a_part_is_a_page(kept: str) -> None:
    stored, data = _hostile_data()
    gone: dict[str, Any] = {name: None for name in ("raw", "cleaned", "splits") if name != kept}
    partial = replace(stored, **gone)
    page = _Page(render_page(data_report(partial, replace(model_scenario.config(), data=data)), _HEAD))
    assert page.open == []


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_free_answers_have_lengths_in_the_place_of_labels(task: str) -> None:
    stored = StoredData(None, None, answer_scenario.splits(task))
    page = _Page(render_page(data_report(stored, answer_scenario.config(task)), _HEAD))
    assert "Length of the answers, in characters" in page.text
    assert "labels" not in page.attributes["id"]


def test_messages_are_told_as_a_conversation() -> None:
    text = write_messages([{"role": "user", "content": "What <b>now</b>?"}])
    data = DataConfig(task="generation", messages_column="messages")
    rows = pl.DataFrame(
        [(text, answer, "a.jsonl", number) for number, answer in enumerate(["one", "one", "two"], start=1)],
        schema=RAW_SCHEMA,
        orient="row",
    )
    examples = answer_scenario.examples(4, 1).with_columns(text=pl.lit(text)).head(1)
    rejected = rows.with_columns(reason=pl.lit("duplicate")).select(REJECTED_SCHEMA.names())
    stored = StoredData(rows, Cleaned(examples, rejected), Splits(examples, examples.clear(), examples.clear()))
    chat = answer_scenario.config(model={"generation": GenerationConfig(prompt_format="chat")})
    page = _Page(render_page(data_report(stored, replace(chat, data=data), with_tokens=False), _HEAD))
    assert "user: What <b>now</b>?" in page.text
    # The characters of the message, and not those of the JSON around it.
    lengths = {batch.batch: batch.median_length for batch in batch_rows(stored, data)}
    assert lengths["toy.csv"] == len("What <b>now</b>?")


@pytest.mark.parametrize("prompt", ["[{", "[{}]", "[{1: 2}]", '[{"role": ' + "[" * 100_000])
def test_a_prompt_that_only_begins_as_messages_do_is_a_text(prompt: str) -> None:
    data = DataConfig(task="generation")
    rows = pl.DataFrame([(prompt, "one", "a.csv", row) for row in (1, 2)], schema=RAW_SCHEMA, orient="row")
    examples = answer_scenario.examples(4, 1).with_columns(text=pl.lit(prompt)).head(1)
    rejected = rows.with_columns(reason=pl.lit("duplicate")).select(REJECTED_SCHEMA.names())
    stored = StoredData(rows, Cleaned(examples, rejected), Splits(examples, examples.clear(), examples.clear()))
    report = data_report(stored, replace(answer_scenario.config(), data=data), with_tokens=False)
    assert prompt[:100] in _Page(render_page(report, _HEAD)).text


def test_many_files_and_labels_are_cut_to_what_can_be_looked_at() -> None:
    names = [f"data/raw/{number:03}.csv" for number in range(60)]
    rows = [
        (f"text {number} {'x' * (number % 7)}", f"label {number % 30:02}", names[number % 60], number)
        for number in range(600)
    ]
    raw = pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")
    data = DataConfig(near_duplicate_edits=0)
    stored = StoredData(raw, clean(raw, data), files=tuple(names))
    config = replace(model_scenario.config(), data=data)
    page = _Page(render_page(data_report(stored, config, with_tokens=False), _HEAD))
    assert "20 older files" in page.text
    assert "label 06" in page.text
    assert "label 07 : " not in page.text


def test_a_stacked_bar_is_whole_and_in_the_order_of_the_colours() -> None:
    bar = stacked({"b": 1, "a": 2, "c": 1}, {"a": 0, "b": 1})
    assert [(part.name, part.number, part.colour) for part in bar] == [("a", 2, 0), ("b", 1, 1), ("other labels", 1, 7)]
    assert sum(part.share for part in bar) == 1
    assert stacked({}, {}) == []


@pytest.mark.parametrize(
    ("value", "low", "reading"),
    [
        (0.9, 0.8, "large difference"),
        (0.7, 0.6, "medium difference"),
        (0.6, 0.55, "small difference"),
        (0.55, 0.51, "negligible difference"),
        (0.9, 0.4, "cannot be told apart"),
    ],
)
def test_an_auc_is_read_by_its_size_and_only_if_it_is_no_accident(value: float, low: float, reading: str) -> None:
    assert auc_reading(Interval(value=value, low=low, high=1.0)) == reading


@pytest.mark.parametrize(
    ("value", "chance", "reading"),
    [(0.05, 0.01, "stable"), (0.2, 0.01, "moderate shift"), (0.3, 0.01, "large shift"), (0.3, 0.4, "within chance")],
)
def test_a_psi_is_read_by_its_size_and_only_if_it_is_no_accident(value: float, chance: float, reading: str) -> None:
    assert psi_reading(Stability(value, chance)) == reading


def test_labels_that_a_text_has_several_of_are_counted_one_by_one() -> None:
    config = set_scenario.config().data
    rows = set_scenario.examples(80, 4).select(RAW_SCHEMA.names())
    other = rows.head(1).with_columns(label=pl.lit("music"), row=pl.lit(81, pl.Int64))
    cleaned = clean(pl.concat([rows, other]), config)
    stored = StoredData(rows, cleaned, split(cleaned.examples, config))
    report = data_report(stored, set_scenario.config(), with_tokens=False)
    assert set(report.labels["train"]) == {*set_scenario.LABELS}
    page = _Page(render_page(report, _HEAD)).text
    assert "labels given shares" in page
    assert "Texts with different sets of labels: 1" in page
    assert "1 text(s) occur with different sets of labels" in page
