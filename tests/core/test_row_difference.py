"""What became of the labelled rows between two tables."""

from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.row_difference import LabelledRow, RelabelledRow, difference_lines, row_difference

_ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["good", "bad", "fair"])), max_size=12)
_Rows = list[tuple[str, str]]


def _table(rows: _Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"text": pl.String, "label": pl.String}, orient="row")


@given(_ROWS, st.randoms())
def test_a_table_differs_from_itself_in_nothing_whatever_the_order(rows: _Rows, random: object) -> None:
    shuffled = sorted(rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    difference = row_difference(_table(rows), _table(shuffled))
    assert difference.is_empty
    assert difference.num_same == len(rows)


@given(_ROWS, _ROWS)
def test_the_way_back_is_the_way_there_turned_round(first: _Rows, second: _Rows) -> None:
    there, back = row_difference(_table(first), _table(second)), row_difference(_table(second), _table(first))
    assert (there.added, there.removed, there.num_same) == (back.removed, back.added, back.num_same)
    assert there.relabelled == tuple(RelabelledRow(row.text, row.after, row.before) for row in back.relabelled)


@given(_ROWS, _ROWS)
def test_applied_to_the_first_table_it_gives_the_second(first: _Rows, second: _Rows) -> None:
    difference = row_difference(_table(first), _table(second))
    found = Counter(first)
    found.subtract((row.text, row.label) for row in difference.removed)
    found.subtract((row.text, row.before) for row in difference.relabelled)
    found.update((row.text, row.label) for row in difference.added)
    found.update((row.text, row.after) for row in difference.relabelled)
    assert min(found.values(), default=0) >= 0
    assert +found == Counter(second)


def test_the_same_text_under_another_label_is_one_relabelled_row() -> None:
    difference = row_difference(_table([("a", "good"), ("b", "bad")]), _table([("a", "bad"), ("c", "bad")]))
    assert difference.relabelled == (RelabelledRow("a", "good", "bad"),)
    assert difference.added == (LabelledRow("c", "bad"),)
    assert difference.removed == (LabelledRow("b", "bad"),)


def test_a_person_reads_counts_by_label_and_no_more_examples_than_asked_for() -> None:
    difference = row_difference(_table([("a", "good")]), _table([("a", "bad"), ("b", "bad"), ("c", "bad")]))
    assert list(difference_lines("cleaned", difference, 1)) == [
        "cleaned: 0 rows are the same",
        "  added: 2 (bad: 2)",
        "    bad: 'b'",
        "  relabelled: 1 (good -> bad: 1)",
        "    good -> bad: 'a'",
    ]


def test_answers_in_words_are_shown_in_one_line_and_not_counted_one_by_one() -> None:
    rows = [(f"question {number}", f"answer\n{number} " + "long " * 20) for number in range(12)]
    _, counts, example = difference_lines("cleaned", row_difference(_table([]), _table(rows)), 1)
    assert counts == "  added: 12 (12 distinct labels)"
    assert example == f"    {'answer 0 long long long long long long long long long lon'}...: 'question 0'"


def test_a_text_of_pages_takes_one_line() -> None:
    _, _, example = difference_lines("cleaned", row_difference(_table([]), _table([("word " * 1000, "x")])), 1)
    assert example.startswith("    x: 'word word ")
    assert len(example) < 250


def test_a_terminal_obeys_no_label() -> None:
    table = pl.DataFrame({"text": ["a"], "label": ["good\x1b[2J\x1b]0;title\x07"]})
    lines = list(difference_lines("cleaned", row_difference(table.clear(), table), 3))
    assert "".join(lines).isprintable()
    assert r"good\x1b[2J" in lines[-1]
