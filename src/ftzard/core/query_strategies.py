"""Which rows of a pool are worth a person's time: query strategies, each an object with one `query`.

A strategy ranks; it neither labels nor removes anything. Those that look for uncertainty rank only rows that are at
least as uncertain as a quantile of the pool, as the ancestor did: people's time goes where the model has doubts.

Equal rows are ranked in the order of the pool, so that a ranking is the same each time. The order of the pool decides
about nothing else, except for `Random`, whose draw it is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ftzard.config import LabellingConfig
from ftzard.core.label_pools import Pool

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Citovsky et al. (2021) cluster ten times as many uncertain rows as they query; fewer leave nothing to choose from,
# more let in rows that are only different.
_CANDIDATES_PER_ROW: Final = 10


class QueryStrategy(Protocol):
    """Ranks the rows of a pool."""

    @property
    def needs_embeddings(self) -> bool:
        """Whether the pool has to have embeddings."""

    def uncertainty(self, pool: Pool) -> FloatArray:
        """How uncertain the model is of each row, shape (n,); higher is more uncertain."""

    def threshold(self, pool: Pool) -> float | None:
        """The least uncertainty of a row that is ranked; None where all rows are, or there are none."""

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Rank rows, the most worthwhile first.

        Args:
            pool: The n rows; there may be none.
            num_rows: How many are wanted.
            rng: The only source of chance.

        Returns:
            Distinct indices into the pool, shape (m,) with m <= min(num_rows, n).
        """


@dataclass(frozen=True)
class LeastConfidence:
    """Rows whose predicted label is least probable: 1 - max p, in [0, 1 - 1/k].

    Lewis and Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994; named so by Culotta and
    McCallum, "Reducing Labeling Effort for Structured Prediction Tasks", AAAI 2005. It is what the ancestor used, with
    its threshold at a quantile. With two labels it ranks like margin and entropy.

    Attributes:
        uncertainty_quantile: In [0, 1]; rows below this quantile of the pool's uncertainty are left out.
    """

    uncertainty_quantile: float
    needs_embeddings = False

    def uncertainty(self, pool: Pool) -> FloatArray:
        """1 - max p."""
        return np.asarray(1.0 - pool.likeliest)

    def threshold(self, pool: Pool) -> float | None:
        """The quantile of the pool."""
        return _quantile(self.uncertainty(pool), self.uncertainty_quantile)

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Rank by uncertainty; nothing is left to chance."""
        del rng
        return _most_uncertain(self.uncertainty(pool), self.uncertainty_quantile, num_rows)


@dataclass(frozen=True)
class Margin:
    """Rows whose two likeliest labels are closest: 1 - (p1 - p2), in [0, 1].

    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001.

    Attributes:
        uncertainty_quantile: As for `LeastConfidence`.
    """

    uncertainty_quantile: float
    needs_embeddings = False

    def uncertainty(self, pool: Pool) -> FloatArray:
        """One minus the distance of the two likeliest labels."""
        return np.asarray(1.0 - pool.gap)

    def threshold(self, pool: Pool) -> float | None:
        """The quantile of the pool."""
        return _quantile(self.uncertainty(pool), self.uncertainty_quantile)

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Rank by uncertainty; nothing is left to chance."""
        del rng
        return _most_uncertain(self.uncertainty(pool), self.uncertainty_quantile, num_rows)


@dataclass(frozen=True)
class Entropy:
    """Rows whose probabilities say least: Shannon's entropy in nats, in [0, ln k].

    Dagan and Engelson, "Committee-Based Sampling for Training Probabilistic Classifiers", ICML 1995, with a committee
    of one; Settles, "Active Learning Literature Survey", 2009, equation 3.

    Attributes:
        uncertainty_quantile: As for `LeastConfidence`.
    """

    uncertainty_quantile: float
    needs_embeddings = False

    def uncertainty(self, pool: Pool) -> FloatArray:
        """Minus the sum of p ln p; a probability of 0 adds nothing."""
        return pool.entropy

    def threshold(self, pool: Pool) -> float | None:
        """The quantile of the pool."""
        return _quantile(self.uncertainty(pool), self.uncertainty_quantile)

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Rank by uncertainty; nothing is left to chance."""
        del rng
        return _most_uncertain(self.uncertainty(pool), self.uncertainty_quantile, num_rows)


@dataclass(frozen=True)
class Random:
    """Rows drawn uniformly without replacement: what every other strategy has to beat.

    Attributes:
        uncertainty_quantile: Of no account; a draw that left out certain rows would not be random.
    """

    uncertainty_quantile: float
    needs_embeddings = False

    def uncertainty(self, pool: Pool) -> FloatArray:
        """1 - max p, for the record."""
        return np.asarray(1.0 - pool.likeliest)

    def threshold(self, pool: Pool) -> None:
        """None: every row has the same chance."""
        del pool

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Shuffle the pool and take the first."""
        return rng.permutation(len(pool)).astype(np.int64)[:num_rows]


@dataclass(frozen=True)
class Diverse:
    """Uncertain rows that also differ from each other.

    Greedy k-center (Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR
    2018, algorithm 1) among the most uncertain rows by least confidence, ten times as many as are wanted (as Citovsky
    et al., "Batch Active Learning at Scale", NeurIPS 2021, do): the most uncertain first, then always the row farthest
    from those chosen. On the whole pool k-center would look for outliers, whether the model is sure of them or not;
    among uncertain rows it keeps a batch from being one question asked many times. Unlike BADGE (Ash et al., ICLR 2020)
    it draws no random numbers and keeps the meaning of the threshold.

    Distances are between embeddings from which the candidates' mean is taken and that are then scaled to length 1:
    hidden states of language models share one large direction, beside which all texts would look alike.

    Attributes:
        uncertainty_quantile: As for `LeastConfidence`.
    """

    uncertainty_quantile: float
    needs_embeddings = True

    def uncertainty(self, pool: Pool) -> FloatArray:
        """1 - max p."""
        return np.asarray(1.0 - pool.likeliest)

    def threshold(self, pool: Pool) -> float | None:
        """The quantile of the pool."""
        return _quantile(self.uncertainty(pool), self.uncertainty_quantile)

    def query(self, pool: Pool, num_rows: int, rng: np.random.Generator) -> IntArray:
        """Rank by distance to what is ranked already; nothing is left to chance.

        Unlike with the other strategies, a ranking of fewer rows has fewer candidates and need not be the beginning of
        one of more.

        Raises:
            ValueError: The pool has no embeddings.
        """
        del rng
        if pool.embeddings is None:
            message = "the strategy `diverse` needs the embeddings of the pool"
            raise ValueError(message)
        uncertainty = self.uncertainty(pool)
        candidates = _most_uncertain(uncertainty, self.uncertainty_quantile, _CANDIDATES_PER_ROW * num_rows)
        return candidates[_k_center(_directions(pool.embeddings[candidates]), num_rows)]


QUERY_STRATEGIES: Final[Mapping[str, type[LeastConfidence | Margin | Entropy | Random | Diverse]]] = MappingProxyType(
    {
        "least_confidence": LeastConfidence,
        "margin": Margin,
        "entropy": Entropy,
        "random": Random,
        "diverse": Diverse,
    }
)


def make_query_strategy(config: LabellingConfig) -> QueryStrategy:
    """The strategy that `labelling.query_strategy` names."""
    return QUERY_STRATEGIES[config.query_strategy](config.uncertainty_quantile)


def _quantile(uncertainty: FloatArray, quantile: float) -> float | None:
    """The smallest value that at least this share of the values do not exceed; a value that occurs, not one between."""
    if not uncertainty.size:
        return None
    return float(np.quantile(uncertainty, quantile, method="inverted_cdf"))


def _most_uncertain(uncertainty: FloatArray, quantile: float, num_rows: int) -> IntArray:
    threshold = _quantile(uncertainty, quantile)
    if threshold is None:
        return np.empty(0, dtype=np.int64)
    order = np.argsort(-uncertainty, kind="stable").astype(np.int64)
    return order[uncertainty[order] >= threshold][:num_rows]


def _directions(embeddings: NDArray[np.floating]) -> FloatArray:
    centred = embeddings.astype(np.float64)
    centred -= centred.mean(axis=0) if len(centred) else 0.0
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _k_center(points: FloatArray, num_rows: int) -> IntArray:
    """Indices of points: the first, then always the one farthest from all before it; the earlier of equals."""
    chosen: list[int] = []
    distances = np.full(len(points), np.inf)
    while len(chosen) < min(num_rows, len(points)):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.square(points - points[chosen[-1]]).sum(axis=1))
        # A point that is as near as one can be is still a point; those that are chosen are not.
        distances[chosen] = -1.0
    return np.array(chosen, dtype=np.int64)
