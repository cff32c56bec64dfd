"""What is replayed: at least its share of each label, however many labels an example has, and ever more of the same."""

import hashlib
import math
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ftzard.config import RetrainingConfig
from ftzard.core.label_sets import EMPTY, join_set, split_set
from ftzard.core.replay import replayed
from ftzard.core.retraining import retraining_plan
from ftzard.core.seen_examples import seen_in

_LABELS = ("common", "food", "music", "rare")
_CELLS = st.lists(st.sets(st.sampled_from(_LABELS)).map(join_set), max_size=40)
# Decimals as people write them, whose product with a count is often just above or below a whole number.
_SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


def _frame(cells: list[str]) -> pl.DataFrame:
    hashes = [hashlib.sha256(str(row).encode()).hexdigest()[:32] for row in range(len(cells))]
    return pl.DataFrame({"text_hash": hashes, "label": cells}, schema={"text_hash": pl.String, "label": pl.String})


def _quota(share: float, count: int) -> int:
    """The share of so many, rounded up, computed in whole numbers."""
    return math.ceil(Fraction(str(share)) * count)


def _kinds(cell: str) -> tuple[str, ...]:
    return split_set(cell) or (EMPTY,)


@given(_CELLS, _SHARES, st.integers(0, 9))
def test_of_each_label_and_of_having_none_at_least_its_share_is_drawn_and_nothing_that_no_label_asks_for(
    cells: list[str], share: float, seed: int
) -> None:
    old = _frame(cells)
    drawn = replayed(old, share, seed, "multi_label")
    assert drawn["text_hash"].is_unique().all()
    order = sorted(old.iter_rows(), key=lambda row: hashlib.sha256(f"{seed}:replay:{row[0]}".encode()).hexdigest())
    asked_for: set[str] = set()
    for kind in (*_LABELS, EMPTY):
        members = [text_hash for text_hash, cell in order if kind in _kinds(cell)]
        quota = _quota(share, len(members))
        assert sum(kind in _kinds(cell) for cell in drawn["label"]) >= quota
        asked_for.update(members[:quota])
    assert set(drawn["text_hash"]) == asked_for


@given(_CELLS, _SHARES, _SHARES, st.integers(0, 9), st.randoms())
def test_what_is_drawn_for_one_share_is_drawn_for_every_larger_one_in_whatever_order_the_rows_come(
    cells: list[str], one: float, other: float, seed: int, rng: Any
) -> None:
    old = _frame(cells)
    shuffled = old[pl.Series(rng.sample(range(old.height), old.height), dtype=pl.Int64)]
    smaller = replayed(old, min(one, other), seed, "multi_label")
    larger = replayed(shuffled, max(one, other), seed, "multi_label")
    assert set(smaller["text_hash"]) <= set(larger["text_hash"])
    again = replayed(shuffled, min(one, other), seed, "multi_label")
    assert_frame_equal(again.sort("text_hash"), smaller.sort("text_hash"))


@given(st.lists(st.sampled_from([*_LABELS, EMPTY]), max_size=40), _SHARES)
def test_where_each_text_has_one_label_sets_are_drawn_as_labels_are_and_of_each_exactly_its_share(
    cells: list[str], share: float
) -> None:
    old = _frame(cells)
    drawn = replayed(old, share, 0, "multi_label")
    assert_frame_equal(drawn, replayed(old, share, 0, "classification"))
    for label in set(cells):
        assert drawn.filter(label=label).height == _quota(share, cells.count(label))


def test_a_label_that_one_example_in_three_hundred_has_is_never_lost_and_little_more_than_the_share_is_drawn() -> None:
    cells = [
        join_set(label for place, label in enumerate(("common", "food")) if row >> place & 1) for row in range(299)
    ]
    old = _frame([*cells, "common|rare"])
    for seed in range(20):
        drawn = replayed(old, 0.1, seed, "multi_label")
        assert "common|rare" in drawn["label"].to_list()
        # 30 is the share. Of the four kinds each asks for its own, and they mostly ask for the same.
        assert drawn.height <= 45
    by_chance = [replayed(old, 0.1, seed, "generation")["label"].to_list() for seed in range(20)]
    assert not all("common|rare" in labels for labels in by_chance)


def test_the_plan_of_a_training_that_goes_on_replays_sets_label_by_label() -> None:
    old, new = _frame(["common"] * 60 + ["common|rare", EMPTY]), _frame(["food"] * 63).tail(1)
    settings = RetrainingConfig(start_from="champion", replay_fraction=0.1)
    plan = retraining_plan(pl.concat([old, new]), seen_in(old), settings, 0, task="multi_label")
    assert (plan.num_new, plan.num_old) == (1, replayed(old, 0.1, 0, "multi_label").height)
    assert {"common|rare", EMPTY} <= set(plan.examples["label"])


def test_a_text_with_several_labels_is_drawn_for_each_of_them_whatever_the_order() -> None:
    old = pl.DataFrame({"text_hash": ["a", "a", "a"], "label": ["common", "food", "common|food"]})
    for frame in (old, old.reverse()):
        drawn = replayed(frame, 0.5, 0, "multi_label")
        assert sorted(drawn["label"]) == ["common", "common|food"]
        assert replayed(frame, 0.5, 0, "classification").height == 3
