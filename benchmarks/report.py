"""What a benchmark hands over, and how it is told to people (lines) and programs (a JSON file).

A figure is a number with its unit in its name: `_s` seconds, `_per_s` a second, `_gflops` 1e9 floating-point operations
a second; a name with `_over_` or `_of_` is a ratio or, where it ends in a unit, a difference. A bar says what a figure
has to be.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

# Those that the figures depend on.
_PACKAGES = ("dagster", "peft", "torch", "transformers")
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Bar:
    """What a figure has to be.

    Attributes:
        limit: The value that is just allowed.
        is_upper: Whether the figure may be at most that; else it has to be at least that.
    """

    limit: float
    is_upper: bool

    @property
    def kind(self) -> str:
        """What the bar is called in the JSON file."""
        return "at_most" if self.is_upper else "at_least"

    def holds(self, value: float) -> bool:
        """Whether `value` is allowed; what is not a number never is."""
        return value <= self.limit if self.is_upper else value >= self.limit


def at_most(limit: float) -> Bar:
    """The figure must not be above `limit`."""
    return Bar(limit, is_upper=True)


def at_least(limit: float) -> Bar:
    """The figure must not be below `limit`."""
    return Bar(limit, is_upper=False)


@dataclass(frozen=True)
class Result:
    """What a benchmark measured.

    Attributes:
        figures: The numbers by name, in the order in which they are shown.
        bars: For some of the figures.
        table: What is better read as one; None where nothing is.
        picture: PNG bytes; None where there is none.

    Raises:
        ValueError: There is a bar for a figure that was not measured.
    """

    figures: Mapping[str, float]
    bars: Mapping[str, Bar] = field(default_factory=dict)
    table: pl.DataFrame | None = None
    picture: bytes | None = None

    def __post_init__(self) -> None:
        """A bar without its figure would hold for ever."""
        unknown = sorted(self.bars.keys() - self.figures.keys())
        if unknown:
            message = f"there are bars for {unknown}, and the figures are {list(self.figures)}"
            raise ValueError(message)

    @property
    def holds(self) -> bool:
        """Whether all bars do."""
        return all(bar.holds(self.figures[figure]) for figure, bar in self.bars.items())


def lines(name: str, result: Result) -> Iterator[str]:
    """The figures for a person, one a line, each with its bar and whether it holds."""
    yield name
    width = max((len(figure) for figure in result.figures), default=0)
    for figure, value in result.figures.items():
        line = f"  {figure:<{width}}  {value:>10.4g}"
        bar = result.bars.get(figure)
        if bar is not None:
            line += f"  {bar.kind.replace('_', ' ')} {bar.limit:g}: {'holds' if bar.holds(value) else 'DOES NOT HOLD'}"
        yield line
    if result.table is not None:
        yield from _table_lines(result.table)


def document(name: str, result: Result) -> dict[str, Any]:
    """The figures for a program, in JSON types."""
    return {
        "name": name,
        "figures": {figure: _rounded(value) for figure, value in result.figures.items()},
        "bars": {figure: {bar.kind: bar.limit} for figure, bar in result.bars.items()},
        **({} if result.table is None else {"table": result.table.to_dicts()}),
        "holds": result.holds,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def write(name: str, result: Result, folder: Path) -> Path:
    """Write `folder/NAME.json`, and `folder/NAME.png` where there is a picture, in the place of earlier ones.

    Raises:
        ValueError: A figure is not a finite number; an earlier file stays.
    """
    text = json.dumps(document(name, result), indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(text, encoding="utf-8")
    if result.picture is not None:
        path.with_suffix(".png").write_bytes(result.picture)
    return path


def machine() -> dict[str, str | int | None]:
    """What a reader needs to know of the machine: its kind, never its name, its user or its folders."""
    return {
        "cpu": _cpu_model(),
        "num_cores": _num_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _installed(package) for package in _PACKAGES},
    }


def _table_lines(table: pl.DataFrame) -> Iterator[str]:
    rows = [table.columns, *([str(cell) for cell in row] for row in table.iter_rows())]
    widths = [max(len(row[column]) for row in rows) for column in range(table.width)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _rounded(value: float) -> float:
    """Four significant digits: the rest is the machine's mood and would only make diffs longer."""
    return float(f"{value:.4g}")


def _cpu_model() -> str:
    """As the kernel calls it; the architecture where it does not say."""
    known = _CPU_INFO.read_text(encoding="utf-8").splitlines() if _CPU_INFO.is_file() else []
    models = [line.partition(":")[2].strip() for line in known if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _num_cores() -> int | None:
    """Those that this process may use, which on a shared machine can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
