"""What every picture is drawn with: a canvas, colours, labels that are fit to be drawn, and PNG bytes.

Drawn with matplotlib's object interface alone: no pyplot, no window, no state shared between threads. Labels come from
people's data, so that nothing in them is a command: a dollar sign starts no formula, a line break none, and a character
the font lacks is a box. The colours are those of Okabe and Ito (2008), told apart by the colour-blind.
"""

import io
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#888888"
SERIES_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#D55E00")
_SIZE_INCHES = (6.4, 4.0)
_DOTS_PER_INCH = 100
_MAX_LABEL_CHARACTERS = 28
# Beyond this many labels bars and names touch each other.
MAX_LABELS_SHOWN = 20


def colours(number: int) -> list[str]:
    """Colours for so many series; beyond six they begin again."""
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(number)]


def shortened_title(text: str, num_shown: int, num_all: int) -> str:
    """A title that says where not all labels are shown."""
    return text if num_shown == num_all else f"{text} (the first {num_shown} of {num_all} labels)"


def canvas(title: str) -> tuple["Figure", "Axes"]:
    """An empty picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(axes: "Axes", num_series: int = 2) -> None:
    """Name the series, where there is more than one."""
    if num_series > 1:
        legend: Any = axes.legend(frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)


def plain(text: str) -> str:
    """Make a label fit to be drawn: on one line, cut where it is long, a box for what the font lacks."""
    words = " ".join(text.split())
    cut = words if len(words) <= _MAX_LABEL_CHARACTERS else words[: _MAX_LABEL_CHARACTERS - 1] + "…"
    drawn = "".join(character if ord(character) in _drawable_characters() else "□" for character in cut)
    # matplotlib leaves an artist whose label begins with an underscore out of the legend.
    return "\N{ZERO WIDTH SPACE}" + drawn if drawn.startswith("_") else drawn


@cache
def _drawable_characters() -> frozenset[int]:
    """Code points in the font that matplotlib draws with; others would each cost a warning, and look the same."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def png(figure: "Figure") -> bytes:
    """Render; without the version of matplotlib in it, so that equal pictures are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
