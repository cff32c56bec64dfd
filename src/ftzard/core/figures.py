"""Pictures of data and scores, as PNG bytes of about 640 x 400 pixels."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from ftzard.core.drawing import (
    BLUE,
    GREY,
    MAX_LABELS_SHOWN,
    ORANGE,
    SERIES_COLOURS,
    add_legend,
    canvas,
    colours,
    plain,
    png,
    shortened_title,
)
from ftzard.core.evaluation_report import Interval, ReliabilityBin
from ftzard.core.length_summary import longest_shown

# What a reliability diagram shows -> its axes, and what is counted.
_RELIABILITY = {
    "prediction": ("mean confidence in the predicted label", "accuracy", "examples"),
    "label": ("mean probability of a label", "share of the examples that have it", "pairs of example and label"),
}


def label_balance(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw how many examples each label has.

    Args:
        counts: Series (a split, say) -> label -> number of examples; up to six series. Labels are drawn in the order of
            the first series that has them, the first 20 of them.

    Raises:
        ValueError: There is no label, or there are more than six series.
    """
    labels = list(dict.fromkeys(label for series in counts.values() for label in series))
    if not labels or len(counts) > len(SERIES_COLOURS):
        message = f"a label balance needs labels in one to six series, not {len(labels)} in {len(counts)}"
        raise ValueError(message)
    shown = labels[:MAX_LABELS_SHOWN]
    figure, axes = canvas(shortened_title("Examples per label", len(shown), len(labels)))
    height = 0.8 / len(counts)
    for index, (name, series) in enumerate(counts.items()):
        places = np.arange(len(shown)) + (index - (len(counts) - 1) / 2) * height
        values = [series.get(label, 0) for label in shown]
        bars = axes.barh(places, values, height=height, color=SERIES_COLOURS[index], label=plain(name))
        if len(shown) * len(counts) <= MAX_LABELS_SHOWN:
            axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(shown)), labels=[plain(label) for label in shown], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("number of examples")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", integer=True)
    add_legend(axes, num_series=len(counts))
    return png(figure)


def length_histogram(lengths: Sequence[int], *, unit: str, what: str = "texts") -> bytes:
    """Draw how long the texts are, with the median marked; the few very long ones together in the last bar.

    Args:
        lengths: One per text, at least one.
        unit: What is counted, in the plural: `characters`, `tokens`.
        what: What has these lengths, in the plural.

    Raises:
        ValueError: There are no lengths.
    """
    values = np.asarray(lengths)
    if not values.size:
        message = "a length histogram needs at least one length"
        raise ValueError(message)
    figure, axes = canvas(f"Length of {values.size:,} {plain(what)}")
    limit = longest_shown(values)
    num_longer, shown = int((values > limit).sum()), np.minimum(values, limit)
    axes.hist(shown, bins=min(40, int(np.ptp(shown)) + 1), color=BLUE, edgecolor="white", linewidth=0.5)
    median = float(np.median(values))
    axes.axvline(median, color=ORANGE, linewidth=2, label=f"median {median:,.0f} {plain(unit)}")
    told = f" (last bar: {num_longer:,} of more than {limit:,}, up to {values.max():,})" if num_longer else ""
    axes.set_xlabel(f"length in {plain(unit)}{told}", parse_math=False)
    axes.set_ylabel(f"number of {plain(what)}", parse_math=False)
    axes.locator_params(axis="y", integer=True)
    add_legend(axes)
    return png(figure)


def loss_curve(
    curve: pl.DataFrame, validation: pl.DataFrame | None = None, *, loss: str = "cross-entropy in nats"
) -> bytes:
    """Draw the training loss over the optimizer steps.

    Args:
        curve: Columns `step` and `loss`, at least one row.
        validation: The same columns for the validation split; None where there is none.
        loss: What the loss is, and its unit.

    Raises:
        ValueError: The curve has no rows.
    """
    if curve.is_empty():
        message = "a loss curve needs at least one step"
        raise ValueError(message)
    figure, axes = canvas("Training loss")
    # A single step has no line to be seen by.
    marker = "o" if curve.height == 1 else None
    axes.plot(curve["step"].to_numpy(), curve["loss"].to_numpy(), color=BLUE, marker=marker, label="train")
    if validation is not None and not validation.is_empty():
        steps, losses = validation["step"].to_numpy(), validation["loss"].to_numpy()
        axes.plot(steps, losses, color=ORANGE, marker="o", linestyle="--", label="validation")
        add_legend(axes)
    axes.set_xlabel("optimizer step")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel(loss, parse_math=False)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return png(figure)


def reliability_diagram(
    bins: Sequence[ReliabilityBin], *, what: Literal["prediction", "label"] = "prediction"
) -> bytes:
    """Draw accuracy over confidence; a calibrated classifier is on the diagonal.

    Args:
        bins: From `ftzard.core.calibration.reliability_bins`; a point's area grows with the examples in its bin.
        what: Whose probability it is: that of the predicted label, or that of each label of a text with several.

    Raises:
        ValueError: All bins are empty.
    """
    filled = [one for one in bins if one.mean_confidence is not None and one.accuracy is not None]
    if not filled:
        message = "a reliability diagram needs at least one example"
        raise ValueError(message)
    num_examples = np.array([one.num_examples for one in filled])
    confidences = np.array([one.mean_confidence for one in filled], dtype=np.float64)
    accuracies = np.array([one.accuracy for one in filled], dtype=np.float64)
    xlabel, ylabel, counted = _RELIABILITY[what]
    figure, axes = canvas(f"Reliability on {num_examples.sum():,} {counted}")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="calibrated")
    axes.plot(confidences, accuracies, color=BLUE, alpha=0.5)
    areas = 20 + 280 * num_examples / num_examples.max()
    axes.scatter(confidences, accuracies, s=areas, color=BLUE, edgecolor="white", zorder=3, label=f"{counted}, by area")
    for confidence, accuracy, number in zip(confidences, accuracies, num_examples, strict=True):
        axes.annotate(f"{number:,}", (confidence, accuracy), xytext=(0, 11), textcoords="offset points", ha="center")
    axes.set(xlim=(-0.03, 1.05), ylim=(-0.05, 1.15), xlabel=xlabel, ylabel=ylabel)
    add_legend(axes)
    return png(figure)


def interval_plot(intervals: Mapping[str, Interval], *, metric: str) -> bytes:
    """Draw the values of several systems on one axis, with their 95 % intervals.

    Args:
        intervals: System -> value and interval; drawn from top to bottom, each value in [0, 1].
        metric: The name of what is measured.

    Raises:
        ValueError: There is no system.
    """
    if not intervals:
        message = "an interval plot needs at least one system"
        raise ValueError(message)
    figure, axes = canvas(f"{plain(metric)} with 95 % intervals")
    for place, (colour, interval) in enumerate(zip(colours(len(intervals)), intervals.values(), strict=True)):
        distances = [[interval.value - interval.low], [interval.high - interval.value]]
        axes.errorbar(
            interval.value, place, xerr=distances, fmt="o", color=colour, capsize=6, markersize=8, linewidth=2
        )
        axes.annotate(
            f"{interval.value:.3f}", (interval.value, place), xytext=(0, 10), textcoords="offset points", ha="center"
        )
    axes.set_yticks(range(len(intervals)), labels=[plain(name) for name in intervals], parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(intervals) - 0.5, -0.5))
    axes.set_xlabel(plain(metric), parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    return png(figure)


def difference_plot(intervals: Mapping[str, Interval], *, confidence: float, metric: str = "macro-F1") -> bytes:
    """Draw by how much a challenger's score differs from that of others, with intervals around zero.

    Args:
        intervals: Other -> challenger minus other; may be empty, which is then said.
        confidence: Of the intervals, in (0, 1).
        metric: The name of the score.
    """
    figure, axes = canvas(f"Challenger's {plain(metric)} minus that of")
    for place, (colour, interval) in enumerate(zip(colours(len(intervals)), intervals.values(), strict=True)):
        distances = [[interval.value - interval.low], [interval.high - interval.value]]
        axes.errorbar(
            interval.value, place, xerr=distances, fmt="o", color=colour, capsize=6, markersize=8, linewidth=2
        )
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(intervals)), labels=[plain(name) for name in intervals], parse_math=False)
    axes.set(ylim=(max(len(intervals), 1) - 0.5, -0.5))
    told = f"difference with {100 * confidence:.4g} % interval" if intervals else "nothing to compare with"
    axes.set_xlabel(told, parse_math=False)
    return png(figure)
