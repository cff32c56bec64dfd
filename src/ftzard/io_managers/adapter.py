"""Adapters as directories that are verified whenever they are read."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg

from ftzard.core.adapter import verify_adapter
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.checkpoints import checkpoints_dir, remove_finished
from ftzard.core.records import AdapterDirectory
from ftzard.errors import AdapterCorruptError
from ftzard.io_managers.committing import CommittingIOManager
from ftzard.resources.tracked_run import TrackedRun


class AdapterIOManager(CommittingIOManager):
    """An `AdapterDirectory`; its files are moved into place, never copied."""

    extension = ""

    def write(self, value: AdapterDirectory, path: Path) -> None:
        """Move the verified directory."""
        verify_adapter(value.path)
        value.path.rename(path)

    def handle_output(self, context: dg.OutputContext, obj: AdapterDirectory) -> None:
        """As for every value; the training's checkpoints have served their purpose once the adapter is committed."""
        super().handle_output(context, obj)
        remove_finished(checkpoints_dir(self._dvc.repository.project_dir))

    def keep_stored(self, value: AdapterDirectory, path: Path) -> bool:
        """Keep the stored adapter where the new one differs in its provenance at most.

        It then goes on naming the data that it was first made from. Otherwise the same training would be a new commit
        each time, because the commit before it is another one.
        """
        verify_adapter(value.path)
        try:
            verify_adapter(path)
            stored = read_manifest(path)
        except AdapterCorruptError:
            return False
        is_same = replace(read_manifest(value.path), provenance=stored.provenance) == stored
        if is_same and not value.path.samefile(path):
            shutil.rmtree(value.path)
        return is_same

    def read(self, path: Path) -> AdapterDirectory:
        """Verify the directory in place.

        Raises:
            AdapterCorruptError: A file is missing, unexpected or changed.
        """
        return verify_adapter(path)

    def log_artifacts(self, run: TrackedRun, path: Path) -> None:
        """The adapter is small and is what people look for in a training run."""
        run.log_directory(path, "adapter")
