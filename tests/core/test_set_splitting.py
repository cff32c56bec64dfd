"""Splits of texts with sets of labels: by content alone, so that they stay, and each label's share right on average."""

import hashlib
import math
import random

import polars as pl
import pytest

from ftzard.config import DataConfig
from ftzard.core.data_drift import batch_drifts
from ftzard.core.label_sets import EMPTY, join_set
from ftzard.core.population_stability import PSI_LARGE
from ftzard.core.records import EXAMPLE_SCHEMA, Splits
from ftzard.core.splitting import split, stratification_error
from ftzard.errors import TooFewExamplesError

_SHARES = {"food": 0.4, "travel": 0.2, "sport": 0.1}
_CONFIG = DataConfig(task="multi_label", near_duplicate_edits=0)


def _examples(num: int, batch: str = "a.csv") -> pl.DataFrame:
    rng = random.Random(num)  # noqa: S311
    rows = []
    for row in range(1, num + 1):
        labels = [label for label, share in _SHARES.items() if rng.random() < share]
        text = f"{batch} {hashlib.sha256(str(row).encode()).hexdigest()}"
        rows.append((hashlib.sha256(text.encode()).hexdigest()[:32], text, join_set(labels), batch, row))
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")


def test_the_share_of_each_label_is_off_by_no_more_than_chance() -> None:
    splits = split(_examples(2000), _CONFIG)
    error = stratification_error(splits, "multi_label")
    assert 0 < error < 5 * math.sqrt(0.4 * 0.6 / splits.test.height)


def test_an_error_is_measured_label_by_label_and_not_set_by_set() -> None:
    both, none = (pl.DataFrame({"label": cells}) for cells in (["a|b", EMPTY], ["a", "b"]))
    # Half of the rows of either have each label.
    assert stratification_error(Splits(both, both.clear(), none), "multi_label") == 0
    assert stratification_error(Splits(both, both.clear(), both.head(1)), "multi_label") == pytest.approx(1 / 3)
    nothing = pl.DataFrame({"label": [EMPTY]})
    assert stratification_error(Splits(nothing, nothing.clear(), nothing), "multi_label") == 0


def test_rows_that_are_added_and_other_labels_move_none_of_those_before() -> None:
    first = _examples(300)
    more = pl.concat([first, _examples(400, "b.csv")])
    before, after = split(first, _CONFIG), split(more, _CONFIG, frozen=None)
    for name in ("train", "validation", "test"):
        gone = getattr(before, name).join(getattr(after, name), on="text_hash", how="anti")
        assert gone.is_empty()
    relabelled = split(first.with_columns(label=pl.lit("food|sport|travel")), _CONFIG)
    assert relabelled.test["text_hash"].to_list() == before.test["text_hash"].to_list()


def test_a_label_that_a_split_lacks_is_named_by_itself() -> None:
    rare = _examples(60).with_columns(
        label=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("food|rare")).otherwise("label")
    )
    with pytest.raises(TooFewExamplesError, match=r"(train|test) has no 'rare' \(its counts: \{'food': \d+"):
        split(rare, _CONFIG)


def test_drift_of_answers_is_that_of_the_labels_and_not_of_the_sets() -> None:
    parts = {"old.csv": ["a|b", EMPTY, "a|b", EMPTY], "new.csv": ["a", "b", "a", "b"]}
    rows = [
        (f"{name} {number}", f"{name} {number}", label, name, number)
        for name, labels in parts.items()
        for number, label in enumerate(labels * 10)
    ]
    examples = pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")
    (drift,) = batch_drifts(examples, examples.filter(batch="old.csv"), ["new.csv"], _CONFIG)
    assert drift.answers is not None
    assert drift.answers.value == pytest.approx(0)


def test_a_file_of_texts_that_have_lost_their_labels_has_drifted() -> None:
    parts = {"old.csv": ["a", "a|b"], "none.csv": [EMPTY, EMPTY], "half.csv": [EMPTY, "a", EMPTY, "a|b"]}
    rows = [
        (f"{name} {number}", f"{name} {number}", label, name, number)
        for name, labels in parts.items()
        for number, label in enumerate(labels * 20)
    ]
    examples = pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")
    drifts = batch_drifts(examples, examples.filter(batch="old.csv"), ["none.csv", "half.csv"], _CONFIG)
    for drift in drifts:
        assert drift.answers is not None
        assert drift.answers.is_beyond_chance
        assert drift.answers.value > PSI_LARGE
