"""Pictures of which labels are taken for which, as `ftzard.core.figures` draws them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ftzard.core.drawing import MAX_LABELS_SHOWN, canvas, plain, png
from ftzard.core.metrics import FloatArray, IntArray

if TYPE_CHECKING:
    from ftzard.core.set_report import LabelSetReport

# Stands where a label is missed and none wrongly given, or the other way round.
NOTHING: Final = "(nothing)"
# Beyond this many labels a count does not fit into its cell.
_MAX_LABELS_WITH_COUNTS: Final = 10
# What has room below a matrix beside the names at its left.
_MAX_CHARACTERS_BELOW: Final = 50


def confusion_matrix(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Draw which label was taken for which.

    Args:
        confusion: Counts of shape (k, k), rows true labels, columns predicted ones.
        labels: The k labels. Above ten the counts are left to the colours, above 20 most names are left out.

    Raises:
        ValueError: There are no labels, or the shape is not (k, k).
    """
    counts = np.asarray(confusion)
    if not labels or counts.shape != (len(labels), len(labels)):
        message = f"{len(labels)} labels do not fit a confusion matrix of shape {counts.shape}"
        raise ValueError(message)
    # Shaded by row, or the rarer labels would all be white.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    told = ("Confusion matrix (shade: share of the true label)", "share of the true label", "predicted label")
    return _label_matrix(counts, shares, labels, (*told, "true label"))


def confused_labels(report: "LabelSetReport") -> bytes:
    """Draw on how many rows each label was missed while each other one was wrongly given; found ones on the diagonal.

    A row counts for every pair of a label that it misses and one that it wrongly gets; `(nothing)` stands where there
    is only one of the two, and for rows that rightly get no label. Above nine labels the counts are left to the
    colours, above 19 most names are left out.
    """
    counts = np.asarray(report.confusion, dtype=np.int64)
    # Shaded by row, as for single labels: by the rows that have the label, so that the diagonal is the recall.
    whole = [*(scores.num_examples for scores in report.adapter.per_class), counts[-1].sum()]
    shares = counts / np.maximum(whole, 1)[:, None]
    told = ("Missed labels, and what was wrongly given instead", "share of the rows that have the label")
    labels = [*report.labels, NOTHING]
    return _label_matrix(counts, shares, labels, (*told, "wrongly given (on the diagonal: found)", "missed"))


def _label_matrix(
    counts: IntArray, shares: FloatArray, labels: Sequence[str], told: tuple[str, str, str, str]
) -> bytes:
    """Draw counts for pairs of labels, shaded by their shares.

    Args:
        counts: Shape (k, k).
        shares: Likewise, each in [0, 1].
        labels: The k labels.
        told: The title, and what a share, a column and a row are.
    """
    figure, axes = canvas(told[0])
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=axes, label=told[1])
    if len(labels) <= _MAX_LABELS_WITH_COUNTS:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"  # noqa: PLR2004 - half way between the two
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
    places = list(range(0, len(labels), 1 + len(labels) // (MAX_LABELS_SHOWN + 1)))
    names = [plain(labels[place]) for place in places]
    # Each name has the width of its column, and the longest takes that of all together.
    is_crowded = len(names) * (max(map(len, names)) + 1) > _MAX_CHARACTERS_BELOW
    axes.set_xticks(places, labels=names, parse_math=False, rotation=90 if is_crowded else 0)
    axes.set_yticks(places, labels=names, parse_math=False)
    axes.set_xlabel(told[2])
    axes.set_ylabel(told[3])
    return png(figure)
