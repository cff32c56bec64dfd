"""Batches: every example once, within the budget, and the same for the same seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.batching import micro_batches, num_optimizer_steps, optimizer_steps, pad_right, padded_tokens

_lengths = st.lists(st.integers(1, 200), min_size=1, max_size=300).map(lambda values: np.array(values, dtype=np.int64))


@given(lengths=_lengths, max_tokens=st.integers(1, 1000))
def test_micro_batches_hold_each_example_once(lengths: np.ndarray, max_tokens: int) -> None:
    batches = micro_batches(np.arange(len(lengths)), lengths, max_tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))


@given(lengths=_lengths, max_tokens=st.integers(1, 1000))
def test_a_micro_batch_stays_in_the_budget_or_is_a_single_example(lengths: np.ndarray, max_tokens: int) -> None:
    for batch in micro_batches(np.arange(len(lengths)), lengths, max_tokens):
        assert padded_tokens(batch, lengths) <= max_tokens or len(batch) == 1


@given(lengths=_lengths, max_tokens=st.integers(1, 1000))
def test_the_longest_examples_are_computed_first(lengths: np.ndarray, max_tokens: int) -> None:
    longest = [int(lengths[batch].max()) for batch in micro_batches(np.arange(len(lengths)), lengths, max_tokens)]
    assert longest == sorted(longest, reverse=True)


@given(lengths=_lengths, batch_size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_holds_each_example_once_in_steps_of_the_batch_size(
    lengths: np.ndarray, batch_size: int, seed: int
) -> None:
    steps = optimizer_steps(lengths, batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    assert len(steps) == num_optimizer_steps(len(lengths), batch_size)
    rest = len(lengths) % batch_size
    assert sorted(len(step) for step in steps if len(step) != batch_size) == ([rest] if rest else [])


@given(lengths=_lengths, seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_epoch(lengths: np.ndarray, seed: int) -> None:
    one, other = (optimizer_steps(lengths, 8, np.random.default_rng(seed)) for _ in range(2))
    assert [step.tolist() for step in one] == [step.tolist() for step in other]


def test_the_next_epoch_is_in_another_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, size=200)
    one, other = (np.concatenate(optimizer_steps(lengths, 16, rng)).tolist() for _ in range(2))
    assert one != other


def test_steps_of_similar_lengths_need_far_less_padding_than_random_ones() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 100, size=1000)
    bucketed = sum(padded_tokens(step, lengths) for step in optimizer_steps(lengths, 16, rng))
    shuffled = rng.permutation(1000)
    at_random = sum(padded_tokens(shuffled[start : start + 16], lengths) for start in range(0, 1000, 16))
    assert bucketed - lengths.sum() < 0.3 * (at_random - lengths.sum())


def test_padding_goes_to_the_right_and_the_last_token_is_named() -> None:
    batch = pad_right([np.array([7, 8, 9], dtype=np.int32), np.array([5], dtype=np.int32)])
    assert batch.input_ids[:, 0].tolist() == [7, 5]
    assert batch.input_ids[0].tolist() == [7, 8, 9]
    assert batch.input_ids.shape == (2, 3)
    assert batch.last_token.tolist() == [2, 0]
