"""Pictures of sets of labels, as `ftzard.core.figures` draws them."""

from typing import TYPE_CHECKING, Final

import numpy as np

from ftzard.core.figures import _BLUE, _MAX_LABELS_SHOWN, _ORANGE, _add_legend, _canvas, _plain, _png, _title

if TYPE_CHECKING:
    from ftzard.core.set_report import LabelSetReport

_HEIGHT: Final = 0.4


def label_scores(report: "LabelSetReport") -> bytes:
    """Draw the F1 of each label beside TF-IDF's, the most frequent labels first, 20 of them at most."""
    pairs = list(zip(report.adapter.per_class, report.baseline.per_class, strict=True))
    ordered = sorted(pairs, key=lambda pair: -pair[0].num_examples)
    shown = ordered[:_MAX_LABELS_SHOWN]
    figure, axes = _canvas(_title("F1 of each label", len(shown), len(ordered)))
    places = np.arange(len(shown))
    for side, (name, colour) in enumerate((("adapter", _BLUE), ("TF-IDF", _ORANGE))):
        values = [pair[side].f1 for pair in shown]
        axes.barh(places + (side - 0.5) * _HEIGHT, values, height=_HEIGHT, color=colour, label=name)
    names = [f"{_plain(mine.label)} ({mine.num_examples:,})" for mine, _ in shown]
    axes.set_yticks(places.tolist(), labels=names, parse_math=False)
    axes.invert_yaxis()
    # Room for the legend beside bars of full length.
    axes.set_xlim(0, 1.25)
    axes.set_xticks([fifths / 5 for fifths in range(6)])
    axes.set_xlabel("F1 (test rows with the label in brackets)")
    _add_legend(axes)
    return _png(figure)
