"""A data report as one HTML page that needs nothing but itself: no script, no font, no picture from elsewhere.

The texts on it are those of strangers. jinja2 escapes every value, what cannot be seen is written out, and the page's
own content security policy lets nothing run or load, so that a hole in either would still be none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ftzard.core import data_drift, population_stability
from ftzard.core.cleaning_report import examples_table
from ftzard.core.conversations import read_messages
from ftzard.core.data_findings import findings, is_drifting, is_shifted, percent
from ftzard.core.data_funnel import MEANINGS
from ftzard.core.data_report import DataReport
from ftzard.core.step_registry import find_step
from ftzard.core.visible_text import excerpt

if TYPE_CHECKING:
    from markupsafe import Markup

    from ftzard.core.evaluation_report import Interval
    from ftzard.core.population_stability import Stability

# How every page begins, so that it is known again.
PAGE_BEGINS: Final = "<!doctype html>\n<!-- ftzard data report -->"

_TEMPLATE: Final = "data_report.html.jinja"
_MAX_CHARACTERS: Final = 160
# Beyond so many, files are counted together, and labels are.
_MAX_FILES: Final = 40
_MAX_LABELS: Final = 7
_OTHERS: Final = "other labels"


@dataclass(frozen=True)
class PageHead:
    """What the page says of itself.

    Attributes:
        project: The project's name.
        made_at: When, in UTC.
        commit: The git commit that the data stands at; empty where there is none.
        version: FTzard's.
    """

    project: str
    made_at: datetime
    commit: str
    version: str


@dataclass(frozen=True)
class Segment:
    """A part of a stacked bar: its name, its number, and its share of the whole in [0, 1]."""

    name: str
    number: int
    share: float
    colour: int


def render_page(report: DataReport, head: PageHead) -> str:
    """The page, as HTML.

    Args:
        report: What is on it.
        head: What it says of itself.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ftzard", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "n": _number,
        "percent": percent,
        "decimals": lambda value, digits=2: f"{value:.{digits}f}",
        "shown": _shown,
        "marked": _marked,
        "asked": lambda text: _asked(text, report),
    }
    return environment.get_template(_TEMPLATE).render(**_context(report, head))


def _context(report: DataReport, head: PageHead) -> dict[str, Any]:
    # Of all splits together the most frequent first, so that a label has one colour everywhere.
    colours = _colours(report)
    return {
        "head": head,
        "report": report,
        "findings": findings(report),
        "meanings": MEANINGS,
        "read": report.rows_after("read"),
        "examples": report.rows_after("cleaned"),
        "used": report.rows_after("split"),
        "label_bars": {name: stacked(counts, colours) for name, counts in report.labels.items()},
        "batch_bars": {batch.batch: stacked(batch.labels, colours) for batch in report.batches},
        "legend": [(name, colour) for name, colour in colours.items()],
        "shown_batches": report.batches[:_MAX_FILES],
        "hidden_batches": report.batches[_MAX_FILES:],
        "changes": [_change(change, report.num_cleaned_again) for change in report.changes],
        "auc_reading": auc_reading,
        "psi_reading": psi_reading,
        "is_drifting": is_drifting,
        "is_shifted": is_shifted,
        "drift": data_drift,
        "psi": population_stability,
    }


def stacked(counts: Mapping[str, int], colours: Mapping[str, int]) -> list[Segment]:
    """Counts as the parts of a bar, in the order of the colours; what has none is one part together.

    Args:
        counts: Name -> number.
        colours: Name -> number of its colour.
    """
    total = sum(counts.values())
    if not total:
        return []
    known = {name: counts[name] for name in colours if name in counts}
    others = total - sum(known.values())
    parts = [*known.items(), *([(_OTHERS, others)] if others else [])]
    return [Segment(name, number, number / total, colours.get(name, _MAX_LABELS)) for name, number in parts]


def auc_reading(auc: "Interval | None") -> str:
    """An AUC in words, by the usual names of its size."""
    if auc is None:
        return f"fewer than {data_drift.MIN_ROWS} rows on a side"
    if auc.low <= 0.5:  # noqa: PLR2004 - what cannot be told apart
        return "cannot be told apart"
    names = ((data_drift.AUC_LARGE, "large"), (data_drift.AUC_MEDIUM, "medium"), (data_drift.AUC_SMALL, "small"))
    return next((f"{name} difference" for bound, name in names if auc.value >= bound), "negligible difference")


def psi_reading(psi: "Stability | None") -> str:
    """A PSI in words, by the usual thresholds, and by what chance makes of so few rows."""
    if psi is None:
        return "no rows to compare"
    if not psi.is_beyond_chance:
        return "within chance"
    if psi.value < population_stability.PSI_MODERATE:
        return "stable"
    return "moderate shift" if psi.value < population_stability.PSI_LARGE else "large shift"


def _colours(report: DataReport) -> dict[str, int]:
    whole: dict[str, int] = {}
    for counts in report.labels.values():
        for label, rows in counts.items():
            whole[label] = whole.get(label, 0) + rows
    ordered = sorted(whole, key=lambda label: (-whole[label], label))
    return {label: number for number, label in enumerate(ordered[:_MAX_LABELS])}


def _change(change: Any, num_rows: int) -> dict[str, Any]:
    table = examples_table([change])
    return {
        "name": change.name,
        "description": find_step(change.name).description,
        "num_rows": change.num_rows,
        "share": change.num_rows / num_rows if num_rows else 0.0,
        "examples": table.select("before", "after").rows(),
    }


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _shown(text: object, max_characters: int = _MAX_CHARACTERS) -> str:
    return excerpt(str(text), max_characters)


def _marked(sentence: str) -> "Markup":
    """A sentence of ours, in which `this` is code; whatever it quotes of others is escaped."""
    from markupsafe import Markup

    parts = sentence.split("`")
    # An odd number of parts: every backtick has its partner.
    tags = [("<code>", "</code>") if number % 2 and len(parts) % 2 else ("", "") for number in range(len(parts))]
    joined = [Markup(opening) + part + Markup(closing) for (opening, closing), part in zip(tags, parts, strict=True)]  # noqa: S704 - tags of our own
    return Markup("").join(joined)


def _asked(text: str, report: DataReport) -> str:
    """A text of `EXAMPLE_SCHEMA`; of messages their contents."""
    if report.task != "generation" or not text.startswith("[{"):
        return _shown(text)
    try:
        messages: Sequence[Mapping[str, str]] = read_messages(text)
        return _shown(" / ".join(f"{message['role']}: {message['content']}" for message in messages))
    except (ValueError, LookupError, TypeError, RecursionError):
        # A prompt that only begins as messages do, with brackets without end perhaps.
        return _shown(text)
