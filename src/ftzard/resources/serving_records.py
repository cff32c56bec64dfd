"""What was predicted for incoming files and what of it was put to people, as it lies in the data folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ftzard.errors import StorageError


def _trust(_: Path) -> None:
    """Somebody who reads the files directly knows what is in them."""


@dataclass(frozen=True)
class ServingRecords:
    """The stored partitions of `incoming_predictions` and `label_queue`.

    Args:
        folder: The pipeline's folder of assets; it need not exist.
        require_committed: Raises where a file is not what was committed; by default all are taken for it.
    """

    folder: Path
    require_committed: Callable[[Path], None] = _trust

    def predictions(self, champion_version: str) -> pl.DataFrame | None:
        """What one champion predicted for what came in.

        Returns:
            `prediction_schema` and `champion_version`; None where it predicted nothing.

        Raises:
            StorageError: A file is not readable.
        """
        of_champion = [
            frame.filter(pl.col("champion_version") == champion_version)
            for frame in self._frames("incoming_predictions", "*.parquet")
        ]
        # The files of other champions may have other labels, and so another schema.
        found = [frame for frame in of_champion if not frame.is_empty()]
        return pl.concat(found) if found else None

    def sidecars(self) -> list[pl.DataFrame]:
        """The sidecar of every label queue.

        Raises:
            StorageError: A file is not readable.
        """
        return list(self._frames("label_queue", "*/sidecar.parquet"))

    def _frames(self, asset: str, pattern: str) -> Iterator[pl.DataFrame]:
        folder = self.folder / asset
        for path in sorted(folder.glob(pattern)):
            # A name with a dot is that of a partition that is just being written.
            if not path.relative_to(folder).parts[0].startswith("."):
                self.require_committed(path)
                yield _read(path)


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{path} is not a readable Parquet file: {error}",
            fix="materialize the partition again, or restore the file with `dvc checkout`",
        ) from error
