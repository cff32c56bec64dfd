"""Which examples are computed together: length buckets under a token budget, shuffled with a seed.

Only lengths and indices are dealt with here. An *optimizer step* is a fixed number of examples; it is computed as one
or more *micro-batches*, each a right-padded rectangle of at most so many tokens, padding included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftzard.core.prompts import Tokens

Indices = npt.NDArray[np.int64]

# Examples of similar length are looked for among this many optimizer steps: enough to leave little padding, few enough
# that neighbours in length are not the same in each epoch.
_STEPS_PER_WINDOW = 8


@dataclass(frozen=True)
class PaddedBatch:
    """A rectangle of token ids.

    Attributes:
        input_ids: Shape (n, longest); each row holds its tokens first and padding after them.
        last_token: Shape (n,); position of each row's last real token.
    """

    input_ids: npt.NDArray[np.int64]
    last_token: Indices


def pad_right(input_ids: Sequence[Tokens]) -> PaddedBatch:
    """Put sequences into one rectangle, each at the left.

    The padding's value is of no account to a causal model that is read at `last_token`; 0 is an id of every vocabulary.
    """
    lengths = np.array([len(ids) for ids in input_ids], dtype=np.int64)
    rectangle = np.zeros((len(lengths), int(lengths.max())), dtype=np.int64)
    for row, ids in zip(rectangle, input_ids, strict=True):
        row[: len(ids)] = ids
    return PaddedBatch(rectangle, lengths - 1)


def micro_batches(indices: Indices, lengths: Indices, max_tokens: int) -> list[Indices]:
    """Cut examples into micro-batches, the longest first.

    Args:
        indices: Positions of the examples, shape (n,).
        lengths: Tokens of every example that `indices` can point to.
        max_tokens: Budget for number of rows times longest row. An example that is longer goes alone.

    Returns:
        Each index once. Longest first, so that a batch that does not fit into memory shows at the start.
    """
    by_length = indices[np.argsort(-lengths[indices], kind="stable")]
    batches: list[Indices] = []
    start = 0
    while start < len(by_length):
        num_rows = max(1, max_tokens // int(lengths[by_length[start]]))
        batches.append(by_length[start : start + num_rows])
        start += num_rows
    return batches


def optimizer_steps(lengths: Indices, batch_size: int, rng: np.random.Generator) -> list[Indices]:
    """One epoch: every example once, in steps of `batch_size` examples of similar length, in random order.

    The examples are shuffled, cut into windows of a few steps, sorted by length within a window, and the steps are
    shuffled again. One step, somewhere, holds the rest.
    """
    order = rng.permutation(len(lengths)).astype(np.int64)
    window = batch_size * _STEPS_PER_WINDOW
    steps: list[Indices] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        steps += [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
    return [steps[position] for position in rng.permutation(len(steps))]


def num_optimizer_steps(num_examples: int, batch_size: int) -> int:
    """Steps of one epoch, as `optimizer_steps` makes them."""
    return -(-num_examples // batch_size)


def padded_tokens(batch: Indices, lengths: Indices) -> int:
    """Tokens that a micro-batch makes the model compute, padding included."""
    return len(batch) * int(lengths[batch].max())
