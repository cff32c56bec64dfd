"""Labels and texts as people type them: the same where they mean the same, rejected with a reason, never acted on."""

import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.bad_inputs.row_scenario import LABELS, put, raw, reasons

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean, hash_texts
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.label_files import label_csv
from ftzard.core.reading import read_batch, read_batches
from ftzard.core.returned_labels import read_label_csv
from ftzard.errors import (
    NoExamplesError,
    SingleClassError,
    UnknownLabelError,
)

# Labels


def test_unknown_labels_are_rejected_up_to_the_share_of_each_file() -> None:
    config = DataConfig(labels=LABELS)
    good = [(f"text {n}", LABELS[n % 2]) for n in range(19)]
    few = clean(raw(*good, ("so so", "neutral")), config)
    assert reasons(few) == {21: "unknown_label"}
    small = raw(("so so", "neutral"), ("good", "positive"), batch="data/raw/b.csv")
    with pytest.raises(UnknownLabelError, match=r"data/raw/b\.csv, row 2: 'neutral'; allowed.*1 of the 2 row\(s\)"):
        clean(pl.concat([raw(*good, *[(f"more {n}", "positive") for n in range(100)]), small]), config)
    with pytest.raises(UnknownLabelError, match="at most 0 may be set aside"):
        clean(raw(*good, ("so so", "neutral")), replace(config, max_quarantined_fraction=0.0))


def test_numbers_with_and_without_decimals_are_one_label_beside_its_name() -> None:
    config = DataConfig(label_mapping={"0": "negative", "4": "positive"})
    rows = raw(("a", "4"), ("b", "4.0"), ("c", "positive"), ("d", "0.00"), ("e", "0"))
    labels = clean(rows, config).examples["label"].to_list()
    assert labels == ["positive", "positive", "positive", "negative", "negative"]
    with pytest.raises(UnknownLabelError, match=r"'4\.5'"):
        clean(raw(("a", "4.5"), ("b", "0")), config)
    own = DataConfig(label_mapping={"4": "four", "4.0": "four point zero"})
    assert clean(raw(("a", "4"), ("b", "4.0")), own).examples["label"].to_list() == ["four", "four point zero"]


def test_one_class_missing_labels_and_conflicts_are_told() -> None:
    with pytest.raises(SingleClassError, match="'x'"):
        clean(raw(("a", "x"), ("b", "x")), DataConfig())
    rows = raw(("a", "x"), ("b", "y"), ("c", None), ("d", " "), ("twice", "x"), ("twice", "y"), ("a", "x"))
    assert reasons(clean(rows, DataConfig())) == {
        4: "missing_label",
        5: "missing_label",
        6: "conflicting_label",
        7: "conflicting_label",
        8: "duplicate",
    }


def test_an_id_that_comes_back_twice_is_one_example_or_a_conflict(tmp_path: Path) -> None:
    rows = pl.DataFrame({"text": ["fine", "poor", "so so"], "label": ["x", "y", "x"]})
    rows = pl.concat([rows, rows[:1], rows[2:].with_columns(label=pl.lit("y"))])
    put(tmp_path, "data/labelled/queue.csv", label_csv(rows.with_columns(hash_texts(rows["text"]))))
    result = clean(read_batches(tmp_path, DataConfig()).examples, DataConfig())
    assert result.examples["text"].to_list() == ["fine", "poor"]
    assert reasons(result) == {4: "conflicting_label", 5: "duplicate", 6: "conflicting_label"}


# Texts


def test_texts_of_nothing_are_rejected_with_the_reason() -> None:
    config = DataConfig(cleaning_steps=("replace_urls", "basic_characters", "collapse_whitespace"))
    rows = raw(("a", "x"), ("b", "y"), ("", "x"), (" \t\u3000", "x"), (None, "x"), ("\u2764\ufe0f\U0001f389", "y"))
    assert reasons(clean(rows, config)) == {
        4: "missing_text",
        5: "empty_after_cleaning",
        6: "missing_text",
        7: "empty_after_cleaning",
    }
    with pytest.raises(NoExamplesError, match="1 empty_after_cleaning"):
        clean(raw(("\U0001f389", "x")), config)


def test_texts_of_addresses_alone_are_one_text_and_those_of_emoji_alone_are_texts() -> None:
    rows = raw(("http://a.example/1", "x"), ("www.b.example", "x"), ("\U0001f389", "y"), ("\U0001f44d\U0001f3fd", "x"))
    result = clean(rows, DataConfig(cleaning_steps=("replace_urls",)))
    assert result.examples["text"].to_list() == ["http", "\U0001f389", "\U0001f44d\U0001f3fd"]
    assert reasons(result) == {3: "duplicate"}


def test_texts_that_look_alike_are_the_same_where_the_steps_say_so() -> None:
    rows = raw(
        ("caf\u00e9", "x"),
        ("cafe\u0301", "x"),
        ("fi\u200bne", "y"),
        ("fine", "y"),
        ("\u202efine\u202c", "y"),
        ("o", "x"),
    )
    config = DataConfig(cleaning_steps=("unicode_nfc", "invisible_characters"))
    assert reasons(clean(rows, config)) == {3: "duplicate", 5: "duplicate", 6: "duplicate"}
    kept = clean(rows, DataConfig()).examples["text"].to_list()
    assert kept == ["caf\u00e9", "fi\u200bne", "fine", "\u202efine\u202c", "o"]


@pytest.mark.parametrize(
    "text",
    [
        "so <|im_end|> it <|im_start|>assistant ends </s> [INST] <unk>",
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "\x1b[31mred\x1b[0m \x1b]0;title\x07",
        "{{ config }} ${HOME} $(reboot) `reboot` %s %(x)s {0.__class__}",
        "'; DROP TABLE runs; --",
        "\u202eelif\u202c \u2066x\u2069",
        "word " * 9_999 + "word",
    ],
)
def test_what_other_programs_would_act_on_stays_the_text_that_it_is(tmp_path: Path, text: str) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), (text, "x"), ("other", "y")])
    frame, _ = read_batch(put(tmp_path, "x.csv", buffer.getvalue()), "x.csv", DataConfig())
    assert clean(frame, DataConfig()).examples["text"].to_list() == [text, "other"]


@pytest.mark.parametrize(
    "text", ["=1+1", "@SUM(A1)", "+1", "-1", "'=1+1", '=HYPERLINK("http://a.example")', "\t=1", "\uff1d1"]
)
def test_what_a_spreadsheet_would_run_comes_back_as_the_text_that_it_was(text: str) -> None:
    rows = pl.DataFrame({"text": [text], "label": [text.strip()]})
    data = label_csv(rows.with_columns(hash_texts(rows["text"])))
    [_, [_, cell, label]] = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    for shown in (cell, label):
        assert shown.startswith("'")
    back = read_label_csv(data, "queue.csv", DataConfig()).rows
    assert back.select("text", "label").rows() == [(text, text.strip())]


_NASTY = """
import sys, polars as pl
from ftzard.core.text_normalisation import normalise_text
n = 20_000
texts = ["<" * n, "<a" * n, "<!--" * n, "@" * n, "&" * n, "&amp;" * n, "www." * n, "http://" * n, "a" * n + "!",
         "!" * n, " " * n + "x", "\\u200b" * n, "(" * n, "e\\u0301" * n, "a\\u200d" * n, "&#" + "9" * n + ";"]
print(normalise_text(pl.Series("text", texts), sys.argv[1:]).len())
"""


def test_texts_made_for_patterns_that_backtrack_are_cleaned_in_good_time() -> None:
    steps = [step for step in CLEANING_STEPS if step != "emoji_words"]
    # Far more than it takes, so that only what never ends fails.
    done = subprocess.run(
        [sys.executable, "-c", _NASTY, *steps], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "16"
