"""What FTzard relies on in other libraries, seen with the versions that are installed.

A failure here means that a library moved, and names what in FTzard stands on it.
"""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from filelock import FileLock
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from pydantic import Field

from ftzard.definitions import SERVING, SPINE, defs

# Dagster

_SPINE = {asset.name for asset in SPINE}
_ALL = _SPINE | {asset.name for asset in SERVING}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ("raw_data*", _SPINE),
        ('key:"raw_data"+', _SPINE),
        ('key:"raw_data"+1', {"raw_data", "cleaned"}),
        ("+key:cleaned", {"raw_data", "cleaned"}),
        ("group:data", {"raw_data", "cleaned", "splits"}),
        ("kind:dvc and group:data", {"raw_data", "cleaned", "splits"}),
        ("*", _ALL),
    ],
)
def test_dagster_parses_string_selections_with_the_installed_antlr(selection: str, selected: set[str]) -> None:
    # With antlr 4.9, which Hydra 1.3 pins, every one of these raises TypeError (docs/adr/0002).
    keys = dg.AssetSelection.from_string(selection).resolve(defs.resolve_asset_graph())
    assert {key.to_user_string() for key in keys} == selected


class _Inner(dg.ConfigurableResource[None]):
    words: list[str] = Field(default=[])


class _Outer(dg.ConfigurableResource[None]):
    inner: dg.ResourceDependency[_Inner]


def test_a_resource_that_nests_one_configured_at_launch_follows_the_runs_configuration() -> None:
    # `ftzard_mlflow` and `ftzard_dvc` nest `ftzard_configuration`.
    @dg.asset
    def seen(outer: _Outer) -> list[str]:
        return outer.inner.words

    inner = _Inner.configure_at_launch()
    result = dg.materialize(
        [seen],
        resources={"inner": inner, "outer": _Outer(inner=inner)},
        run_config={"resources": {"inner": {"config": {"words": ["from", "the", "run"]}}}},
    )
    assert result.output_for_node("seen") == ["from", "the", "run"]


def test_merging_refuses_equal_resource_keys_and_two_executors() -> None:
    # So each pipeline prefixes its resource keys, and `build_definitions(executor=None)` exists.
    def with_resource(value: int) -> dg.Definitions:
        return dg.Definitions(resources={"key": dg.ResourceDefinition.hardcoded_resource(value)})

    with pytest.raises(dg.DagsterInvariantViolationError, match="key"):
        dg.Definitions.merge(with_resource(1), with_resource(2))
    with pytest.raises(dg.DagsterInvariantViolationError, match="executor"):
        dg.Definitions.merge(
            dg.Definitions(executor=dg.in_process_executor), dg.Definitions(executor=dg.multiprocess_executor)
        )


def test_a_data_version_that_an_asset_returns_is_a_tag_of_its_materialization() -> None:
    @dg.asset
    def versioned() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(value=None, data_version=dg.DataVersion("abc"))

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([versioned], instance=instance)
        event = instance.get_latest_materialization_event(dg.AssetKey("versioned"))
    assert event is not None
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "abc"


def test_dagsters_interruption_is_no_exception_that_except_exception_would_take() -> None:
    # `TrackedRun.ending_on_failure` tells a killed run from a failed one by this.
    assert issubclass(DagsterExecutionInterruptedError, BaseException)
    assert not issubclass(DagsterExecutionInterruptedError, Exception)


# Hydra


def test_hydra_finds_a_primary_config_in_the_main_folder_only_unless_the_store_holds_it(tmp_path: Path) -> None:
    # `compose` enters by a config of the store, because a project need not have a config.yaml.
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "config.yaml").write_text("colour: red\n")
    (tmp_path / "own").mkdir()
    with initialize_config_dir(str(tmp_path / "own"), job_name="test"), pytest.raises(MissingConfigException):
        hydra_compose("config", overrides=[f"hydra.searchpath=['file://{bundled}']"])
    assert GlobalHydra.instance().hydra is None


# MLflow


@pytest.fixture
def client(tmp_path: Path, empty_store: Path) -> Any:
    return MlflowClient(f"sqlite:///{shutil.copy(empty_store, tmp_path)}")


def test_mlflow_takes_children_of_a_finished_parent(client: MlflowClient) -> None:
    experiment = client.create_experiment("e")
    parent = client.create_run(experiment)
    client.set_terminated(parent.info.run_id, "FINISHED")
    child = client.create_run(experiment, tags={"mlflow.parentRunId": parent.info.run_id})
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [run.info.run_id for run in found] == [child.info.run_id]


def test_mlflow_refuses_signs_in_metric_names(client: MlflowClient) -> None:
    # `TrackedRun` replaces them, because a label may hold any.
    run = client.create_run(client.create_experiment("e"))
    with pytest.raises(MlflowException, match="Invalid value"):
        client.log_batch(run.info.run_id, metrics=[Metric("f1@home", 1.0, 0, 0)])


# filelock


def test_a_singleton_file_lock_can_be_taken_twice_by_one_thread(tmp_path: Path) -> None:
    # `Tracking` locks the project while it opens a client, and the caller may hold the lock already.
    with FileLock(tmp_path / "lock", is_singleton=True) as outer:
        with FileLock(tmp_path / "lock", is_singleton=True) as inner:
            assert inner is outer
        assert outer.is_locked
