"""Adapters as directories that are verified whenever they are read."""

from pathlib import Path

from ftzard.core.adapter import verify_adapter
from ftzard.core.records import AdapterDirectory
from ftzard.io_managers.committing import CommittingIOManager
from ftzard.resources.tracking import TrackedRun


class AdapterIOManager(CommittingIOManager):
    """An `AdapterDirectory`; its files are moved into place, never copied."""

    extension = ""

    def write(self, value: AdapterDirectory, path: Path) -> None:
        """Move the verified directory."""
        verify_adapter(value.path)
        value.path.rename(path)

    def read(self, path: Path) -> AdapterDirectory:
        """Verify the directory in place.

        Raises:
            AdapterCorruptError: A file is missing, unexpected or changed.
        """
        return verify_adapter(path)

    def log_artifacts(self, run: TrackedRun, path: Path) -> None:
        """The adapter is small and is what people look for in a training run."""
        run.log_directory(path, "adapter")
