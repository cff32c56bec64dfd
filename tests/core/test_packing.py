"""Packed rows: every token once, in its place, and what all sequences begin with only once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.packing import common_prefix_length, pack
from ftzard.core.prompts import Tokens

ids = st.lists(st.integers(0, 3), min_size=1, max_size=8)
batches = st.lists(ids, min_size=1, max_size=6)


def _tokens(rows: list[list[int]]) -> list[Tokens]:
    return [np.array(row, dtype=np.int32) for row in rows]


@given(batches)
def test_each_sequence_can_be_read_back_from_the_prefix_and_its_own_part(rows: list[list[int]]) -> None:
    packed = pack(_tokens(rows))
    p = packed.prefix_length
    starts = p + packed.lengths.cumsum() - packed.lengths
    for row, start, length, last in zip(rows, starts, packed.lengths, packed.last_token, strict=True):
        assert [*packed.input_ids[:p], *packed.input_ids[start : start + length]] == row
        assert [*packed.position_ids[:p], *packed.position_ids[start : start + length]] == list(range(len(row)))
        assert (last, packed.input_ids[last]) == (start + length - 1, row[-1])
    assert len(packed.input_ids) == len(packed.position_ids) == p + packed.lengths.sum()
    assert packed.longest == max(map(len, rows))


@given(batches)
def test_the_prefix_is_the_longest_that_leaves_each_sequence_a_token(rows: list[list[int]]) -> None:
    p = common_prefix_length(_tokens(rows))
    assert len({tuple(row[:p]) for row in rows}) == 1
    if len(rows) > 1:
        is_longer_shared = len({tuple(row[: p + 1]) for row in rows}) == 1
        assert not is_longer_shared or p + 1 == min(map(len, rows))


def test_a_sequence_alone_shares_nothing() -> None:
    assert common_prefix_length(_tokens([[1, 2, 3]])) == 0
    assert common_prefix_length(_tokens([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 3]])) == 2
