"""What a person names: a registered version, an MLflow run, a git commit, a file; one thing, or an error says why."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ftzard.core.champion_records import RegisteredAdapter
from ftzard.errors import RegistryVersionError
from ftzard.history import read_history
from ftzard.resources.git import Git
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import RunSummary, Tracking

# Fewer could be a version's number.
_MIN_RUN_DIGITS = 6


def find_version(registry: AdapterRegistry, which: str) -> RegisteredAdapter | None:
    """The version with this number, or the champion; None where no version is called so.

    Raises:
        RegistryVersionError: The champion was asked for, and there is none.
        TrackingError: The store cannot be reached or refuses.
    """
    if which != "champion":
        return next((one for one in registry.versions() if one.version == which), None)
    champion = registry.champion()
    if champion is None:
        raise RegistryVersionError(
            f"{registry.name} has no champion", fix="name a version, an MLflow run or a commit; `ftzard history` helps"
        )
    return champion


def find_run(tracking: Tracking, which: str) -> RunSummary | None:
    """The MLflow run whose id this is, or at least six digits of its beginning; None where no run begins so.

    Raises:
        RegistryVersionError: Several runs do.
        TrackingError: The store cannot be reached or refuses.
    """
    found = [run for run in tracking.runs() if is_beginning(which, run.run_id)]
    if len(found) > 1:
        raise RegistryVersionError(f"{len(found)} MLflow runs begin with {which!r}", fix="give more of the run's id")
    return found[0] if found else None


def find_git_commit(project_dir: Path, which: str) -> str | None:
    """The full id of the commit that git knows by this name; None where it knows none, or more than one."""
    return None if which.startswith("-") else Git.find(project_dir).commit_at(which)


def is_beginning(which: str, run_id: str) -> bool:
    """Whether a name can stand for a run."""
    return len(which) >= _MIN_RUN_DIGITS and run_id.startswith(which)


def matching_names(project_dir: Path, which: str, names: Iterable[str]) -> list[str]:
    """The files that a person may mean: the one at this path, or else all that are called so.

    Args:
        project_dir: The project folder.
        which: A path, relative to the project or to the current folder or absolute, or just a file's name.
        names: POSIX paths relative to the project folder.
    """
    known, path = list(names), Path(which).resolve()
    here = path.relative_to(project_dir).as_posix() if path.is_relative_to(project_dir) else which
    exact = [name for name in known if name in {which, here}]
    return exact[:1] or [name for name in known if PurePosixPath(name).name == which]


def find_data_commit(project_dir: Path, registry: AdapterRegistry, which: str) -> str:
    """The commit that git knows by this name, or that the MLflow run made.

    Raises:
        RegistryVersionError: There is none, or more than one, or the run made none.
    """
    commit = find_git_commit(project_dir, which)
    made = {entry.mlflow_run_id or "": entry.commit_id for entry in read_history(project_dir)}
    runs = [run for run in made if is_beginning(which, run)]
    found = [commit] * bool(commit) + [made[run] for run in runs]
    if len(found) != 1:
        raise RegistryVersionError(
            f"{which!r} names {len(found) or 'nothing'}: tried versions of {registry.name}, the alias `champion`, git "
            "commits and MLflow runs in the history",
            fix="name a version, or more digits of a commit or a run: `ftzard history` lists them",
        )
    if found[0] is None:
        raise RegistryVersionError(f"the MLflow run {runs[0]} made no data commit", fix="name a run that made data")
    return found[0]
