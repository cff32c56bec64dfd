"""Label queues: a CSV for a person, JSON for Label Studio, and what neither should show."""

from pathlib import Path

import polars as pl

from ftzard.core.label_files import ID_COLUMN, parse_label_file, queue_csv
from ftzard.core.label_queue import QUEUE_SCHEMA, LabelQueue, label_studio_tasks
from ftzard.errors import StorageError
from ftzard.io_managers.committing import CommittingIOManager

_CSV, _JSON, _SIDECAR = "queue.csv", "label-studio.json", "sidecar.parquet"


class LabelQueueIOManager(CommittingIOManager):
    """A `LabelQueue` as a folder."""

    extension = ""

    def write(self, value: LabelQueue, path: Path) -> None:
        """Write the three files."""
        path.mkdir()
        (path / _CSV).write_text(queue_csv(value), encoding="utf-8", newline="")
        (path / _JSON).write_text(label_studio_tasks(value), encoding="utf-8")
        value.sidecar.write_parquet(path / _SIDECAR)

    def read(self, path: Path) -> LabelQueue:
        """Read what `write` wrote."""
        try:
            sidecar = pl.read_parquet(path / _SIDECAR)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                f"{path / _SIDECAR} cannot be read: {error}", fix="restore the folder with `dvc checkout`"
            ) from error
        data = (path / _CSV).read_bytes()
        label_column = data.partition(b"\n")[0].decode("utf-8").strip().removeprefix(f"{ID_COLUMN},text,")
        texts = parse_label_file(data, _CSV, label_column)["text"]
        rows = pl.DataFrame({"ftzard_id": sidecar["text_hash"], "text": texts}, schema=QUEUE_SCHEMA)
        return LabelQueue(rows, sidecar, label_column)
