"""Pictures of label queues, as `ftzard.core.figures` draws them."""

import numpy as np
from numpy.typing import NDArray

from ftzard.core.drawing import BLUE, GREY, ORANGE, add_legend, canvas, png

_NUM_BINS = 40


def uncertainty_histogram(
    uncertainty: NDArray[np.float64], threshold: float | None, queued: NDArray[np.float64], *, strategy: str
) -> bytes:
    """Draw how uncertain the champion is of a file's rows, where the threshold lies and which rows are queued.

    Args:
        uncertainty: Of all rows of the file, shape (n,), at least one.
        threshold: The least uncertainty of a row that the strategy may choose; None where it may choose any.
        queued: Of the rows in the queue, both arms together, shape (m,).
        strategy: The strategy's name.

    Raises:
        ValueError: There are no rows.
    """
    if not uncertainty.size:
        message = "an uncertainty histogram needs at least one row"
        raise ValueError(message)
    figure, axes = canvas(f"Uncertainty of {uncertainty.size:,} rows, {queued.size:,} of them queued ({strategy})")
    edges = np.histogram_bin_edges(uncertainty, bins=_NUM_BINS).tolist()
    # Outlines, because there is one such picture for each incoming file, and 80 bars take twice as long to draw.
    axes.hist(uncertainty, bins=edges, histtype="stepfilled", color=BLUE, label="all rows")
    axes.hist(queued, bins=edges, histtype="stepfilled", color=ORANGE, label="queued, control included")
    if threshold is not None:
        axes.axvline(threshold, color=GREY, linestyle="--", linewidth=2, label=f"threshold {threshold:.3f}")
    axes.set_xlabel("uncertainty")
    axes.set_ylabel("number of rows")
    axes.locator_params(axis="y", integer=True)
    add_legend(axes, num_series=3)
    return png(figure)
