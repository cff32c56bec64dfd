"""Label queues: a CSV for a person, JSON for Label Studio, and what neither should show."""

from pathlib import Path

import polars as pl

from ftzard.core.label_files import label_studio_tasks, queue_csv
from ftzard.core.label_queue import LabelQueue
from ftzard.errors import StorageError
from ftzard.io_managers.committing import CommittingIOManager

_CSV, _JSON, _ROWS, _SIDECAR = "queue.csv", "label-studio.json", "rows.parquet", "sidecar.parquet"


class LabelQueueIOManager(CommittingIOManager):
    """A `LabelQueue` as a folder."""

    extension = ""

    def write(self, value: LabelQueue, path: Path) -> None:
        """Write what people open, and the queue itself as Parquet."""
        path.mkdir()
        (path / _CSV).write_text(queue_csv(value), encoding="utf-8", newline="")
        (path / _JSON).write_text(label_studio_tasks(value), encoding="utf-8")
        value.rows.write_parquet(path / _ROWS)
        value.sidecar.write_parquet(path / _SIDECAR)

    def read(self, path: Path) -> LabelQueue:
        """Read the queue."""
        try:
            return LabelQueue(pl.read_parquet(path / _ROWS), pl.read_parquet(path / _SIDECAR))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                f"{path} holds no label queue: {error}", fix="restore the folder with `dvc checkout`"
            ) from error
