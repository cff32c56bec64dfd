"""What is done to a project while faults happen to whoever does it."""

from pathlib import Path

from tests.faults.project import git

from ftzard.config import VersioningConfig
from ftzard.resources.versioning import DvcRepository

TINY = ("experiment=tiny",)


def commit(project: Path) -> str:
    """Commit the data folder; returns its hash."""
    done = DvcRepository(project, VersioningConfig()).commit("Data")
    if git(project, "rev-parse", "HEAD") != done.commit_id:
        message = "the commit that was returned is not the branch's tip"
        raise AssertionError(message)
    return done.data_hash


def materialize(project: Path, *overrides: str) -> dict[str, str]:
    """Materialize what is stale; returns the version of each asset but the facts about runs."""
    import dagster as dg

    from ftzard.dagster_instance import project_instance
    from ftzard.materialization import materialize as materialize_project

    materialize_project(project, [*TINY, *overrides])
    with project_instance(project) as instance:
        if running := instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            message = f"{len(running)} Dagster run(s) are left running"
            raise AssertionError(message)
    return versions(project)


def versions(project: Path) -> dict[str, str]:
    """The content versions; of the others some hold ids of commits and runs, which differ from run to run."""
    import dagster as dg

    from ftzard.assets.tracked import latest_data_version
    from ftzard.dagster_instance import project_instance

    with project_instance(project) as instance:
        names = ("raw_data", "cleaned", "splits", "predictions")
        return {name: latest_data_version(instance, dg.AssetKey(name)) or "" for name in names}


def preload(scratch: Path) -> None:
    """Import what the operations need once, so that each process begins with it: half of a run would be imports."""
    import importlib
    import sys
    from contextlib import suppress

    from tests.faults.injection import Fault, run_with
    from tests.faults.project import make_project

    for name in ("dvc.repo", "dvc.api", "mlflow", "torch", "transformers", "peft", "sqlalchemy"):
        importlib.import_module(name)

    def imported() -> list[str]:
        materialize(make_project(scratch / "preload"))
        return list(sys.modules)

    outcome = run_with(Fault(), imported)
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)
    for name in outcome.value:
        with suppress(Exception):
            importlib.import_module(name)
