"""Sequences in one row, without padding, and what they all begin with only once.

A prompt's beginning (instructions, examples) is often the same for every text. In a causal model its hidden states do
not depend on what follows, so it is computed once for a micro-batch, and every sequence attends to it. Only positions
are dealt with here; `ftzard.core.packed_attention` makes a model compute with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftzard.core.prompts import Tokens

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackedBatch:
    """n sequences in one row of m tokens: their common prefix, then the rest of each.

    Attributes:
        input_ids: Shape (m,).
        position_ids: Shape (m,); the place of each token in its own sequence, from 0.
        last_token: Shape (n,); where in the row each sequence ends.
        lengths: Shape (n,), each at least 1; tokens of each sequence after the prefix.
        prefix_length: Tokens of the prefix, 0 where there is none.
    """

    input_ids: Indices
    position_ids: Indices
    last_token: Indices
    lengths: Indices
    prefix_length: int

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, the prefix included."""
        return self.prefix_length + int(self.lengths.max())


def pack(sequences: Sequence[Tokens]) -> PackedBatch:
    """Put sequences into one row.

    Args:
        sequences: One or more, none of them empty.
    """
    prefix_length = common_prefix_length(sequences)
    lengths = np.array([len(ids) - prefix_length for ids in sequences], dtype=np.int64)
    rests = [ids[prefix_length:] for ids in sequences]
    positions = [np.arange(prefix_length), *(np.arange(prefix_length, len(ids)) for ids in sequences)]
    return PackedBatch(
        np.concatenate([sequences[0][:prefix_length], *rests]).astype(np.int64),
        np.concatenate(positions).astype(np.int64),
        prefix_length + lengths.cumsum() - 1,
        lengths,
        prefix_length,
    )


def common_prefix_length(sequences: Sequence[Tokens]) -> int:
    """Tokens that all sequences begin with, without the last token of the shortest; 0 for a single sequence."""
    if len(sequences) == 1:
        return 0
    length = min(map(len, sequences)) - 1
    beginnings = np.stack([ids[:length] for ids in sequences])
    differs = np.flatnonzero((beginnings != beginnings[0]).any(axis=0))
    return int(differs[0]) if len(differs) else length
