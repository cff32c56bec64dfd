"""What is done to a project while faults happen to whoever does it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

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


def materialize(project: Path, *overrides: str, is_alone: bool = True) -> dict[str, str]:
    """Materialize what is stale; returns the version of each asset but the facts about runs.

    No Dagster run may be left running then, unless another process is at work beside this one.
    """
    import dagster as dg

    from ftzard.dagster_instance import project_instance
    from ftzard.materialization import materialize as materialize_project

    materialize_project(project, [*TINY, *overrides])
    with project_instance(project) as instance:
        if is_alone and (running := instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))):
            message = f"{len(running)} Dagster run(s) are left running"
            raise AssertionError(message)
    return versions(project)


def versions(project: Path) -> dict[str, str]:
    """The content versions; of the others some hold ids of commits and runs, which differ from run to run."""
    import dagster as dg

    from ftzard.assets.stored import data_version, stored_materialization
    from ftzard.dagster_instance import project_instance

    with project_instance(project) as instance:
        names = ("raw_data", "cleaned", "splits", "predictions")
        return {name: data_version(stored_materialization(instance, dg.AssetKey(name))) or "" for name in names}


def preload(scratch: Path, operation: Callable[[Path], object]) -> None:
    """Import what an operation needs once, so that each process begins with it: half of a run would be imports."""
    import importlib
    import sys
    from contextlib import suppress

    from tests.faults.injection import Fault, run_with
    from tests.faults.project import make_project

    for name in ("dvc.repo", "dvc.api", "mlflow", "torch", "transformers", "peft", "sqlalchemy"):
        importlib.import_module(name)

    def imported() -> list[str]:
        operation(make_project(scratch / "preload"))
        return list(sys.modules)

    outcome = run_with(Fault(), imported)
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)
    for name in outcome.value:
        with suppress(Exception):
            importlib.import_module(name)


def materialize_by_force(project: Path) -> None:
    """Materialize everything again."""
    from ftzard.materialization import materialize as materialize_project

    materialize_project(project, TINY, force=True)


def load_values(project: Path) -> dict[str, str]:
    """The content version of each asset's value, as it is loaded."""
    from ftzard.core.versions import content_version
    from ftzard.dagster_instance import project_instance
    from ftzard.definitions import SPINE, build_definitions

    definitions = build_definitions(project_dir=project)
    with project_instance(project) as instance:
        names = [asset.name for asset in SPINE]
        return {
            name: content_version(cast("Any", definitions.load_asset_value(name, instance=instance))) for name in names
        }


def load_serving(project: Path) -> tuple[int, int]:
    """What serving has stored."""
    from ftzard.resources.serving_records import ServingRecords

    repository = DvcRepository(project, VersioningConfig())
    records = ServingRecords(project / "data" / "assets", repository.require_committed)
    predictions = records.predictions("1")
    return (0 if predictions is None else int(predictions.hash_rows(0).sum()), len(records.sidecars()))


def checkout(project: Path) -> str:
    """The data of the last commit, written into a folder of its own."""
    import shutil

    from ftzard.data_checkout import checkout_data

    done = checkout_data(project, "HEAD")
    found = _content(done.folder)
    shutil.rmtree(done.folder)
    return found


def pull(project: Path) -> str:
    """The data of the last commit out of the remote alone."""
    import shutil

    shutil.move(project / ".dvc" / "cache", project / ".dvc" / "away")
    try:
        return checkout(project)
    finally:
        shutil.rmtree(project / ".dvc" / "cache", ignore_errors=True)
        shutil.move(project / ".dvc" / "away", project / ".dvc" / "cache")


def champion(project: Path) -> str:
    """What `ftzard champion` says."""
    from ftzard.champion import describe_champion

    return describe_champion(project, TINY).replace(str(project), "PROJECT")


def history(project: Path) -> list[dict[str, object]]:
    """What `ftzard history` says."""
    from ftzard.history import read_history

    return [entry.to_dict() for entry in read_history(project)]


def reproduce(project: Path) -> bool:
    """Whether the champion comes out bit for bit."""
    from ftzard.reproduction import reproduce as reproduce_adapter

    return reproduce_adapter(project, "champion", TINY).is_reproduced


def take_in_file(project: Path) -> str:
    """A file without labels arrives and is taken in; returns its key."""
    import time

    from ftzard.composition import compose
    from ftzard.core.intake import STAGING_DIR, take_in
    from ftzard.dagster_instance import project_instance

    config = compose(TINY, project_dir=project).data
    folder = project / config.incoming_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new.csv").write_text("text\nA fine cup of tea\nA broken lamp\nSome rain\n", encoding="utf-8")
    taken = take_in(project, config, project / STAGING_DIR, {}, settle_s=0.0, now_s=time.time() + 1)
    # A copy is what serving reads from then on.
    (folder / "new.csv").unlink()
    with project_instance(project) as instance:
        instance.add_dynamic_partitions("ftzard_incoming", [taken.arrivals[0].key])
    return taken.arrivals[0].key


def serve(project: Path) -> list[str]:
    """Predict and queue the file that came in; returns the content of what is stored."""
    import dagster as dg

    from ftzard.core.intake import STAGING_DIR
    from ftzard.dagster_instance import project_instance
    from ftzard.definitions import build_definitions
    from ftzard.materialization import _raise_cause, _run_config

    key = next(path.name for path in (project / STAGING_DIR).glob("[0-9a-f]*"))
    with project_instance(project) as instance:
        job = build_definitions(project_dir=project).resolve_job_def("ftzard_serving")
        tags = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key}
        try:
            job.execute_in_process(instance=instance, run_config=_run_config("ftzard_configuration", TINY), tags=tags)
        except dg.DagsterError as error:
            _raise_cause(error)
            raise
        except Exception as error:
            _raise_cause(error)
            raise
    folder = project / "data" / "assets"
    return [_content(folder / name) for name in ("incoming", "incoming_predictions", "label_queue")]


def send_waiting(project: Path) -> dict[str, str]:
    """Send what waits for a server; returns the tags of the run that it belongs to."""
    from ftzard.composition import compose
    from ftzard.resources.tracking import Tracking

    tracking = Tracking(compose(TINY, project_dir=project).tracking, project)
    run_id = tracking.runs()[0].run_id
    # What opens a run does so for all that wait, and tells in the log what could not be sent.
    tracking.open_run("TRAINING", tags={}).finish("FINISHED")
    with tracking.connected() as client:
        tracking.outbox.send(run_id, client, lambda _, known: known)
        return {name: value for name, value in client.get_run(run_id).data.tags.items() if name.startswith("kept")}


def keep_waiting(project: Path) -> None:
    """Something waits for a server."""
    from ftzard.composition import compose
    from ftzard.resources.run_operations import SetTags
    from ftzard.resources.tracking import Tracking

    tracking = Tracking(compose(TINY, project_dir=project).tracking, project)
    run = tracking.runs()[0]
    for number in range(3):
        tracking.outbox.keep(run.run_id, SetTags({f"kept{number}": "a value of some length"}))


def _content(folder: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
