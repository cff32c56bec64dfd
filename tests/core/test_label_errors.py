"""Labels that are probably wrong: found by what other examples teach, and kept as text that a data commit can hold."""

import sys
from pathlib import Path

import polars as pl
import pytest

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean
from ftzard.core.label_errors import find_label_errors, read_queue, write_queue
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.tweets import sample_tweets
from ftzard.errors import MissingPackageError, StorageError, TooFewExamplesError

LABELS = ("negative", "positive")
_IS_WRONG = pl.col("row") % 20 == 0


@pytest.fixture(scope="module")
def tweets() -> pl.DataFrame:
    """Real tweets as examples; each twentieth has the other label."""
    rows = sample_tweets(800, seed=3).with_columns(batch=pl.lit("a.csv"), row=pl.int_range(1, pl.len() + 1))
    other = pl.col("label").replace_strict({"negative": "positive", "positive": "negative"})
    rows = rows.with_columns(label=pl.when(_IS_WRONG).then(other).otherwise("label"))
    return clean(rows.select(RAW_SCHEMA.names()).cast(RAW_SCHEMA), DataConfig()).examples


def test_wrong_labels_are_found_far_more_often_than_by_chance_and_the_given_label_is_doubted(
    tweets: pl.DataFrame,
) -> None:
    queue = find_label_errors(tweets, LABELS, seed=0, max_rows=40)
    queued = queue.rows.join(tweets, on="text_hash", maintain_order="left")
    queued = queued.join(queue.sidecar, on="text_hash", suffix="_said", maintain_order="left")
    # One in twenty is wrong; real crowds err too, so that not all others are right.
    assert queued.filter(_IS_WRONG).height >= 40 / 20 * 4
    assert queued.height == 40
    assert (queued["label"] != queued["predicted_label"]).all()
    assert queued["position"].to_list() == list(range(1, 41))
    assert queued["uncertainty"].is_sorted(descending=True)
    assert set(queue.sidecar["strategy"]) == {"label_errors"}
    assert queue.rows.columns == ["text_hash", "text", "position"]


def test_the_order_of_the_examples_does_not_matter_and_nothing_of_them_changes(tweets: pl.DataFrame) -> None:
    before = tweets.clone()
    first, second = (find_label_errors(frame, LABELS, seed=0, max_rows=9) for frame in (tweets, tweets.reverse()))
    assert first.rows.equals(second.rows)
    assert first.sidecar.equals(second.sidecar)
    assert tweets.equals(before)


def test_a_text_with_several_labels_is_known_to_be_doubtful_and_not_queued(tweets: pl.DataFrame) -> None:
    first = find_label_errors(tweets, LABELS, seed=0, max_rows=1).rows["text_hash"][0]
    own = tweets.filter(pl.col("text_hash") == first)
    twice = pl.concat([tweets, own.with_columns(label=pl.lit("another"))])
    again = find_label_errors(twice, LABELS, seed=0, max_rows=800)
    assert first not in again.rows["text_hash"]


def test_a_label_of_fewer_examples_than_folds_is_an_error_that_names_it(tweets: pl.DataFrame) -> None:
    few = pl.concat([tweets.filter(label="negative"), tweets.filter(label="positive").head(4)])
    with pytest.raises(TooFewExamplesError, match=r"4 example\(s\) have the label 'positive'"):
        find_label_errors(few, LABELS, seed=0, max_rows=9)


def test_without_the_package_the_error_names_it(tweets: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingPackageError, match=r"ftzard\[cleanlab\]"):
        find_label_errors(tweets.head(100), LABELS, seed=0, max_rows=9)


def test_a_queue_is_the_same_when_it_is_read_again(tweets: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "queue.ndjson"
    assert read_queue(path) is None
    queue = find_label_errors(tweets, LABELS, seed=0, max_rows=9)
    path.write_text(write_queue(queue), encoding="utf-8")
    read = read_queue(path)
    assert read is not None
    assert read.rows.equals(queue.rows)
    assert read.sidecar.equals(queue.sidecar)
    assert read.labels == LABELS
    path.write_text("")
    assert read_queue(path) is None


@pytest.mark.parametrize("content", ["{", '{"a": 1}', '{"probabilities": 1}', "[]"])
def test_a_queue_that_cannot_be_read_is_an_error_that_names_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.ndjson"
    path.write_text(content)
    with pytest.raises(StorageError, match=r"queue\.ndjson holds no label queue"):
        read_queue(path)
