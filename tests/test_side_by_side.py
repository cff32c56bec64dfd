"""Pipelines in other people's code locations: a project is one pipeline's, and its parts can be replaced."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from dagster._core.definitions.sensor_definition import SensorExecutionData

from ftzard.cli import main
from ftzard.config import TrackingConfig
from ftzard.core.records import Raw
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.errors import ConfigError
from ftzard.history import read_history
from ftzard.resources.tracking import Tracking
from ftzard.testing import TINY, load_asset, some_rows

_LOCATION = """\
import dagster as dg
import polars as pl
from ftzard import build_definitions

pipelines = [
    build_definitions(["experiment=tiny"], name=name, project_dir="{project}", executor=None)
    for name in ("intent", "sentiment")
]
defs = dg.Definitions.merge(*pipelines)
"""
_REFUSAL = r"the pipelines intent and sentiment have the same project_dir, .*project: they would take"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def _location(**projects: Path) -> dg.Definitions:
    """A code location with a pipeline by each name."""
    built = [build_definitions(TINY, name=name, project_dir=folder, executor=None) for name, folder in projects.items()]
    return dg.Definitions.merge(*built, dg.Definitions(executor=dg.in_process_executor))


def _tick(location: dg.Definitions, name: str, instance: dg.DagsterInstance) -> SensorExecutionData:
    repository = location.get_repository_def()
    sensor = repository.get_sensor_def(name)
    resources = {key: repository.get_top_level_resources()[key] for key in sensor.required_resource_keys}
    with dg.build_sensor_context(instance, repository_def=repository, resources=resources) as context:
        return sensor.evaluate_tick(context)


@pytest.mark.parametrize("sensor", ["sentiment_labelled_batches", "intent_incoming_files"])
def test_sensors_of_two_pipelines_in_one_project_take_no_file_and_say_why(
    project: Path, instance: dg.DagsterInstance, sensor: str
) -> None:
    incoming = project / "data" / "incoming" / "new.csv"
    incoming.parent.mkdir(parents=True)
    incoming.write_text("no_text\n1\n")
    with pytest.raises(ConfigError, match=_REFUSAL) as caught:
        _tick(_location(intent=project, sentiment=project), sensor, instance)
    assert "`ftzard init DIR` makes one" in caught.value.fix
    assert incoming.exists()
    assert not (project / ".ftzard").exists()


def test_a_run_of_both_pipelines_in_one_project_is_refused(tracked_project: Path, instance: dg.DagsterInstance) -> None:
    location = _location(intent=tracked_project, sentiment=tracked_project)
    with pytest.raises(ConfigError, match=_REFUSAL):
        location.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert not (tracked_project / "data" / "assets").exists()


@pytest.mark.slow
def test_dagster_refuses_a_run_of_one_of_two_pipelines_in_one_project(tracked_project: Path, tmp_path: Path) -> None:
    (tmp_path / "location.py").write_text(_LOCATION.format(project=tracked_project))
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", "location.py", "-j", "sentiment_spine"]
    env = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "the pipelines intent and sentiment have the same project_dir" in done.stderr
    assert not (tracked_project / "data" / "assets").exists()


def test_pipelines_in_projects_of_their_own_do_not_mind_each_other(
    project: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    location = _location(intent=project, sentiment=other)
    for sensor in ("sentiment_labelled_batches", "intent_labelled_batches"):
        assert isinstance(_tick(location, sensor, instance), SensorExecutionData)


@pytest.mark.parametrize("key_prefix", [None, ["team", "tweets"], []])
def test_the_commands_find_what_a_pipeline_of_any_name_and_prefix_made(
    tracked_project: Path, instance: dg.DagsterInstance, key_prefix: list[str] | None
) -> None:
    location = build_definitions(TINY, name="tweets", key_prefix=key_prefix, project_dir=tracked_project)
    first = ["tweets"] if key_prefix is None else key_prefix
    keys = [dg.AssetKey([*first, name]) for name in ("raw_data", "cleaned", "splits")]
    location.resolve_job_def("tweets_spine").execute_in_process(instance=instance, asset_selection=keys)
    assert load_asset(tracked_project, "cleaned").examples.height == len(some_rows())
    raw = location.load_asset_value(keys[0], instance=instance)
    assert isinstance(raw, Raw)
    assert raw.examples.height == len(some_rows())
    assert "frozen at its first use" in _printed("splits", "status", project=tracked_project)


def test_the_history_of_a_project_is_that_of_its_pipelines_whatever_their_prefix(tracked_project: Path) -> None:
    location = build_definitions(TINY, name="tweets", key_prefix=["team", "tweets"], project_dir=tracked_project)
    with project_instance(tracked_project) as recorded:
        location.resolve_job_def("tweets_spine").execute_in_process(
            instance=recorded, asset_selection=[dg.AssetKey(["team", "tweets", "raw_data"])]
        )
    (entry,) = read_history(tracked_project)
    assert (entry.asset, entry.num_rows) == ("raw_data", len(some_rows()))


def _printed(*arguments: str, project: Path) -> str:
    done = CliRunner().invoke(main, [*arguments, "--project", str(project)])
    assert done.exit_code == 0, done.output
    return done.stdout


class _OwnStore(dg.ConfigurableIOManager):
    """Somebody's own, in the place of ours for records."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        frame = obj.examples
        frame.write_ipc(Path(self.folder, context.asset_key.path[-1]))

    def load_input(self, context: dg.InputContext) -> Any:
        raise NotImplementedError


def test_a_step_whose_value_somebodys_own_io_manager_stores_ends_its_run(
    tracked_project: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    ours = build_definitions(TINY, project_dir=tracked_project)
    location = dg.Definitions(
        assets=ours.assets,
        jobs=ours.jobs,
        resources={**(ours.resources or {}), "ftzard_record_io": _OwnStore(folder=str(tmp_path))},
        executor=ours.executor,
    )
    keys = [dg.AssetKey("raw_data")]
    location.resolve_job_def("ftzard_spine").execute_in_process(instance=instance, asset_selection=keys)
    assert pl.read_ipc(tmp_path / "raw_data").height == len(some_rows())
    assert not (tracked_project / "data" / "assets").exists()
    (run,) = Tracking(TrackingConfig(experiment="tiny"), tracked_project).runs()
    assert (run.step, run.status) == ("DATA_INGESTION", "FINISHED")
