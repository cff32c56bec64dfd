"""A project's data on one page: what is stored is loaded, looked at, and written down for a person.

Nothing in the project changes, and nothing has to be complete: what is not there is named, with what would make it.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.annotation_store import write_whole
from ftzard.core.batch_names import is_passed_over
from ftzard.core.batch_order import newest_first, without_copies
from ftzard.core.data_drift import MAX_BATCHES
from ftzard.core.data_funnel import StoredData
from ftzard.core.data_page import PAGE_BEGINS, PageHead, render_page
from ftzard.core.data_report import Absence, DataReport, data_report
from ftzard.core.frozen_test import frozen_path, read_frozen
from ftzard.core.records import ASSETS_DIR, Raw
from ftzard.errors import FtzardError, StorageError
from ftzard.io_managers.parquet import read_stored
from ftzard.resources.versioning import DvcRepository

T = TypeVar("T")

_INCOMING = "incoming"
_SPINE = ("raw_data", "cleaned", "splits")


def write_data_report(
    project_dir: Path, config: FtzardConfig, target: Path, *, with_tokens: bool = True, now: datetime | None = None
) -> DataReport:
    """Write the page.

    Args:
        project_dir: The project folder.
        config: Says where things are.
        target: The file; an earlier page is replaced.
        with_tokens: Whether to count the base model's tokens.
        now: When; the current time by default.

    Returns:
        What is on the page.

    Raises:
        StorageError: There is another file, or none can be written.
        FtzardError: A registered cleaning step is broken.
    """
    _check_target(target)
    stored, absences = load_stored(project_dir, config)
    report = data_report(stored, config, absences, with_tokens=with_tokens)
    head = PageHead(
        project=project_dir.name,
        made_at=(now or datetime.now(UTC)).astimezone(UTC),
        commit=_commit(project_dir, config),
        version=version("ftzard"),
    )
    write_whole(target, render_page(report, head).encode("utf-8", "backslashreplace"), replace=True)
    return report


def load_stored(project_dir: Path, config: FtzardConfig) -> tuple[StoredData, tuple[Absence, ...]]:
    """Load what the spine has stored so far, each asset only if it is as it was committed."""
    absences: list[Absence] = []
    folder = project_dir / config.versioning.data_dir / ASSETS_DIR
    repository = DvcRepository(project_dir, config.versioning)
    found: dict[str, Any] = {}
    for name in _SPINE:
        path = next(_places(folder, name), None)
        if path is None:
            absences.append(Absence(name, "it was never materialized", f"ftzard materialize --until {name}"))
            continue
        found[name] = _kept(name, absences, lambda path=path: _read(path, repository))  # type: ignore[misc]
    frozen = _kept("the frozen test split", absences, lambda: read_frozen(frozen_path(project_dir, config.versioning)))
    files = _kept("the batch files", absences, lambda: newest_first(project_dir, config.data))
    raw = found.get("raw_data")
    stored = StoredData(
        # A frame before it had rows beside it that could not be read.
        raw=raw.examples if isinstance(raw, Raw) else raw,
        cleaned=found.get("cleaned"),
        splits=found.get("splits"),
        frozen=frozen,
        files=without_copies(project_dir, files or ()),
        unreadable=raw.quarantined if isinstance(raw, Raw) else None,
        incoming=tuple(_incoming(folder / _INCOMING, repository, absences)),
    )
    return stored, tuple(absences)


def _incoming(folder: Path, repository: DvcRepository, absences: list[Absence]) -> Iterator[pl.DataFrame]:
    """The files that came in last, as far as they are compared; the newest first, by the time of their frames."""
    paths = (path for path in folder.glob("*.parquet") if not is_passed_over(path.name))
    frames = sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    for path in frames[:MAX_BATCHES]:
        found = _kept(f"an incoming file ({path.name})", absences, lambda path=path: _read(path, repository))  # type: ignore[misc]
        if found is not None:
            yield found


def _places(folder: Path, name: str) -> Iterator[Path]:
    """Where an asset is: a folder of frames, or one frame."""
    yield from (path for path in (folder / name, folder / f"{name}.parquet") if path.exists())


def _read(path: Path, repository: DvcRepository) -> Any:
    # Before anything reads it: a damaged Parquet file can end the whole process.
    repository.require_committed(path)
    return read_stored(path)


def _kept(what: str, absences: list[Absence], load: Callable[[], T]) -> T | None:
    """What is loaded; or None, with the reason kept."""
    try:
        return load()
    except FtzardError as error:
        absences.append(Absence(what, error.what, error.fix))
        return None


def _commit(project_dir: Path, config: FtzardConfig) -> str:
    try:
        return DvcRepository(project_dir, config.versioning).head() or ""
    except FtzardError:
        # The page is of the data, which may lie outside of any repository.
        return ""


def _check_target(target: Path) -> None:
    """Refuse to write over what is not an earlier page."""
    try:
        if target.exists() and not target.read_bytes().startswith(PAGE_BEGINS.encode()):
            raise StorageError(f"{target} exists, and is no data report", fix="name another file with --output")
    except OSError as error:
        raise StorageError(
            f"{target} cannot be read: {error.strerror or error}", fix="name another file with --output"
        ) from error
