"""What was materialized in a project, when, and what became of it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from ftzard.assets.neighbours import known_prefixes
from ftzard.dagster_instance import DAGSTER_DIR, project_instance
from ftzard.definitions import DEFAULT_NAME, SERVING, SPINE, make_pipeline
from ftzard.errors import ConfigError
from ftzard.resources.tracking import RUN_ID_KEY

_PER_FETCH = 1000
_SHORT_ID = 12
_COLUMNS = ("time (UTC)", "asset", "rows", "commit", "MLflow run", "Dagster run", "verdict")


@dataclass(frozen=True)
class HistoryEntry:
    """One materialization.

    Attributes:
        time: When it was recorded, in UTC.
        asset: The asset's name.
        partition: The file that came in; None for an asset without partitions.
        num_rows: How many rows it has; None where it is no table.
        commit_id: Its data commit; None where it is no data.
        mlflow_run_id: Its MLflow child run; None where that is not known.
        dagster_run_id: Its Dagster run.
        verdict: What was decided, for an asset that is a decision; None for others.
        data_version: Stands for what it holds; partitions that one step made share it.
    """

    time: datetime
    asset: str
    partition: str | None
    num_rows: int | None
    commit_id: str | None
    mlflow_run_id: str | None
    dagster_run_id: str
    verdict: str | None
    data_version: str | None

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON types."""
        return {**asdict(self), "time": self.time.isoformat()}


def read_history(project_dir: Path, asset: str | None = None) -> tuple[HistoryEntry, ...]:
    """The materializations of one asset, or of all, oldest first, whatever prefix the pipeline gave its keys.

    Args:
        project_dir: The project folder.
        asset: A name; None for all.

    Raises:
        ConfigError: There is no such asset.
    """
    names = [each.name for each in (*SPINE, *SERVING)]
    if asset is not None and asset not in names:
        raise ConfigError(f"there is no asset {asset!r}", fix=f"name one of {', '.join(names)}")
    # Looking must not make an instance.
    if "DAGSTER_HOME" not in os.environ and not (project_dir / DAGSTER_DIR).is_dir():
        return ()
    pipelines = [make_pipeline(DEFAULT_NAME, key_prefix) for key_prefix in known_prefixes(project_dir)]
    with project_instance(project_dir) as instance:
        entries = [
            _entry(name, record)
            for pipeline in pipelines
            for name in names
            if asset in {None, name}
            for record in _records(instance, pipeline.asset_key(name))
        ]
    return tuple(sorted(entries, key=lambda entry: entry.time))


def history_lines(entries: Sequence[HistoryEntry]) -> list[str]:
    """A table for a person, one line for each entry."""
    rows = [_COLUMNS, *(_cells(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def nothing_told(asset: str | None) -> str:
    """What to say where there is no entry, of one asset or of all."""
    if asset in {each.name for each in SERVING}:
        return (
            f"{asset} has not been materialized yet: `dagster dev` does, for each file in the folder for incoming data."
        )
    return f"{asset or 'Nothing'} has {'not ' if asset else ''}been materialized yet: `ftzard materialize` does."


def _records(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        found = instance.fetch_materializations(key, limit=_PER_FETCH, cursor=cursor)
        yield from found.records
        if not found.has_more:
            return
        cursor = found.cursor


def _entry(name: str, record: dg.EventLogRecord) -> HistoryEntry:
    event = record.event_log_entry
    materialization = event.asset_materialization
    metadata = {key: entry.value for key, entry in materialization.metadata.items()} if materialization else {}
    decided = next((metadata[key] for key in ("verdict", "decision") if key in metadata), None)
    rows = metadata.get("dagster/row_count")
    return HistoryEntry(
        datetime.fromtimestamp(event.timestamp, UTC),
        name,
        record.partition_key,
        int(str(rows)) if rows is not None else None,
        _text(metadata.get("git_commit")),
        _text(metadata.get(RUN_ID_KEY)),
        event.run_id,
        _text(decided),
        _text((materialization.tags or {}).get("dagster/data_version")) if materialization else None,
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _cells(entry: HistoryEntry) -> tuple[str, ...]:
    partition = f"[{entry.partition[:_SHORT_ID]}]" if entry.partition else ""
    return (
        entry.time.strftime("%Y-%m-%d %H:%M:%S"),
        f"{entry.asset}{partition}",
        "-" if entry.num_rows is None else str(entry.num_rows),
        (entry.commit_id or "-")[:_SHORT_ID],
        (entry.mlflow_run_id or "-")[:_SHORT_ID],
        entry.dagster_run_id[:8],
        entry.verdict or "",
    )
