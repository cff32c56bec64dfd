"""Labels too many or too few: found by what other examples teach, label by label, and kept as text."""

import random
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.core.set_scenario import LABELS, examples

from ftzard.core.doubted_labels import DOUBTED_SCHEMA, doubted_labels, doubts_in_words
from ftzard.core.label_errors import read_queue, write_queue
from ftzard.core.label_sets import EMPTY, join_set, set_members
from ftzard.core.set_label_errors import find_set_label_errors
from ftzard.errors import MissingPackageError, TooFewExamplesError

_RIGHT = examples(300, 5)
_IS_WRONG = pl.col("row") % 20 == 0


def _with_wrong_sets() -> pl.DataFrame:
    """Each twentieth has one label too many or too few."""
    rng = random.Random(7)  # noqa: S311  # toy labels are no secret
    turned = [join_set(sorted({*members} ^ {rng.choice(LABELS)})) for members in set_members(_RIGHT["label"]).to_list()]
    return _RIGHT.with_columns(label=pl.when(_IS_WRONG).then(pl.Series(turned)).otherwise("label"))


def test_a_label_too_many_or_too_few_is_found_and_the_most_doubtful_comes_first() -> None:
    wrong = _with_wrong_sets()
    queue = find_set_label_errors(wrong, LABELS, seed=0, max_rows=100)
    queued = queue.rows.join(wrong, on="text_hash", maintain_order="left")
    # By chance one queued example in twenty would be wrong.
    assert queued.filter(_IS_WRONG).height >= 12
    assert queued.height <= 20
    said = queued.join(queue.sidecar, on="text_hash", suffix="_said", maintain_order="left")
    assert said["uncertainty"].is_sorted(descending=True)
    # What the baseline says of the wrong ones is what they had.
    right = said.filter(_IS_WRONG).join(_RIGHT.select("text_hash", right="label"), on="text_hash")
    assert (right["predicted_label"] == right["right"]).all()
    assert queue.takes_sets
    assert queue.labels == LABELS
    assert set(queue.sidecar["strategy"]) == {"label_errors"}


def test_of_a_set_it_is_told_which_label_is_doubted_and_whether_it_is_one_too_many_or_missing() -> None:
    wrong = _with_wrong_sets()
    doubted = doubted_labels(find_set_label_errors(wrong, LABELS, seed=0, max_rows=100), wrong)
    right = doubted.join(_RIGHT.select("batch", "row", right="label"), on=["batch", "row"]).filter(_IS_WRONG)
    assert right.height >= 12
    for row in right.iter_rows(named=True):
        had, has = (set(one) for one in set_members(pl.Series([row["right"], row["label"]])).to_list())
        assert {row["doubted"]} == had ^ has
        assert row["is_given"] == (row["doubted"] in has)
        assert (row["probability"] < 0.5) == row["is_given"]
    assert set(right["is_given"]) == {True, False}
    for row, line in zip(doubted.iter_rows(named=True), doubts_in_words(doubted), strict=True):
        how = "with" if row["is_given"] else "without"
        said = "" if row["label"] == row["doubted"] else f"{row['label']!r} {how} "
        assert line.startswith(f"{row['batch']}, row {row['row']}: {said}{row['doubted']!r}, which is ")


def test_a_terminal_obeys_nothing_of_what_is_doubted() -> None:
    row = ("data/raw/\x1b[2J.csv", 1, "some\x1b[31m text", "a", "a", True, 0.1)
    (line,) = doubts_in_words(pl.DataFrame([row], schema=DOUBTED_SCHEMA, orient="row"))
    assert line == r"data/raw/\x1b[2J.csv, row 1: 'a', which is 10% likely: some\x1b[31m text"


def test_the_order_of_the_examples_does_not_matter_and_no_more_are_queued_than_asked_for() -> None:
    wrong = _with_wrong_sets()
    first, second = (find_set_label_errors(frame, LABELS, seed=0, max_rows=9) for frame in (wrong, wrong.reverse()))
    assert first.rows.equals(second.rows)
    assert first.sidecar.equals(second.sidecar)
    assert first.rows.height == 9


def test_a_text_with_several_sets_is_known_to_be_doubtful_and_not_queued() -> None:
    wrong = _with_wrong_sets()
    first = find_set_label_errors(wrong, LABELS, seed=0, max_rows=1).rows["text_hash"][0]
    twice = pl.concat([wrong, wrong.filter(pl.col("text_hash") == first).with_columns(label=pl.lit(EMPTY))])
    assert first not in find_set_label_errors(twice, LABELS, seed=0, max_rows=300).rows["text_hash"]


def test_a_label_that_few_examples_have_or_that_few_have_not_is_an_error_that_names_it() -> None:
    has_music = set_members(_RIGHT["label"]).list.contains("music")
    few = pl.concat([_RIGHT.filter(has_music).head(4), _RIGHT.filter(~has_music)])
    with pytest.raises(TooFewExamplesError, match=r"4 example\(s\) have the label 'music'"):
        find_set_label_errors(few, LABELS, seed=0, max_rows=9)
    most = pl.concat([_RIGHT.filter(has_music), _RIGHT.filter(~has_music).head(3)])
    with pytest.raises(TooFewExamplesError, match=r"3 example\(s\) do not have the label 'music'"):
        find_set_label_errors(most, LABELS, seed=0, max_rows=9)


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.multilabel_classification.filter", None)
    with pytest.raises(MissingPackageError, match=r"ftzard\[cleanlab\]"):
        find_set_label_errors(_RIGHT, LABELS, seed=0, max_rows=9)


def test_a_queue_of_sets_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    queue = find_set_label_errors(_with_wrong_sets(), LABELS, seed=0, max_rows=9)
    path = tmp_path / "queue.ndjson"
    path.write_text(write_queue(queue), encoding="utf-8")
    read = read_queue(path)
    assert read is not None
    assert read.rows.equals(queue.rows)
    assert read.sidecar.equals(queue.sidecar)
    assert read.takes_sets
