"""How long texts are, of several parts of the data on one scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ftzard.core.metrics import FloatArray, IntArray

_NUM_BINS: Final = 24
# Beyond this share, or so many times what nearly all are at most, the rare long ones would leave the others one bar.
_SHOWN: Final = 0.99
_NEARLY_ALL: Final = 0.95
_MAX_TIMES_NEARLY_ALL: Final = 3


@dataclass(frozen=True)
class LengthSummary:
    """The lengths of the texts of one part.

    Attributes:
        name: Of the part.
        num_texts: How many; at least one.
        minimum: The shortest.
        p5: What 5 % are at most as long as.
        median: What half of them are.
        p95: What 95 % are.
        maximum: The longest.
        width: What a bar spans: the first one lengths from 0 to `width` - 1.
        counts: Texts in each bar; the last one also has all that are longer.
    """

    name: str
    num_texts: int
    minimum: int
    p5: int
    median: int
    p95: int
    maximum: int
    width: int
    counts: tuple[int, ...]


def length_summaries(lengths: Mapping[str, FloatArray | IntArray]) -> tuple[LengthSummary, ...]:
    """Summarise the lengths of parts, with the same bars for each.

    Args:
        lengths: Name -> lengths, shape (n,); a part without any is left out.
    """
    filled = {name: np.asarray(values, dtype=np.int64) for name, values in lengths.items() if values.size}
    if not filled:
        return ()
    longest = max(longest_shown(values) for values in filled.values())
    width = max(1, -(-(longest + 1) // _NUM_BINS))
    return tuple(_summary(name, values, width, longest // width + 1) for name, values in filled.items())


def longest_shown(lengths: IntArray) -> int:
    """The length up to which a picture shows lengths one by one; the few that are longer stand in its last bar.

    Args:
        lengths: Shape (n,), at least one.
    """
    limit = min(_quantile(lengths, _SHOWN), _MAX_TIMES_NEARLY_ALL * _quantile(lengths, _NEARLY_ALL))
    return int(lengths[lengths <= limit].max())


def _summary(name: str, values: IntArray, width: int, num_bins: int) -> LengthSummary:
    counts = np.bincount(np.minimum(values // width, num_bins - 1), minlength=num_bins)
    p5, median, p95 = (int(_quantile(values, share)) for share in (0.05, 0.5, 0.95))
    return LengthSummary(
        name, values.size, int(values.min()), p5, median, p95, int(values.max()), width, tuple(counts.tolist())
    )


def _quantile(values: IntArray, share: float) -> float:
    """A length that occurs, and that at least so many are no longer than."""
    return float(np.quantile(values, share, method="inverted_cdf"))
