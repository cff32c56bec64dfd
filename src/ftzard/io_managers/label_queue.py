"""Label queues: a CSV for a person, JSON for Label Studio, and what neither should show."""

from pathlib import Path

from ftzard.core.label_files import read_label_queue, write_label_queue
from ftzard.core.records import LabelQueue
from ftzard.io_managers.parquet import FramesIOManager


class LabelQueueIOManager(FramesIOManager):
    """A `LabelQueue` as a folder."""

    extension = ""

    def write(self, value: LabelQueue, path: Path) -> None:
        """Write what people open, and the queue itself as Parquet."""
        write_label_queue(value, path)

    def read(self, path: Path) -> LabelQueue:
        """Read the queue; what people wrote into the files for them is not looked at."""
        return read_label_queue(path)
