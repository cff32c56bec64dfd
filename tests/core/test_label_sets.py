"""Sets of labels in one cell: how they are read, spelled, mapped and counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.data_funnel import label_counts
from ftzard.core.label_names import label_names
from ftzard.core.label_sets import EMPTY, indicators, join_set, set_members, spelled, split_set
from ftzard.core.reading import read_batch
from ftzard.core.records import RAW_SCHEMA
from ftzard.errors import MalformedBatchError, SingleClassError, UnknownLabelError

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1).filter(
    lambda name: name.strip() == name and name not in {EMPTY, "none"}
)
_SETS = st.sets(_NAMES, max_size=5)


def _config(**data: Any) -> DataConfig:
    return DataConfig(task="multi_label", **data)


def _raw(*cells: str | None, texts: list[str] | None = None) -> pl.DataFrame:
    names = texts or [f"text {number}" for number in range(len(cells))]
    rows = [(text, cell, "topics.csv", row) for row, (text, cell) in enumerate(zip(names, cells, strict=True), start=2)]
    return pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")


def _cleaned(*cells: str | None, texts: list[str] | None = None, **data: Any) -> list[tuple[str, str]]:
    found = clean(_raw(*cells, texts=texts), _config(max_quarantined_fraction=1.0, **data))
    return found.examples.select("text", "label").rows()


def _reasons(*cells: str | None, texts: list[str] | None = None, **data: Any) -> list[str]:
    found = clean(_raw(*cells, texts=texts), _config(max_quarantined_fraction=1.0, **data))
    return found.rejected["reason"].to_list()


@given(_SETS)
def test_a_set_has_one_spelling_whatever_the_order_and_it_is_read_back(labels: set[str]) -> None:
    cell = join_set(labels)
    assert cell == join_set(sorted(labels, reverse=True)) == join_set([*labels, *labels])
    assert split_set(cell) == tuple(sorted(labels))
    assert set_members(pl.Series([cell])).to_list() == [sorted(labels)]


@given(st.lists(_SETS, min_size=1, max_size=8))
def test_sets_become_rows_of_truth_values_and_back(sets: list[set[str]]) -> None:
    labels = sorted(set().union(*sets)) or ["a"]
    cells = [join_set(one) for one in sets]
    has_label = indicators(pl.Series(cells, dtype=pl.String), labels)
    assert has_label.tolist() == [[label in one for label in labels] for one in sets]
    assert spelled(has_label, labels) == cells


@given(st.lists(_SETS.filter(bool), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_spaces_and_repetitions_in_a_cell_do_not_matter(sets: list[set[str]], rng: Any) -> None:
    written = []
    for labels in sets:
        names = [*labels, *rng.sample(sorted(labels), 1)]
        rng.shuffle(names)
        written.append(" | ".join(names) + rng.choice(["", "|", " | "]))
    # Two more, so that there are two labels to tell apart.
    rows = _cleaned(*written, "a", "b")
    assert [label for _, label in rows[:-2]] == [join_set(labels) for labels in sets]


def test_an_empty_set_is_said_by_a_word_and_an_empty_cell_is_a_missing_label() -> None:
    assert _cleaned("none", "[]", "a|b")[:2] == [("text 0", EMPTY), ("text 1", EMPTY)]
    assert _reasons("", None, " | ", "a|b", "none") == ["missing_label"] * 3
    assert _cleaned("-", "none|a", no_label="-") == [("text 0", EMPTY), ("text 1", "a|none")]


def test_another_separator_stands_beside_the_one_that_always_separates() -> None:
    assert _cleaned("b; a", "a|b", "c;", label_separator=";") == [
        ("text 0", "a|b"),
        ("text 1", "a|b"),
        ("text 2", "c"),
    ]


def test_labels_are_mapped_one_by_one() -> None:
    mapping = {"1": "joy", "2": "anger", "3": "joy"}
    rows = _cleaned("2|1", "1|3", "none", label_mapping=mapping, labels=("joy", "anger"))
    assert [label for _, label in rows] == ["anger|joy", "joy", EMPTY]


def test_an_unknown_label_and_a_label_beside_the_word_for_none_are_named() -> None:
    assert _reasons("joy|none", "joy", "anger", "joy|cake", labels=("joy", "anger")) == ["unknown_label"] * 2
    with pytest.raises(UnknownLabelError, match=r"topics\.csv, row 2: 'joy\|cake'.*allowed: \['joy', 'anger'\]"):
        clean(_raw("joy|cake", "anger", "joy"), _config(labels=("joy", "anger")))
    with pytest.raises(UnknownLabelError, match=r"name labels and say 'none'.*'none\|joy'") as raised:
        clean(_raw("none|joy", "anger", "joy"), _config())
    # Nothing is unknown here, so that no label needs to be added anywhere.
    assert "data.no_label" in raised.value.fix
    assert "data.labels" not in raised.value.fix


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("drop", [("b", EMPTY), ("c", "x|y")]),
        ("majority", [("a", "x|y"), ("b", EMPTY), ("c", "x|y")]),
        ("keep", [("a", "x|y"), ("a", "x"), ("b", EMPTY), ("c", "x|y")]),
    ],
)
def test_a_text_with_different_sets_is_a_conflict_and_with_the_same_in_another_order_a_duplicate(
    policy: Any, expected: list[tuple[str, str]]
) -> None:
    cells, texts = ["y|x", "x|y", "x", "none", "[]", "x|y"], ["a", "a", "a", "b", "b", "c"]
    assert _cleaned(*cells, texts=texts, conflicting_labels=policy) == expected


def test_fewer_than_two_labels_are_nothing_to_learn() -> None:
    with pytest.raises(SingleClassError, match="the label 'a' or none"):
        clean(_raw("a", "none"), _config())
    with pytest.raises(SingleClassError, match="none of the labels"):
        clean(_raw("[]", "none"), _config())


def test_labels_are_those_of_all_sets_sorted_or_those_configured() -> None:
    examples = clean(_raw("b|a", "c", "none"), _config()).examples
    assert labels_of(examples, _config()) == ("a", "b", "c")
    assert labels_of(examples, _config(labels=("c", "b", "a"))) == ("c", "b", "a")
    assert label_names(examples["label"], "multi_label").to_list() == ["a", "b", "c"]
    assert label_counts(examples, "multi_label") == {"a": 1, "b": 1, "c": 1}


def _lines(path: Path, *labels: object) -> Path:
    rows = [json.dumps({"text": f"text {number}", "label": label}) for number, label in enumerate(labels)]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_lists_in_json_and_parquet_are_taken_as_they_are(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.jsonl", ["b", "a"], [], None, "a|c", [1, 2.0])
    frame, _ = read_batch(path, "a.jsonl", _config())
    assert frame["label"].to_list() == ["b|a", EMPTY, None, "a|c", "1|2"]
    stored = pl.DataFrame({"text": ["x", "y", "z"], "label": [["b", "a"], [], None]})
    for name, write in (("a.parquet", stored.write_parquet), ("a.arrow", stored.write_ipc)):
        write(tmp_path / name)
        frame, _ = read_batch(tmp_path / name, name, _config())
        assert frame["label"].to_list() == ["b|a", EMPTY, None]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (["a|b"], "holds '|', which separates labels"),
        (["a;b"], "holds ';', which separates labels"),
        ([" "], "hold one that is empty"),
        (["a", None], "hold one that is empty"),
        ([["a"]], "neither text nor a finite number"),
        ({"a": True}, "neither text nor a finite number"),
        ("['a', 'b']", "are a list that was written as text"),
    ],
)
def test_a_cell_that_is_no_set_is_set_aside_with_the_reason(tmp_path: Path, label: object, problem: str) -> None:
    config = _config(label_separator=";", max_quarantined_fraction=0.5)
    _, source = read_batch(_lines(tmp_path / "a.jsonl", label, ["c"]), "a.jsonl", config)
    (bad,) = source.bad
    assert bad.row == 1
    assert problem in bad.problem
    assert (bad.column, bad.value) == ("label", str(label))


def test_a_list_written_as_text_is_refused_in_large_delimited_files_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"a text that is long enough {number},a|b" for number in range(2000)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    frame, _ = read_batch(path, "a.csv", _config())
    assert frame["label"].unique().to_list() == ["a|b"]
    path.write_text("\n".join(["text,label", *rows, "one more,\"['a', 'b']\""]), encoding="utf-8")
    with pytest.raises(MalformedBatchError, match="list that was written as text"):
        read_batch(path, "a.csv", _config(max_quarantined_fraction=0.0))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"labels": ("a", "none")}, "'none'"),
        ({"labels": ("a", "[]")}, r"'\[\]'"),
        ({"labels": ("a|b", "c")}, r"'a\|b'"),
        ({"labels": ("a;b", "c"), "label_separator": ";"}, "'a;b'"),
        ({"label_mapping": {"1": "x|y"}}, r"'x\|y'"),
        ({"task": "classification", "no_label": "-"}, "no_label must not be given where task is 'classification'"),
        ({"task": "generation", "label_separator": ";"}, "label_separator must not be given"),
    ],
)
def test_a_label_that_could_not_be_told_in_a_cell_is_refused(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DataConfig(**{"task": "multi_label", **data})


def test_a_set_with_a_label_that_is_not_asked_for_has_no_column() -> None:
    assert indicators(pl.Series(["a|b", None, EMPTY]), ("b",)).tolist() == [[True], [False], [False]]
    assert indicators(pl.Series([], dtype=pl.String), ("b",)).shape == (0, 1)
    assert indicators(pl.Series(["a"]), ("a", "b")).dtype == np.bool_
