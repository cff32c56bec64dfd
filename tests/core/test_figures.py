"""Every picture is a PNG of the promised size, whatever labels and numbers people bring."""

import io
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ftzard.core.calibration import reliability_bins
from ftzard.core.confusion_figures import confusion_matrix
from ftzard.core.evaluation_report import Interval, ReliabilityBin
from ftzard.core.figures import (
    interval_plot,
    label_balance,
    length_histogram,
    loss_curve,
    reliability_diagram,
)

CURVE = pl.DataFrame({"step": [1, 2, 3], "loss": [0.7, 0.5, 0.4]})
BINS = reliability_bins(np.array([0.6, 0.7, 0.95]), np.array([0.0, 1.0, 1.0]), 10)
INTERVALS = {"adapter": Interval(0.8, 0.75, 0.85), "majority class": Interval(0.4, 0.39, 0.41)}
DRAWINGS: dict[str, Callable[[], bytes]] = {
    "label_balance": lambda: label_balance({"train": {"negative": 6, "positive": 4}, "test": {"negative": 2}}),
    "length_histogram": lambda: length_histogram([3, 50, 50, 120], unit="characters"),
    "loss_curve": lambda: loss_curve(CURVE, CURVE.tail(1)),
    "confusion_matrix": lambda: confusion_matrix([[5, 1], [2, 3]], ["negative", "positive"]),
    "reliability_diagram": lambda: reliability_diagram(BINS),
    "interval_plot": lambda: interval_plot(INTERVALS, metric="macro-F1"),
}


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_a_png_of_640_by_400_pixels_with_something_on_it(name: str) -> None:
    picture = pixels(DRAWINGS[name]())

    assert picture.shape == (400, 640, 3)
    assert (picture != 255).mean() > 0.02


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_numbers_give_the_same_bytes_and_no_date_or_version_is_in_them(name: str) -> None:
    png = DRAWINGS[name]()

    assert png == DRAWINGS[name]()
    assert b"tEXt" not in png


@settings(max_examples=4, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=4, unique=True))
@example(["$x$", "_hidden"])
@example(["中文标签", "😀\n\tnew line"])
@example(["$", "x" * 4000])
def test_any_label_can_be_drawn_without_a_warning(labels: list[str]) -> None:
    counts = np.arange(len(labels) ** 2).reshape(len(labels), len(labels)).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [
            label_balance({labels[0]: dict.fromkeys(labels, 3), labels[1]: {labels[0]: 2}}),
            confusion_matrix(counts, labels),
            interval_plot(dict.fromkeys(labels, Interval(0.5, 0.4, 0.6)), metric=labels[0]),
            length_histogram([1, 2], unit=labels[0]),
        ]
    assert all(pixels(picture).shape == (400, 640, 3) for picture in pictures)


def test_dollar_signs_in_a_label_start_no_formula() -> None:
    # Taken for a formula, this one raises.
    broken = "$\\frac{$"
    for png in (
        label_balance({broken: {broken: 1}, "other": {"b": 1}}),
        confusion_matrix([[1, 0], [0, 1]], [broken, "b"]),
        interval_plot({broken: Interval(0.5, 0.4, 0.6)}, metric=broken),
        length_histogram([1, 2], unit=broken),
    ):
        assert pixels(png).shape == (400, 640, 3)


def test_labels_that_differ_only_beyond_the_cut_are_still_two_rows() -> None:
    long = {"x" * 60 + "a": 5, "x" * 60 + "b": 5}

    assert pixels(label_balance({"train": long})).tolist() != pixels(label_balance({"train": {"x" * 60: 5}})).tolist()


def test_many_labels_few_numbers_and_equal_lengths_can_be_drawn() -> None:
    many = [f"intent_{index}" for index in range(77)]
    for png in (
        label_balance({"train": {label: index for index, label in enumerate(many)}}),
        confusion_matrix(np.eye(77, dtype=np.int64).tolist(), many),
        confusion_matrix([[0, 0], [0, 0]], ["a", "b"]),
        label_balance({"train": {"a": 0}}),
        length_histogram([5, 5, 5], unit="tokens"),
        loss_curve(CURVE.head(1)),
        loss_curve(CURVE, CURVE.head(0)),
        reliability_diagram(reliability_bins(np.array([0.9]), np.array([1.0]), 10)),
        interval_plot({"one": Interval(1.0, 1.0, 1.0)}, metric="accuracy"),
    ):
        assert pixels(png).shape == (400, 640, 3)


def test_validation_points_are_drawn_beside_the_training_curve() -> None:
    assert loss_curve(CURVE, CURVE.tail(1)) != loss_curve(CURVE)


def test_names_that_would_run_into_each_other_stand_upright() -> None:
    names = ["food", "politics & law", "sports cars", "tech", "travel", "science"]
    upright = pixels(confusion_matrix(np.eye(6, dtype=np.int64).tolist(), names))
    short = pixels(confusion_matrix(np.eye(6, dtype=np.int64).tolist(), [name[:2] for name in names]))

    # The dark squares of the diagonal: the lowest row of them ends higher where names stand below it.
    lowest = [np.flatnonzero((picture == (8, 48, 107)).all(axis=2).any(axis=1)).max() for picture in (upright, short)]
    assert lowest[0] < lowest[1] - 40


def test_one_very_long_text_does_not_leave_all_others_one_bar() -> None:
    lengths = list(range(10, 60))
    picture = length_histogram([*lengths, 6000], unit="characters")

    # The bars of the short ones: columns with blue in them.
    blue = (pixels(picture) == (0x00, 0x72, 0xB2)).all(axis=2)
    assert blue.any(axis=0).sum() > 300
    assert picture != length_histogram([*lengths, 59], unit="characters")
    assert picture != length_histogram([*lengths, 6000], unit="characters", what="answers")


def test_nothing_to_draw_is_an_error_and_not_an_empty_picture() -> None:
    empty_bin = ReliabilityBin(low=0.0, high=1.0, num_examples=0, mean_confidence=None, accuracy=None)
    drawings: tuple[Callable[[], bytes], ...] = (
        lambda: label_balance({}),
        lambda: label_balance({"train": {}}),
        lambda: length_histogram([], unit="characters"),
        lambda: loss_curve(CURVE.head(0)),
        lambda: confusion_matrix([], []),
        lambda: confusion_matrix([[1, 2]], ["a", "b"]),
        lambda: reliability_diagram([empty_bin]),
        lambda: interval_plot({}, metric="macro-F1"),
    )
    for draw in drawings:
        with pytest.raises(ValueError, match=r"needs|do not fit"):
            draw()


def test_drawing_loads_no_pyplot_and_importing_loads_no_matplotlib() -> None:
    program = (
        "import sys; from ftzard.core import figures; assert 'matplotlib' not in sys.modules; "
        "figures.length_histogram([1, 2], unit='tokens'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
