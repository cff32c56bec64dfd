"""For tests of what people build on FTzard: a few labelled texts, a configuration that takes seconds, real projects.

Nothing here stands in for something else: a project has its own git repository, DVC and MLflow's SQLite file, and what
is trained is a Llama of random weights, which runs through the whole graph in seconds and learns next to nothing.
"""

import contextvars
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.cleaning import hash_texts
from ftzard.core.records import EXAMPLE_SCHEMA, RAW_SCHEMA, Raw
from ftzard.errors import StorageError

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["TINY", "compose_tiny", "load_asset", "make_examples", "make_project", "make_raw", "some_rows"]

TINY: Final = ("experiment=tiny",)

_BATCH: Final = "data/raw/examples.csv"
_THINGS: Final = ("tea", "train", "film", "chair", "lamp", "bread", "song", "phone", "garden", "coat", "book", "rain")
_OPINIONS: Final = {
    "was lovely": "positive",
    "made my day": "positive",
    "is wonderful": "positive",
    "was awful": "negative",
    "ruined my day": "negative",
    "is broken again": "negative",
}

# A text and its label; None where it has none.
Row = tuple[str, str | None]


def some_rows() -> list[Row]:
    """72 short texts, half `positive` and half `negative`; enough for all splits to have both."""
    return [(f"The {thing} {opinion}", label) for thing in _THINGS for opinion, label in _OPINIONS.items()]


def compose_tiny(*overrides: str, project_dir: Path | str | None = None) -> FtzardConfig:
    """The configuration of `experiment=tiny`, with overrides.

    Raises:
        ConfigError: As `ftzard.compose`.
    """
    return compose([*TINY, *overrides], project_dir=project_dir)


def make_raw(rows: Iterable[Row]) -> Raw:
    """Make what the asset `raw_data` holds of a CSV with these rows below a header."""
    return Raw(_with_places(rows).select(RAW_SCHEMA.names()))


def make_examples(rows: Iterable[Row]) -> pl.DataFrame:
    """Make what `cleaned` holds of these rows where cleaning changes and rejects none: `EXAMPLE_SCHEMA`."""
    frame = _with_places(rows)
    return frame.with_columns(hash_texts(frame["text"])).select(EXAMPLE_SCHEMA.names())


def make_project(folder: Path, rows: Iterable[Row] | None = None) -> Path:
    """Make a project like `ftzard init --data`.

    Args:
        folder: Where; it does not exist yet, or is empty.
        rows: What is in its one batch; None: `some_rows`.

    Returns:
        The folder. `ftzard.materialize(folder, TINY)` runs everything in it.

    Raises:
        FtzardError: As `ftzard init`: the folder holds something, or nothing could be learned from the rows.
    """
    from ftzard import new_project

    frame = _with_places(some_rows() if rows is None else rows)
    with TemporaryDirectory() as scratch:
        batch = Path(scratch, Path(_BATCH).name)
        frame.select("text", "label").write_csv(batch)
        return new_project.make_project(folder, data=batch).folder


def load_asset(project: Path, name: str | Sequence[str], partition_key: str | None = None) -> Any:
    """What an asset of a project holds, as a later step or a person would load it.

    Args:
        project: The project's folder.
        name: The asset's name, or its key.
        partition_key: Of `incoming` and what follows from it, which have a partition for each file.

    Raises:
        StorageError: It was not materialized, is not what was committed, or has partitions and none was named.
    """
    from ftzard.dagster_instance import project_instance
    from ftzard.definitions import build_definitions

    def load() -> Any:
        definitions = build_definitions(project_dir=project)
        with project_instance(project) as instance:
            if partition_key is None:
                _refuse_partitions(definitions, name, instance)
            return definitions.load_asset_value(name, instance=instance, partition_key=partition_key)

    # Where loading fails, Dagster leaves a dead instance in a context variable, which later definitions would ask.
    return contextvars.copy_context().run(load)


def _refuse_partitions(
    definitions: "dg.Definitions", name: str | Sequence[str], instance: "dg.DagsterInstance"
) -> None:
    import dagster as dg

    partitions = definitions.resolve_assets_def(dg.AssetKey(name)).partitions_def
    if partitions is not None:
        found = partitions.get_partition_keys(dynamic_partitions_store=instance)
        raise StorageError(
            f"{name} has a partition for each file that came in, and none was named",
            fix=f"give partition_key, one of: {', '.join(found)}" if found else "put a file into the folder for those",
        )


def _with_places(rows: Iterable[Row]) -> pl.DataFrame:
    frame = pl.DataFrame(list(rows), schema={"text": pl.String, "label": pl.String}, orient="row")
    # The header is line 1.
    return frame.with_columns(batch=pl.lit(_BATCH), row=pl.int_range(2, pl.len() + 2, dtype=pl.Int64))
