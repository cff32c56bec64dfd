"""Pictures of sets of labels, as `ftzard.core.figures` draws them."""

from typing import TYPE_CHECKING, Final

import numpy as np

from ftzard.core.drawing import (
    BLUE,
    GREY,
    MAX_LABELS_SHOWN,
    ORANGE,
    add_legend,
    canvas,
    plain,
    png,
    shortened_title,
)

if TYPE_CHECKING:
    from ftzard.core.set_report import LabelOutcomes, LabelSetReport

_HEIGHT: Final = 0.4
# Of TF-IDF's bars, which stand below the adapter's.
_PALE: Final = 0.45


def label_scores(report: "LabelSetReport") -> bytes:
    """Draw the F1 of each label beside TF-IDF's, the most frequent labels first, 20 of them at most."""
    pairs = list(zip(report.adapter.per_class, report.baseline.per_class, strict=True))
    ordered = sorted(pairs, key=lambda pair: -pair[0].num_examples)
    shown = ordered[:MAX_LABELS_SHOWN]
    figure, axes = canvas(shortened_title("F1 of each label", len(shown), len(ordered)))
    places = np.arange(len(shown))
    for side, (name, colour) in enumerate((("adapter", BLUE), ("TF-IDF", ORANGE))):
        values = [pair[side].f1 for pair in shown]
        axes.barh(places + (side - 0.5) * _HEIGHT, values, height=_HEIGHT, color=colour, label=name)
    names = [f"{plain(mine.label)} ({mine.num_examples:,})" for mine, _ in shown]
    axes.set_yticks(places.tolist(), labels=names, parse_math=False)
    axes.invert_yaxis()
    # Room for the legend beside bars of full length.
    axes.set_xlim(0, 1.25)
    axes.set_xticks([fifths / 5 for fifths in range(6)])
    axes.set_xlabel("F1 (test rows with the label in brackets)")
    add_legend(axes)
    return png(figure)


def label_outcomes(report: "LabelSetReport") -> bytes:
    """Draw how often each label was found, missed and wrongly given, beside TF-IDF, the most frequent labels first.

    Rows that neither have nor get a label are not drawn; beside them all others would be thin. 20 labels at most.
    """
    pairs = list(zip(report.adapter.outcomes, report.baseline.outcomes, strict=True))
    ordered = sorted(pairs, key=lambda pair: -(pair[0].num_true_positives + pair[0].num_false_negatives))
    shown = ordered[:MAX_LABELS_SHOWN]
    figure, axes = canvas(shortened_title("Counts of each label (TF-IDF: pale)", len(shown), len(ordered)))
    places = np.arange(len(shown))
    for side, alpha in enumerate((1.0, _PALE)):
        ends = np.zeros(len(shown))
        for name, colour, counts in _stacked([pair[side] for pair in shown]):
            # What begins with an underscore is left out of the legend: once is enough.
            told = f"_{name}" if side else name
            offset = (side - 0.5) * _HEIGHT
            axes.barh(places + offset, counts, left=ends, height=_HEIGHT, color=colour, alpha=alpha, label=told)
            ends = ends + np.asarray(counts)
    axes.set_yticks(places.tolist(), labels=[plain(mine.label) for mine, _ in shown], parse_math=False)
    axes.invert_yaxis()
    # Room for the legend beside the longest bar.
    axes.margins(x=0.35)
    axes.set_xlabel("number of test rows")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", integer=True)
    add_legend(axes)
    return png(figure)


def _stacked(outcomes: list["LabelOutcomes"]) -> tuple[tuple[str, str, list[int]], ...]:
    """Name, colour and lengths of what a bar is made of, from left to right."""
    return (
        ("found", BLUE, [one.num_true_positives for one in outcomes]),
        ("missed", GREY, [one.num_false_negatives for one in outcomes]),
        ("wrongly given", ORANGE, [one.num_false_positives for one in outcomes]),
    )
