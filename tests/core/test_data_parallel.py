"""How the work of a step is divided among ranks, and what each of them draws."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import TrainingConfig
from ftzard.core.batching import Indices
from ftzard.core.data_parallel import ALONE, Ranks
from ftzard.core.optimization import AdapterOptimizer


def _shares(lengths: Indices, batch: Indices, size: int) -> list[Indices]:
    return [Ranks(rank, size).share(batch, lengths) for rank in range(size)]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40), size=st.integers(1, 5))
def test_every_example_of_a_step_is_computed_by_one_rank_and_the_tokens_are_balanced(
    lengths: list[int], size: int
) -> None:
    of_all = np.array(lengths)
    batch = np.arange(len(lengths))[::-1]
    shares = _shares(of_all, batch, size)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(lengths)))
    loads = [int(of_all[share].sum()) for share in shares]
    # No rank has more than a whole example above another.
    assert max(loads) - min(loads) <= max(lengths)


def test_one_rank_has_all_examples_in_their_order() -> None:
    batch = np.array([5, 1, 3])
    assert ALONE.share(batch, np.arange(1, 9)).tolist() == [5, 1, 3]


def _drawn(rank: int, step: int, seed: int = 0) -> list[float]:
    Ranks(rank, 2).reseed(seed, step)
    drawn: list[float] = torch.rand(4).tolist()
    return drawn


def test_what_a_rank_draws_in_a_step_depends_on_seed_step_and_rank_alone() -> None:
    with torch.random.fork_rng():
        first = _drawn(0, 3)
        torch.rand(7)
        assert _drawn(0, 3) == first
        assert first not in (_drawn(1, 3), _drawn(0, 4), _drawn(0, 3, seed=1))


def test_one_process_goes_on_with_its_own_random_numbers() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ALONE.reseed(0, 3)
        drawn = torch.rand(1)
        torch.manual_seed(1)
        assert drawn.equal(torch.rand(1))


def test_gradients_are_added_in_float32_before_they_are_clipped() -> None:
    parameters = [torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), torch.nn.Parameter(torch.ones(1))]
    parameters[0].grad = torch.tensor([3.0, 0.0], dtype=torch.bfloat16)
    seen: list[torch.dtype] = []

    def doubled(masters: Sequence[torch.Tensor]) -> None:
        for master in masters:
            seen.append(master.dtype)
            master.grad = torch.zeros_like(master) if master.grad is None else 2 * master.grad

    _, norm = AdapterOptimizer(parameters, TrainingConfig()).step(1.0, doubled)
    assert norm == pytest.approx(6.0)
    assert seen == [torch.float32, torch.float32]
