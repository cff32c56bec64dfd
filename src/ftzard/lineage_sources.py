"""Where a lineage is read from: the history, the registry, the runs, the data of now and of earlier commits."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.adapter_documents import MANIFEST_NAME, AdapterManifest, read_manifest
from ftzard.core.annotation_store import read_annotation_files, read_annotations
from ftzard.core.annotations import ANNOTATION_SCHEMA
from ftzard.core.batch_folder import files_below
from ftzard.core.batch_names import is_passed_over
from ftzard.core.champion_records import AliasMove, RegisteredAdapter
from ftzard.core.cleaning import hash_texts
from ftzard.core.cleaning_questions import normalise_questions
from ftzard.core.forgetting import Forgetting, forgotten_folder, read_forgettings
from ftzard.core.label_files import read_label_queues
from ftzard.core.reading import read_batch
from ftzard.core.records import ASSETS_DIR, LabelQueue
from ftzard.errors import StorageError
from ftzard.history import HistoryEntry, read_history
from ftzard.label_store import annotations_folder, resolved_name
from ftzard.resources.committed_data import fetch_committed, has_committed
from ftzard.resources.data_folder import find_dvc_root
from ftzard.resources.data_log import DataLog
from ftzard.resources.git import Git
from ftzard.resources.registered_artifacts import ADAPTER_FOLDER
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import RunSummary, Tracking

TABLES = ("train", "validation", "test")
# Where tables were in earlier commits -> their name.
_OLD_TABLES = {"raw_data.parquet": "raw_data"}


@dataclass(frozen=True)
class RunDetails:
    """What an MLflow run says of itself.

    Attributes:
        summary: Its step and status.
        tags: As FTzard set them.
        datasets: What it read and wrote: `asset`, `context`, `data hash`, `data commit` and `data version` of each.
    """

    summary: RunSummary
    tags: Mapping[str, str]
    datasets: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class LineageSources:
    """One project, read when it is asked for and once.

    Args:
        project_dir: The project folder.
        config: Says where things are.
    """

    project_dir: Path
    config: FtzardConfig

    @cached_property
    def tracking(self) -> Tracking:
        """The runs."""
        return Tracking(self.config.tracking, self.project_dir)

    @property
    def registry(self) -> AdapterRegistry:
        """The versions."""
        return AdapterRegistry(self.tracking)

    @property
    def has_store(self) -> bool:
        """Whether there is an MLflow store; looking must not make one."""
        store = self.tracking.store_file
        return store is None or store.exists()

    @cached_property
    def history(self) -> tuple[HistoryEntry, ...]:
        """Every materialization, oldest first."""
        return read_history(self.project_dir)

    @cached_property
    def versions(self) -> tuple[RegisteredAdapter, ...]:
        """Every registered version, oldest first."""
        return self.registry.versions() if self.has_store else ()

    @cached_property
    def moves(self) -> tuple[AliasMove, ...]:
        """Every move of the alias, oldest first."""
        return self.registry.history() if self.has_store else ()

    @cached_property
    def log(self) -> DataLog:
        """The data commits."""
        return DataLog(self.project_dir, self.config.versioning)

    @cached_property
    def forgettings(self) -> tuple[Forgetting, ...]:
        """What was taken out of the labels."""
        return read_forgettings(forgotten_folder(self.project_dir, self.config.versioning))

    @cached_property
    def annotations(self) -> pl.DataFrame:
        """What people say now."""
        return read_annotations(annotations_folder(self.project_dir, self.config))

    @cached_property
    def queues(self) -> Mapping[str, LabelQueue]:
        """The label queues of now, by the content key of their file."""
        return read_label_queues(self._assets / "label_queue")

    @cached_property
    def manifests(self) -> Mapping[str, AdapterManifest]:
        """Version -> the manifest of its adapter; the weights are not downloaded."""
        return {version.version: self._manifest(version) for version in self.versions}

    def seen(self, version: RegisteredAdapter) -> set[str]:
        """The text hashes that a version's weights have seen."""
        return set(self.registry.evidence(version).train_hashes)

    def frames(self, asset: str) -> Mapping[str, pl.DataFrame]:
        """The partitions of an asset that are stored now, by content key."""
        paths = sorted((self._assets / asset).glob("*.parquet"))
        return {path.stem: _read(path) for path in paths if not is_passed_over(path.name)}

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """The tables of labelled rows that are stored now, by name, in the order of the steps."""
        return _tables(self._assets)

    def run(self, summary: RunSummary) -> RunDetails:
        """What a run says of itself."""
        with self.tracking.connected() as client:
            run = client.get_run(summary.run_id)
        datasets = []
        for one in run.inputs.dataset_inputs if run.inputs else ():
            tags = {tag.key: tag.value for tag in one.tags}
            facts = {
                "asset": one.dataset.name,
                "context": tags.get("mlflow.data.context", ""),
                "data hash": one.dataset.digest,
                "data commit": tags.get("ftzard.data_commit", ""),
                "data version": tags.get("ftzard.data_version", ""),
            }
            datasets.append({key: value for key, value in facts.items() if value})
        return RunDetails(summary, dict(run.data.tags), tuple(datasets))

    def runs_that_read(self, asset: str, data_version: str) -> tuple[RunSummary, ...]:
        """The runs that read one version of an asset, oldest first."""
        with self.tracking.connected() as client:
            experiment = client.get_experiment_by_name(self.tracking.config.experiment)
            query = f"tags.`ftzard.read.{asset}` = '{data_version}'"
            found = client.search_runs([experiment.experiment_id], query) if experiment else []
        ids = {str(run.info.run_id) for run in found}
        return tuple(run for run in self.tracking.runs() if run.run_id in ids)

    def committed(self, commit_id: str) -> tuple[Mapping[str, pl.DataFrame], pl.DataFrame]:
        """The tables and the annotations that a commit holds.

        Raises:
            StorageError: Its data is not to be had.
        """
        data_dir = self.config.versioning.data_dir
        assets = (*_OLD_TABLES, "raw_data", "cleaned", "splits")
        names = [*(f"{ASSETS_DIR}/{name}" for name in assets), "annotations"]
        with TemporaryDirectory(prefix="ftzard-show-") as folder:
            for name in names:
                path = f"{data_dir}/{name}"
                if self._has(commit_id, path):
                    target = Path(folder) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._fetch(commit_id, path, target)
            if not any(Path(folder).iterdir()) and self.log.is_unlisted(commit_id):
                raise StorageError(
                    f"the data of the commit {commit_id} is neither in DVC's cache nor in its remote",
                    fix="bring it from where it is with `dvc fetch --all-commits`",
                )
            return _tables(Path(folder) / ASSETS_DIR), read_annotations(Path(folder) / "annotations")

    def labelled_rows(self, name: str) -> pl.DataFrame:
        """The rows of a labelled file as it is, or as the newest commit that has it holds it."""
        with self._file(name) as path:
            return read_batch(path, name, self.config.data)[0]

    def annotation_file(self, name: str) -> pl.DataFrame:
        """What an import wrote, from where it is as for `labelled_rows`."""
        with self._file(name) as path:
            return read_annotation_files(path.parent).get(path, ANNOTATION_SCHEMA.to_frame())

    def hashes(self, rows: pl.DataFrame) -> set[str]:
        """What the texts of rows are known by once they are cleaned."""
        texts = normalise_questions(rows["text"].drop_nulls(), self.config.data)
        return set(hash_texts(texts))

    def file_kinds(self, *, of_any_time: bool) -> dict[str, str]:
        """Every file that came from outside, now or also in an earlier commit -> its kind."""
        data = self.config.data
        folders = {
            data.raw_dir: "batch",
            data.labelled_dir: "batch",
            data.incoming_dir: "incoming file",
            annotations_folder(Path(), self.config).as_posix(): "annotations",
        }
        here = {
            path.relative_to(self.project_dir).as_posix()
            for folder in folders
            for path in files_below(self.project_dir, folder)
        }
        came = {batch for frame in self.frames("incoming").values() for batch in frame["batch"].unique()}
        kinds = dict.fromkeys(sorted(came), "incoming file")
        for name in sorted(here | set(self.log.presence if of_any_time else ())):
            kind = next((kind for folder, kind in folders.items() if name.startswith(f"{folder}/")), None)
            if kind is not None and not is_passed_over(Path(name).name):
                kinds[name] = kind
        return kinds

    @property
    def resolved_name(self) -> str:
        """The file with what the majority says."""
        return resolved_name(self.config)

    @property
    def _assets(self) -> Path:
        return self.project_dir / self.config.versioning.data_dir / ASSETS_DIR

    def _has(self, commit_id: str, path: str) -> bool:
        """From the list in the cache where it has it, because opening a commit takes DVC a second."""
        files = self.log.files(commit_id)
        if files is None:
            return has_committed(self._dvc_root, commit_id, self._from_dvc_root(path))
        return any(file == path or file.startswith(f"{path}/") for file in files)

    def _fetch(self, commit_id: str, path: str, target: Path) -> None:
        fetch_committed(self._dvc_root, commit_id, self._from_dvc_root(path), target)

    @cached_property
    def _dvc_root(self) -> Path:
        return find_dvc_root(self.project_dir, Git.find(self.project_dir).top_level)

    def _from_dvc_root(self, path: str) -> str:
        return (self.project_dir / path).relative_to(self._dvc_root).as_posix()

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """A file of the data, where it lies or else fetched from the newest commit that has it."""
        here, presence = self.project_dir / name, self.log.presence.get(name)
        if here.exists():
            yield here
            return
        if presence is None:
            raise StorageError(f"{name} is gone, and no data commit has it", fix="name another file")
        with TemporaryDirectory(prefix="ftzard-show-") as folder:
            target = Path(folder) / Path(name).name
            self._fetch(presence.newest, name, target)
            yield target

    def _manifest(self, version: RegisteredAdapter) -> AdapterManifest:
        with TemporaryDirectory(prefix="ftzard-show-") as folder, self.tracking.connected() as client:
            path = client.download_artifacts(version.run_id, f"{ADAPTER_FOLDER}/{MANIFEST_NAME}", folder)
            return read_manifest(Path(path).parent)


def _tables(assets: Path) -> dict[str, pl.DataFrame]:
    files = {
        "raw_data": "raw_data/examples",
        "quarantined": "raw_data/quarantined",
        "cleaned": "cleaned/examples",
        "rejected": "cleaned/rejected",
    }
    files |= {name: f"splits/{name}" for name in TABLES}
    paths = {**_OLD_TABLES, **{f"{file}.parquet": name for name, file in files.items()}}
    found = {name: _read(assets / file) for file, name in paths.items() if (assets / file).exists()}
    return {name: found[name] for name in files if name in found}


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, memory_map=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{path} is not a readable Parquet file: {error}", fix="restore the file with `dvc checkout`"
        ) from error
