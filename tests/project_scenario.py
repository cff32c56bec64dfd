"""A project that was materialized with `experiment=tiny`: a copy to change, and what stands in it."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from ftzard.composition import compose
from ftzard.dagster_instance import project_instance
from ftzard.definitions import IO_MANAGERS, SPINE
from ftzard.errors import FtzardError
from ftzard.materialization import Materialization, materialize
from ftzard.resources.tracking import Tracking
from ftzard.testing import TINY, load_asset

# For those that import them from here.
__all__ = ["TINY", "load_asset"]

NAMES = tuple(asset.name for asset in SPINE)
# The others are facts about a run, and make no data commit.
COMMITTED = tuple(asset.name for asset in SPINE if IO_MANAGERS[asset.io].commits)


def copy_of(project: Path, folder: Path) -> Path:
    """A copy to write in."""
    return shutil.copytree(project, folder / "copy", symlinks=True)


def project_with(template: Path, empty_store: Path, folder: Path, write: Callable[[Path], object]) -> Path:
    """A project with batches of another kind, which are written into the folder that is handed over."""
    project = shutil.copytree(template, folder / "project")
    shutil.copy(empty_store, project / "mlflow.db")
    raw = project / "data" / "raw"
    shutil.rmtree(raw)
    raw.mkdir()
    write(raw)
    return project


def run(project: Path, *overrides: str, force: bool = False) -> Materialization:
    """Materialize with the tiny recipe."""
    return materialize(project, [*TINY, *overrides], force=force)


def failure_of(project: Path, *overrides: str) -> FtzardError:
    """The error that materializing ends with."""
    try:
        done = run(project, *overrides)
    except FtzardError as error:
        return error
    message = f"nothing failed: {done}"
    raise AssertionError(message)


def git(folder: Path, *arguments: str) -> str:
    """What the person's own git says."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def file_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def materializations(project: Path, names: Sequence[str] = NAMES) -> dict[str, dg.AssetMaterialization]:
    """The latest materialization of each asset."""
    found = {}
    with project_instance(project) as instance:
        for name in names:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            assert event.asset_materialization is not None
            found[name] = event.asset_materialization
    return found


def data_versions(project: Path) -> dict[str, str]:
    """The data version of each asset."""
    return {name: (event.tags or {})["dagster/data_version"] for name, event in materializations(project).items()}


def tracking(project: Path) -> Tracking:
    """The MLflow experiment of the tiny recipe."""
    return Tracking(compose(TINY, project_dir=project).tracking, project)
