"""The base of FTzard's IO managers: write, commit with DVC and git, record the commit, end the MLflow run.

A value is written to a temporary name and renamed, so that a reader sees the old value or the new one.
"""

import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
from upath import UPath

from ftzard.core.disk_failures import disk_failures_explained
from ftzard.core.records import ASSETS_DIR
from ftzard.errors import StorageError
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.dvc import DvcResource
from ftzard.resources.interruption import deferred_requests
from ftzard.resources.mlflow import MlflowResource
from ftzard.resources.run_operations import TrackedDataset
from ftzard.resources.stored_files import STORED_KEY
from ftzard.resources.tracked_run import TrackedRun
from ftzard.resources.tracking import RUN_ID_KEY

if TYPE_CHECKING:
    from ftzard.resources.configuration import ConfigurationResource

# The project's own folder, which git ignores.
PRIVATE_DIR = ".ftzard"
RECOVERED_TAG = "ftzard.recovered"


class CommittingIOManager(dg.UPathIOManager):
    """Stores a value under its asset key, without the pipeline's prefix, and commits the data folder.

    A project is one pipeline's: the prefix tells it from others in Dagster, and says nothing to the project. So the
    commands find what a pipeline of any name made.

    Attributes:
        commits: Whether the value is data. What is a fact about a run instead (a verdict, a decision) is kept in the
            project's own folder and as an artifact of its MLflow run, and makes no commit.
    """

    commits: ClassVar[bool] = True
    # Whoever stores a value last knows whether all went well; a step looks for this (`ftzard.assets.execution`).
    ends_runs: ClassVar[bool] = True

    def __init__(
        self,
        find_base_path: Callable[[], UPath],
        mlflow: MlflowResource,
        dvc: DvcResource,
        key_prefix: Sequence[str] = (),
    ) -> None:
        """Keep the resources; nothing is opened, and no configuration composed, before the first value."""
        self._key_prefix = tuple(key_prefix)
        self._find_base_path = find_base_path
        super().__init__()
        self._mlflow = mlflow
        self._dvc = dvc

    # An error in the configuration is thus one of the step. Where the resources are made it would be one of the run,
    # which Dagster takes for a crash and tries again.
    @property
    def _base_path(self) -> UPath:
        return self._find_base_path()

    @_base_path.setter
    def _base_path(self, path: UPath) -> None:
        """Dagster's base class sets a default."""

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        """Where an asset lies below the base path; an asset of somebody else's, by its whole key."""
        path, length = tuple(context.asset_key.path), len(self._key_prefix)
        return UPath(*(path[length:] if path[:length] == self._key_prefix else path))

    @abstractmethod
    def write(self, value: Any, path: Path) -> None:
        """Write a value to a path that does not exist yet."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read what `write` wrote.

        Raises:
            FtzardError: What is there cannot be trusted.
        """

    def keep_stored(self, value: Any, path: Path) -> bool:
        """Whether what is stored at an existing path stands for the value and stays; never by default.

        Where it stays, files that the value alone has are removed.
        """
        del value, path
        return False

    def check(self, asset: str, value: Any) -> None:
        """See that a value is what its asset holds, before it is stored and after it is read; nothing by default.

        Args:
            asset: The asset's name, without the prefix of its pipeline.
            value: Its value, of one partition where it has several.

        Raises:
            SchemaViolationError: It is something else.
        """

    def log_artifacts(self, run: TrackedRun, path: Path) -> None:
        """Log to the MLflow run what belongs there; by default the data stays with DVC."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write, commit, record; the run ends FINISHED, or FAILED when any of it fails."""
        run = self._mlflow.tracking.run(_run_id(context.output_metadata))
        with disk_failures_explained(), deferred_requests(), run.ending_on_failure():
            metadata: dict[str, Any] = {}
            for path, value in self._paths_and_values(context, obj):
                self.make_directory(path.parent)
                self.dump_to_path(context, value, path)
                self.log_artifacts(run, Path(str(path)))
                if not context.has_asset_partitions:
                    metadata["path"] = dg.MetadataValue.path(str(path))
            metadata |= self._commit(context, run) if self.commits else {}
        run.finish("FINISHED")
        context.add_output_metadata(metadata)

    def _paths_and_values(self, context: dg.OutputContext, obj: Any) -> list[tuple[UPath, Any]]:
        """Where what goes: one value, or for a step that makes partitions a mapping of them."""
        if not context.has_asset_partitions:
            return [(self._get_path(context), obj)]
        paths = self._get_paths_for_partitions(context)
        return [(path, obj[key]) for key, path in sorted(paths.items())]

    def _commit(self, context: dg.OutputContext, run: TrackedRun) -> dict[str, Any]:
        asset = context.asset_key.to_user_string()

        def record(commit: DataCommit) -> None:
            run.record_commit(commit.commit_id, {"asset": asset, "data_hash": commit.data_hash})
            run.log_datasets([TrackedDataset(asset, commit.data_hash, "written", commit.commit_id)])
            if commit.recovered is not None:
                run.set_tags({RECOVERED_TAG: commit.recovered})

        commit = self._dvc.repository.commit(_message(context, run), record)
        if commit.recovered is not None:
            context.log.warning("%s", commit.recovered)
        if commit.pending is not None:
            context.log.warning("The data commit %s is not pushed: %s", commit.commit_id, commit.pending)
        return _commit_metadata(commit) | self._stored(context, commit)

    def _stored(self, context: dg.OutputContext, commit: DataCommit) -> dict[str, str]:
        """What was stored, so that it is known again when the person has checked out another commit's data."""
        if context.has_asset_partitions:
            return {}
        path = Path(str(self._get_path(context)))
        content = self._dvc.repository.stored_contents(path.parent, commit.data_hash).get(path.stem)
        return {} if content is None else {STORED_KEY: content}

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        """Write beside the target and rename."""
        if context.has_asset_key:
            self.check(context.asset_key.path[-1], obj)
        target = Path(str(path))
        with _refusals_explained(target):
            if not target.exists() or not self.keep_stored(obj, target):
                _replace(target, lambda temporary: self.write(obj, temporary))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        """Read what was committed, or say which asset has to be materialized first."""
        if not Path(str(path)).exists():
            raise StorageError(
                f"There is no {path}",
                fix="materialize the asset it belongs to, or get the committed data with `dvc pull` or `dvc checkout`",
            )
        if self.commits:
            # Before anything reads it: a damaged Parquet file can end the whole process.
            self._dvc.repository.require_committed(Path(str(path)))
        with _refusals_explained(Path(str(path))):
            value = self.read(Path(str(path)))
        if context.has_asset_key:
            self.check(context.asset_key.path[-1], value)
        return value


ManagerType = type[CommittingIOManager]


def define_io_manager(
    manager: ManagerType, *, configuration: str, mlflow: str, dvc: str, key_prefix: Sequence[str] = ()
) -> dg.IOManagerDefinition:
    """A Dagster IO manager over the data folder of a run's configuration.

    Not a `ConfigurableIOManagerFactory`: with resources nested in one of those that a run can configure,
    `Definitions.load_asset_value` cannot build it (Dagster 1.13).

    Args:
        manager: The class to build.
        configuration: Resource key of the `ConfigurationResource`.
        mlflow: Resource key of the `MlflowResource`.
        dvc: Resource key of the `DvcResource`.
        key_prefix: That of the pipeline's asset keys.
    """

    def build(context: dg.InitResourceContext) -> CommittingIOManager:
        source: ConfigurationResource = getattr(context.resources, configuration)

        def find_base_path() -> UPath:
            parent = source.config.versioning.data_dir if manager.commits else PRIVATE_DIR
            return UPath(source.project_path / parent / ASSETS_DIR)

        return manager(find_base_path, getattr(context.resources, mlflow), getattr(context.resources, dvc), key_prefix)

    return dg.IOManagerDefinition(resource_fn=build, required_resource_keys={configuration, mlflow, dvc})


def _replace(target: Path, write: Any) -> None:
    """Write to a temporary sibling and rename it over `target`; what was there is gone only after the new is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    retired = target.with_name(f".{target.name}.old")
    _remove(temporary)
    write(temporary)
    if temporary.is_dir() and target.exists():
        # A directory cannot be renamed over another.
        _remove(retired)
        target.rename(retired)
    temporary.replace(target)
    _remove(retired)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _refusals_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or path} cannot be used: {error.strerror or error}",
            fix="check the folder's permissions and the free space; what was stored before is still there",
        ) from error


def _run_id(metadata: Mapping[str, Any] | None) -> str:
    value = (metadata or {})[RUN_ID_KEY]
    return str(getattr(value, "value", value))


def _message(context: dg.OutputContext, run: TrackedRun) -> str:
    """Subject: which asset; body: where the rest of the story is."""
    lines = [
        f"data: materialize {context.asset_key.to_user_string()}",
        "",
        f"MLflow-Step: {run.step}",
        f"MLflow-Run: {run.run_id}",
        f"Dagster-Run: {context.run_id}",
    ]
    return "\n".join(lines) + "\n"


def _commit_metadata(commit: DataCommit) -> dict[str, Any]:
    return {
        "git_commit": commit.commit_id,
        "git_commit_created": commit.created,
        "dvc_hash": commit.data_hash,
        "pushed_data": commit.pushed_data,
        "pushed_git": commit.pushed_git,
        **({} if commit.pending is None else {"not_pushed": commit.pending}),
        **({} if commit.recovered is None else {"recovered": commit.recovered}),
    }
