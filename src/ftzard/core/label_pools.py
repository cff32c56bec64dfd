"""Rows without a label, and how sure a model is of what it would answer to each: what query strategies choose from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows without a label, and what a model says of them.

    Attributes:
        probabilities: Shape (n, k), float64, rows with sum 1; k is at least 2.
        embeddings: Shape (n, d), any floating type; None where nobody computed them.

    Raises:
        ValueError: The shapes do not fit together.
    """

    probabilities: FloatArray
    embeddings: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        """Two arrays of different length would rank one row by another's content."""
        if self.probabilities.ndim != 2 or (  # noqa: PLR2004 - a matrix
            self.embeddings is not None and len(self.embeddings) != len(self.probabilities)
        ):
            found = None if self.embeddings is None else self.embeddings.shape
            message = f"probabilities of shape {self.probabilities.shape} and embeddings of shape {found} are no pool"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of rows, n."""
        return len(self.probabilities)

    @property
    def likeliest(self) -> FloatArray:
        """The probability of the likeliest answer to each row, shape (n,)."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def gap(self) -> FloatArray:
        """By how much the likeliest answer is likelier than the next, shape (n,)."""
        ordered = np.sort(self.probabilities, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])

    @property
    def entropy(self) -> FloatArray:
        """Shannon's entropy of the answer, in nats, shape (n,)."""
        # Adding 0 makes the entropy of a certain row 0 and not -0.
        return np.asarray(-_log_terms(self.probabilities).sum(axis=1) + 0.0)


@dataclass(frozen=True, eq=False)
class LabelSetPool(Pool):
    """Rows whose answer is a set of labels.

    The model's outputs are the probabilities of the labels, each by itself, so that an answer is a set, and the set's
    probability the product over the labels (binary relevance). All three are those of that distribution over the 2^k
    sets, without going through them: the likeliest set has what is likelier of each label; the next one differs from
    it in the least certain label, which Brinker, "On Active Learning in Multi-label Classification", 2006, looks at
    alone; and the entropy of independent answers is the sum of theirs (Cover and Thomas, "Elements of Information
    Theory", theorem 2.6.6).

    Attributes:
        probabilities: Shape (n, k), float64, each from 0 to 1.
    """

    @property
    def likeliest(self) -> FloatArray:
        """The probability of the likeliest set, shape (n,)."""
        return np.asarray(self._surer.prod(axis=1))

    @property
    def gap(self) -> FloatArray:
        """By how much it is likelier than the next, shape (n,)."""
        least = self._surer.min(axis=1)
        return np.asarray(self.likeliest * (1.0 - (1.0 - least) / least))

    @property
    def entropy(self) -> FloatArray:
        """The sum over the labels, in nats, in [0, k ln 2], shape (n,)."""
        terms = _log_terms(self.probabilities) + _log_terms(1.0 - self.probabilities)
        return np.asarray(-terms.sum(axis=1) + 0.0)

    @property
    def _surer(self) -> FloatArray:
        return np.maximum(self.probabilities, 1.0 - self.probabilities)


def _log_terms(probabilities: FloatArray) -> FloatArray:
    """P ln p of each answer; a probability of 0 adds nothing."""
    logarithms = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return np.asarray(probabilities * logarithms)
