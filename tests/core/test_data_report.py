"""What a data report counts, against data of which it is known by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core import answer_scenario, model_scenario

from ftzard.config import DataConfig, FtzardConfig
from ftzard.core import data_funnel
from ftzard.core.batch_order import without_copies
from ftzard.core.cleaning import UNKNOWN_LABEL, clean
from ftzard.core.data_findings import findings, percent
from ftzard.core.data_funnel import MEANINGS, StoredData, batch_rows, funnel
from ftzard.core.data_report import Absence, DataReport, data_report
from ftzard.core.language_filter import OTHER_LANGUAGE
from ftzard.core.length_summary import length_summaries
from ftzard.core.odd_characters import odd_characters
from ftzard.core.quarantine import Reason
from ftzard.core.records import RAW_SCHEMA, UNREADABLE_SCHEMA, Splits
from ftzard.core.repeated_texts import repeated_texts
from ftzard.core.splitting import split
from ftzard.core.token_lengths import token_lengths

_DATA = DataConfig(near_duplicate_edits=2)
_CONFIG = replace(model_scenario.config(), data=_DATA)
_WORDS = ("ship", "wave", "harbour", "gull", "sail", "rope", "mast", "storm", "beach", "shell")


def _raw(rows: list[tuple[str | None, str | None, str]]) -> pl.DataFrame:
    numbered = [(text, label, batch, row) for row, (text, label, batch) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def _distinct(num: int, batch: str, first: int = 0) -> list[tuple[str | None, str | None, str]]:
    """Rows that are no copies of each other, by turns of two labels."""
    return [
        (" ".join(f"{word}{number}" for word in _WORDS[: 3 + number % 7]), ("x", "y")[number % 2], batch)
        for number in range(first, first + num)
    ]


def _stored(config: DataConfig = _DATA) -> StoredData:
    rows = _distinct(100, "b.csv") + _distinct(30, "a.csv", 100)
    rows += [(*rows[0][:2], "a.csv"), (*rows[0][:2], "b.csv"), (None, "x", "a.csv"), ("no label", " ", "a.csv")]
    rows += [("disputed", "x", "a.csv"), ("disputed", "y", "b.csv"), ("disputed", "y", "b.csv")]
    raw = _raw(rows)
    cleaned = clean(raw, config)
    return StoredData(raw, cleaned, split(cleaned.examples, config), files=("new.csv", "b.csv", "a.csv"))


def _report(stored: StoredData, config: FtzardConfig = _CONFIG) -> DataReport:
    return data_report(stored, config)


def test_each_row_is_in_the_funnel_once() -> None:
    stored = _stored()
    read, cleaned, splits = funnel(stored)
    assert (read.num_rows, cleaned.num_rows) == (137, 130)
    assert cleaned.lost == {"conflicting_label": 3, "duplicate": 2, "missing_label": 1, "missing_text": 1}
    assert splits.num_rows == 130
    assert splits.lost == {}
    a, b = batch_rows(stored, _DATA)[::-1]
    assert (a.batch, a.read, a.examples) == ("a.csv", 34, 31)
    assert (b.batch, b.read, b.examples) == ("b.csv", 103, 99)
    assert a.lost == {"conflicting_label": 1, "missing_label": 1, "missing_text": 1}
    assert [sum(batch.labels.values()) for batch in (a, b)] == [31, 99]
    for batch in (a, b):
        assert batch.read == (batch.examples or 0) + sum(batch.lost.values())
        assert sum(batch.splits.values()) == batch.examples


def test_what_is_not_sampled_and_what_is_quarantined_is_told() -> None:
    config = replace(_DATA, sample_fraction=0.5)
    cleaned = clean(_raw(_distinct(200, "b.csv")), config)
    known = split(cleaned.examples, config)
    again = split(cleaned.examples, config, known.test.head(3))
    *_, step = funnel(StoredData(None, cleaned, again))
    used = again.train.height + again.validation.height + again.test.height
    assert step.lost == {
        "not_sampled": 200 - used - again.quarantined.height,
        **dict(again.quarantined["reason"].value_counts().iter_rows()),
    }
    assert step.lost["held_for_test"] > 0


def test_every_reason_that_there_is_has_a_meaning() -> None:
    source = "".join(path.read_text() for path in Path(data_funnel.__file__).parent.glob("clean*.py"))
    source += (Path(data_funnel.__file__).parent / "conflicting_labels.py").read_text()
    codes = {part.split('"')[0] for part in source.split('pl.lit("')[1:]}
    assert codes <= set(MEANINGS)
    assert {"duplicate", "equal_answers"} <= codes


def test_batches_are_told_newest_first_and_those_whose_file_is_gone_last() -> None:
    stored = replace(_stored(), files=("new.csv", "a.csv"))
    assert stored.batches == ("a.csv", "b.csv")
    assert stored.unread == ("new.csv",)


def test_assets_that_do_not_belong_together_are_told() -> None:
    stored = _stored()
    assert stored.raw is not None
    other = _report(replace(stored, raw=stored.raw.head(20), cleaned=clean(_raw(_distinct(9, "b.csv")), _DATA)))
    assert other.inconsistencies == (
        "`cleaned` accounts for 9 rows, and `raw_data` has 20 now.",
        "`splits` has 121 rows that `cleaned` does not have now.",
    )
    assert [found.level for found in findings(other)][:2] == ["problem", "problem"]
    assert _report(stored).inconsistencies == ()


@pytest.mark.parametrize("kept", [(), ("raw",), ("raw", "cleaned"), ("splits",), ("cleaned",)])
def test_a_report_is_made_of_what_there_is(kept: tuple[str, ...]) -> None:
    stored = _stored()
    gone: dict[str, Any] = {name: None for name in ("raw", "cleaned", "splits") if name not in kept}
    partial = replace(stored, **gone)
    report = _report(partial)
    assert [step.name for step in report.steps] == [
        {"raw": "read", "cleaned": "cleaned", "splits": "split"}[name] for name in kept
    ]
    assert (report.tokens is not None) == bool({"cleaned", "splits"} & set(kept))
    findings(report)


def test_copies_conflicts_and_near_copies_are_counted_with_examples() -> None:
    rows = _distinct(10, "a.csv")
    long = "the quick brown fox jumps over the lazy dog today"
    rows += [(long, "x", "a.csv"), (long.replace("lazy", "sleepy"), "y", "b.csv"), (f"{long}!", "x", "b.csv")]
    rows += [(long, "x", "b.csv"), (f" {long}", "x", "a.csv"), ("disputed", "x", "a.csv"), ("disputed", "y", "b.csv")]
    found = repeated_texts(clean(_raw(rows), _DATA), _DATA)
    assert (found.num_duplicates, found.num_elsewhere) == (2, 1)
    assert found.duplicates.rows(named=True) == [{"text": long, "rows": 3, "batches": 2}]
    assert found.num_conflicts == 1
    assert found.conflicts["text"].to_list() == ["disputed"]
    assert (found.num_near, found.num_near_otherwise) == (2, 1)
    assert found.near.row(0, named=True) == {
        "text": long.replace("lazy", "sleepy"), "label": "y", "other_text": long, "other_label": "x", "num_edits": 1,
    }  # fmt: skip


def test_findings_name_what_is_beyond_its_bounds_and_nothing_else() -> None:
    told = {found.section: found.sentence for found in findings(_report(_stored()))}
    assert told["files"] == "1 file is in the data folders not read yet."
    assert told["rows"] == (
        "5.1 % of the rows did not become examples: 3 conflicting_label, 2 duplicate, 1 missing_label."
    )
    assert told["repeated"].startswith("1 text(s) occur with several labels;")
    assert "labels" not in told
    quiet = _raw(_distinct(100, "b.csv"))
    cleaned = clean(quiet, _DATA)
    stored = StoredData(quiet, cleaned, split(cleaned.examples, _DATA), files=("b.csv",))
    assert findings(_report(stored)) == ()
    none = cleaned.examples.clear()
    rare = Splits(cleaned.examples.with_columns(label=pl.lit("x")), none, none)
    odd = rare.train.with_columns(label=pl.when(pl.col("row") < 4).then(pl.lit("`rare`")).otherwise("label"))
    assert [found.sentence for found in findings(_report(StoredData(None, None, replace(rare, train=odd))))] == [
        "Rare labels: `rare` (2.0 %). What is learned of them rests on few rows."
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lost \ufffd here", "replacement characters"),
        ("cafÃ© and donâ€™t", "UTF-8 read as Latin-1"),
        ("it\x92s", "control characters of Latin-1"),
        ("\x1b[31mred", "other control characters"),
        ("zero\u200bwidth", "zero-width and direction characters"),
        ("a &amp; b", "HTML entities"),
        ("so <b>bold</b>", "HTML tags"),
    ],
)
def test_accidents_of_encodings_and_exports_are_found_with_what_stands_around_them(text: str, kind: str) -> None:
    found = odd_characters(pl.Series(["fine: naïve café, 1 < 2 & 3 > 2, 你好 😀, R&D;", "x" * 100 + text + "y" * 100]))
    assert [(one.kind.name, one.num_texts) for one in found] == [(kind, 1)]
    (example,) = found[0].examples
    assert "x" * 20 in example
    assert len(example) < 100


@given(st.dictionaries(st.text(max_size=3), st.lists(st.integers(0, 3000), max_size=40), max_size=4))
def test_histograms_of_parts_have_the_same_bars_and_lose_no_text(lengths: dict[str, list[int]]) -> None:
    found = length_summaries({name: np.array(values, dtype=np.int64) for name, values in lengths.items()})
    assert [one.name for one in found] == [name for name, values in lengths.items() if values]
    assert len({(one.width, len(one.counts)) for one in found}) <= 1
    for one in found:
        values = lengths[one.name]
        assert sum(one.counts) == one.num_texts == len(values)
        assert one.counts[0] >= sum(value < one.width for value in values)
        assert one.minimum == min(values) <= one.p5 <= one.median <= one.p95 <= one.maximum == max(values)
        assert 1 <= len(one.counts) <= 25


def test_the_share_that_is_cut_is_that_which_training_cuts() -> None:
    train = model_scenario.examples(60, 1)
    found = token_lengths(train, model_scenario.LABELS, _CONFIG)
    assert found is not None
    assert (found.num_truncated, found.max_length) == (0, 96)
    # The tiny model's tokens are bytes.
    prompt = "{text} (negative or positive):"
    expected = [len(prompt.replace("{text}", text)) for text in train["text"]]
    assert found.lengths.maximum == max(expected)
    tight = replace(_CONFIG, model=replace(_CONFIG.model, max_length=56))
    cut = token_lengths(train, model_scenario.LABELS, tight)
    assert cut is not None
    assert cut.num_truncated == sum(length > 56 for length in expected) > 0
    assert cut.truncated_share == cut.num_truncated / 60


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_of_free_answers_lengths_are_told_and_tokens_are_those_of_prompt_and_answer(task: str) -> None:
    splits = answer_scenario.splits(task)
    report = _report(StoredData(None, None, splits, files=()), answer_scenario.config(task))
    assert report.labels == {}
    kinds = [""] if task == "generation" else [", chosen", ", rejected"]
    assert [one.name for one in report.answer_lengths] == [
        f"{name}{kind}" for name in ("train", "validation", "test") for kind in kinds
    ]
    assert {one.maximum for one in report.answer_lengths} <= {2, 3}
    assert report.tokens is not None
    # The prompt's bytes, at most three of an answer, and the token that ends it.
    longest = max(len(text) for text in splits.train["text"])
    assert longest + 3 <= report.tokens.lengths.maximum <= longest + 5


def test_a_base_model_that_is_not_there_leaves_tokens_out_and_says_why() -> None:
    config = replace(_CONFIG, model=replace(_CONFIG.model, base_model="./nowhere"))
    report = _report(_stored(), config)
    assert report.tokens is None
    (absence,) = report.absences
    assert (absence.what, "no such folder" in absence.why) == ("token lengths", True)
    assert data_report(_stored(), _CONFIG, with_tokens=False).absences == (
        Absence("token lengths", "they were not asked for", "run without --no-tokens"),
    )


def test_a_single_file_is_compared_with_nothing_and_two_are_with_each_other() -> None:
    assert [drift.batch for drift in _report(_stored()).drifts] == ["b.csv", "a.csv"]
    raw = _raw(_distinct(100, "b.csv"))
    cleaned = clean(raw, _DATA)
    assert _report(StoredData(raw, cleaned, split(cleaned.examples, _DATA))).drifts == ()


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0.0 %"), (1e-6, "< 0.1 %"), (0.1234, "12.3 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")]
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_rows_that_could_not_be_read_are_in_the_funnel_and_beside_their_file() -> None:
    stored = _stored()
    bad: list[tuple[object, ...]] = [("a.csv", 40, "too_few_fields", None, "half a line", "1 field(s)")] * 2
    bad += [("b.csv", 7, "wrong_value", "text", "[1]", "no text")]
    stored = replace(stored, unreadable=pl.DataFrame(bad, schema=UNREADABLE_SCHEMA, orient="row"))
    assert funnel(stored)[0].lost == {"too_few_fields": 2, "wrong_value": 1}
    assert next(rows for rows in batch_rows(stored, _DATA) if rows.batch == "a.csv").lost["too_few_fields"] == 2
    said = [found.sentence for found in findings(_report(stored))]
    assert "3 row(s) could not be read and were set aside: 2 too_few_fields, 1 wrong_value." in said


def test_every_reason_for_which_a_row_is_set_aside_has_a_meaning() -> None:
    assert set(get_args(Reason)) | {OTHER_LANGUAGE, UNKNOWN_LABEL} <= MEANINGS.keys()


def test_a_copy_of_a_file_does_not_wait_to_be_read(tmp_path: Path) -> None:
    for name, content in (("b.csv", "one"), ("a.csv", "one"), ("c.csv", "two"), ("d.csv", "longer")):
        (tmp_path / name).write_text(content)
    assert without_copies(tmp_path, ("d.csv", "c.csv", "b.csv", "a.csv", "gone.csv")) == (
        "d.csv",
        "c.csv",
        "a.csv",
        "gone.csv",
    )
