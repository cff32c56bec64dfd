"""Rankings: what each strategy puts first, and what holds for all of them on any pool."""

import dataclasses
import inspect
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.config import LabellingConfig
from ftzard.core.label_pools import Pool
from ftzard.core.query_strategies import (
    QUERY_STRATEGIES,
    Diverse,
    Entropy,
    LeastConfidence,
    Margin,
    QueryStrategy,
    Random,
    make_query_strategy,
)

NAMES = tuple(QUERY_STRATEGIES)
UNCERTAIN_ONES = ("least_confidence", "margin", "entropy")


def strategy(name: str, quantile: float = 0.0) -> QueryStrategy:
    return QUERY_STRATEGIES[name](quantile)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_pool(seed: int, num_rows: int, num_labels: int, num_values: int | None = None) -> Pool:
    """With `num_values` the rows repeat each other, so that there are ties."""
    generator = rng(seed)
    probabilities = generator.dirichlet(np.ones(num_labels), size=num_values or num_rows)
    embeddings = generator.normal(size=(len(probabilities), 3)).astype(np.float32)
    rows = np.arange(num_rows) % len(probabilities) if num_rows else np.empty(0, dtype=np.int64)
    return Pool(probabilities[rows], embeddings[rows])


pools = st.builds(
    random_pool, st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(2, 4), st.sampled_from([None, 1, 3])
)


def test_each_configured_name_is_a_strategy_with_its_paper_in_the_docstring() -> None:
    (field,) = (item for item in dataclasses.fields(LabellingConfig) if item.name == "query_strategy")
    assert set(get_args(field.type)) == set(QUERY_STRATEGIES)
    for name in NAMES:
        config = LabellingConfig(query_strategy=name, uncertainty_quantile=0.3)  # type: ignore[arg-type]
        made: Any = make_query_strategy(config)
        assert type(made) is QUERY_STRATEGIES[name]
        assert made.uncertainty_quantile == 0.3
        assert name == "random" or any(
            year in (inspect.getdoc(made) or "") for year in ("1994", "1995", "2001", "2018")
        )


@settings(max_examples=60)
@given(pool=pools, num_rows=st.integers(0, 50), quantile=st.floats(0, 1), name=st.sampled_from(NAMES))
def test_a_ranking_has_distinct_rows_of_the_pool_and_is_the_same_each_time(
    pool: Pool, num_rows: int, quantile: float, name: str
) -> None:
    ranked = strategy(name, quantile).query(pool, num_rows, rng())
    assert ranked.dtype == np.int64
    assert len(set(ranked.tolist())) == len(ranked) <= min(num_rows, len(pool))
    assert set(ranked.tolist()) <= set(range(len(pool)))
    assert strategy(name, quantile).query(pool, num_rows, rng()).tolist() == ranked.tolist()
    if quantile == 0 or name == "random":
        assert len(ranked) == min(num_rows, len(pool))


@settings(max_examples=60)
@given(pool=pools, num_rows=st.integers(0, 50), quantile=st.floats(0, 1), name=st.sampled_from(UNCERTAIN_ONES))
def test_the_more_uncertain_row_comes_first_and_of_equal_ones_the_earlier(
    pool: Pool, num_rows: int, quantile: float, name: str
) -> None:
    uncertainty = strategy(name).uncertainty(pool)
    ranked = strategy(name, quantile).query(pool, num_rows, rng())
    keys = [(-uncertainty[index], index) for index in ranked]
    assert keys == sorted(keys)
    left_out = np.delete(uncertainty, ranked)
    if len(ranked) == num_rows > 0 and left_out.size:
        assert left_out.max() <= uncertainty[ranked].min()


@settings(max_examples=60)
@given(pool=pools, seed=st.integers(0, 9), name=st.sampled_from([*UNCERTAIN_ONES, "diverse"]))
def test_the_order_of_the_pool_does_not_matter_where_no_two_rows_are_equal(pool: Pool, seed: int, name: str) -> None:
    assert pool.embeddings is not None
    if len(np.unique(pool.probabilities, axis=0)) < len(pool):
        return
    order = rng(seed).permutation(len(pool))
    shuffled = Pool(pool.probabilities[order], pool.embeddings[order])
    ranked = strategy(name, 0.5).query(pool, 5, rng())
    assert order[strategy(name, 0.5).query(shuffled, 5, rng())].tolist() == ranked.tolist()


@settings(max_examples=40)
@given(pool=pools, quantile=st.floats(0, 1), name=st.sampled_from([*UNCERTAIN_ONES, "diverse"]))
def test_only_rows_at_or_above_the_quantile_of_the_pool_are_ranked(pool: Pool, quantile: float, name: str) -> None:
    made = strategy(name, quantile)
    threshold = made.threshold(pool)
    ranked = made.query(pool, len(pool), rng())
    if threshold is None:
        assert len(pool) == 0
        return
    uncertainty = made.uncertainty(pool)
    assert set(ranked.tolist()) == set(np.flatnonzero(uncertainty >= threshold).tolist())
    # At least one row, and at least the share that the quantile leaves.
    assert len(ranked) >= max(1.0, (1 - quantile) * len(pool) - 1e-6)


@pytest.mark.parametrize("name", [*UNCERTAIN_ONES, "random"])
def test_a_ranking_of_fewer_rows_is_the_beginning_of_one_of_more(name: str) -> None:
    pool = random_pool(1, 30, 3)
    assert strategy(name).query(pool, 7, rng()).tolist() == strategy(name).query(pool, 20, rng()).tolist()[:7]


def test_with_two_labels_the_three_measures_rank_alike() -> None:
    pool = random_pool(2, 50, 2)
    rankings = {tuple(strategy(name).query(pool, 50, rng())) for name in UNCERTAIN_ONES}
    assert len(rankings) == 1


def test_each_measure_has_its_own_favourite_among_three_rows() -> None:
    # The first has the lowest maximum, the second the closest pair on top, the third is certain.
    pool = Pool(np.array([[0.44, 0.28, 0.28], [0.49, 0.48, 0.03], [1.0, 0.0, 0.0]]))
    assert LeastConfidence(0.0).query(pool, 1, rng()).tolist() == [0]
    assert Margin(0.0).query(pool, 1, rng()).tolist() == [1]
    assert Entropy(0.0).query(pool, 1, rng()).tolist() == [0]


def test_the_measures_are_0_for_a_certain_row_and_largest_for_an_even_one() -> None:
    pool = Pool(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
    assert LeastConfidence(0.0).uncertainty(pool) == pytest.approx([0.0, 2 / 3])
    assert Margin(0.0).uncertainty(pool) == pytest.approx([0.0, 1.0])
    assert Entropy(0.0).uncertainty(pool) == pytest.approx([0.0, np.log(3)])


def test_random_ranks_each_row_first_equally_often_whatever_the_model_says() -> None:
    pool = Pool(np.array([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1], [0.6, 0.4]]))
    generator = rng()
    firsts = np.bincount([Random(0.75).query(pool, 1, generator)[0] for _ in range(4000)], minlength=4)
    # Five standard deviations of a binomial with p = 1/4.
    assert np.abs(firsts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_diverse_asks_once_about_each_cluster_before_it_asks_twice() -> None:
    centres = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    which = np.repeat([0, 1, 2], 10)
    embeddings = 5 * centres[which] + rng().normal(scale=0.1, size=(30, 2))
    # The first cluster is the most uncertain one: without diversity all queries would go there.
    confidence = 0.5 + 0.01 * np.arange(30)
    pool = Pool(np.column_stack([confidence, 1 - confidence]), embeddings)
    assert set(which[LeastConfidence(0.0).query(pool, 3, rng())]) == {0}
    assert sorted(which[Diverse(0.0).query(pool, 3, rng())]) == [0, 1, 2]
    assert Diverse(0.0).query(pool, 3, rng())[0] == 0


def test_diverse_does_not_look_at_rows_the_model_is_sure_of_however_different_they_are() -> None:
    pool = Pool(np.array([[0.5, 0.5], [0.55, 0.45], [0.99, 0.01]]), np.array([[1.0, 0.0], [0.9, 0.1], [-50.0, 9.0]]))
    assert sorted(Diverse(0.5).query(pool, 3, rng())) == [0, 1]


def test_diverse_ranks_equal_embeddings_too_and_says_when_it_has_none() -> None:
    pool = Pool(np.full((4, 2), 0.5), np.ones((4, 3)))
    assert sorted(Diverse(0.0).query(pool, 4, rng())) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="embeddings"):
        Diverse(0.0).query(Pool(pool.probabilities), 1, rng())


def test_arrays_that_do_not_fit_together_are_no_pool() -> None:
    with pytest.raises(ValueError, match="no pool"):
        Pool(np.full((4, 2), 0.5), np.ones((3, 3)))
    with pytest.raises(ValueError, match="no pool"):
        Pool(np.full(4, 0.5))
