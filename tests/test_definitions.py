"""The definitions of a pipeline: their names, and that they merge, select and run as Dagster's own."""

import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG

from ftzard import write_batch
from ftzard.composition import compose
from ftzard.config import FtzardConfig, TrackingConfig, TrainingConfig
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.gate import PromotionVerdict
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.core.records import AdapterDirectory, Cleaned, Raw, Splits
from ftzard.core.retrain_decision import RetrainDecision
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions, defs, paused_definitions
from ftzard.errors import ConfigError
from ftzard.resources.tracking import Tracking
from ftzard.testing import some_rows

_REPOSITORY = Path(__file__).parents[1]
_STEPS = {
    "raw_data": "DATA_INGESTION",
    "cleaned": "DATA_CLEANING",
    "splits": "DATA_PROCESSING",
    "retrain_decision": "RETRAIN_DECISION",
    "tuned_hyperparameters": "HP_TUNING",
    "lora_adapter": "TRAINING",
    "predictions": "INFERENCE",
    "metrics": "EVALUATION",
    "champion": "CHOOSE_BEST_MODEL",
}
_SERVING_STEPS = {
    "incoming": "INFERENCE_DATA_PROCESSING",
    "incoming_predictions": "INFERENCE",
    "label_queue": "DATA_SAMPLING",
}
_SPINE = tuple(_STEPS)
_ALL = (*_SPINE, *_SERVING_STEPS)
# A person's files, which nothing here makes.
_FILES = "labelled_batches"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def _keys(definitions: dg.Definitions) -> set[str]:
    graph = definitions.resolve_asset_graph()
    return {key.to_user_string() for key in graph.materializable_asset_keys}


def _ingest(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    name: str = "ftzard",
    key: str = "raw_data",
    overrides: Sequence[str] = (),
) -> dg.ExecuteInProcessResult:
    """Materialize the first asset, as the Launchpad does: overrides are the run's resource configuration."""
    run_config = {"resources": {f"{name}_configuration": {"config": {"overrides": list(overrides)}}}}
    return definitions.resolve_job_def(f"{name}_spine").execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(key.split("/"))], run_config=run_config
    )


# What is in them


def test_the_definitions_of_the_module_load_and_pyproject_names_them() -> None:
    dg.Definitions.validate_loadable(defs)
    tools = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["tool"]
    module = importlib.import_module(tools["dagster"]["module_name"])
    assert module.defs is defs
    assert tools["dg"]["project"]["defs_module"] == module.__name__


def test_sensors_run_by_default_in_a_project_and_wait_where_definitions_are_built_or_paused() -> None:
    running, stopped = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    for definitions, status in ((defs, running), (paused_definitions(), stopped), (build_definitions(), stopped)):
        sensors = [one for one in definitions.sensors or [] if isinstance(one, dg.SensorDefinition)]
        assert len(sensors) == 4
        assert {sensor.default_status for sensor in sensors} == {status}


def test_the_graph_is_a_chain_from_labelled_files_to_the_champion_and_one_for_what_comes_in() -> None:
    graph = defs.resolve_asset_graph()
    assert _keys(defs) == set(_ALL)
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert parents["raw_data"] == {_FILES}
    assert parents["cleaned"] == {"raw_data"}
    assert parents["splits"] == {"cleaned"}
    assert parents["retrain_decision"] == {"splits"}
    assert parents["tuned_hyperparameters"] == {"splits", "retrain_decision"}
    assert parents["lora_adapter"] == {"splits", "retrain_decision", "tuned_hyperparameters"}
    assert parents["predictions"] == {"lora_adapter", "splits"}
    assert parents["metrics"] == {"predictions", "splits"}
    assert parents["champion"] == {"lora_adapter", "predictions", "splits", "metrics"}
    # The champion that serves is the registry's, whatever run made it.
    assert parents["incoming"] == set()
    assert parents["incoming_predictions"] == {"incoming"}
    assert parents["label_queue"] == {"incoming", "incoming_predictions"}


def test_every_asset_says_what_it_is_who_owns_it_and_of_which_stage_and_kind_it_is() -> None:
    groups = {}
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        groups[name] = spec.group_name
        assert spec.description, name
        assert len(spec.description) > 30, name
        assert spec.owners == ["team:ftzard"]
        assert 1 <= len(spec.kinds) <= 3, name
        assert spec.code_version or name == _FILES, name
    assert groups == {
        _FILES: "data",
        "raw_data": "data",
        "cleaned": "data",
        "splits": "data",
        "retrain_decision": "automation",
        "tuned_hyperparameters": "training",
        "lora_adapter": "training",
        "predictions": "evaluation",
        "metrics": "evaluation",
        "champion": "evaluation",
        "incoming": "serving",
        "incoming_predictions": "serving",
        "label_queue": "labelling",
    }


def test_each_asset_belongs_to_the_mlflow_step_of_its_name() -> None:
    specs = [spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() != _FILES]
    steps = {spec.key.to_user_string(): spec.tags["ftzard/mlflow_step"] for spec in specs}
    assert steps == _STEPS | _SERVING_STEPS


def test_checks_of_data_block_and_the_one_of_quality_warns() -> None:
    checks = {
        (spec.asset_key.to_user_string(), spec.name): spec.blocking
        for check in defs.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition)
        for spec in check.check_specs
    }
    assert checks == {
        ("cleaned", "examples_fit_the_schema"): True,
        ("splits", "splits_are_disjoint"): True,
        ("splits", "no_test_row_is_trained_on"): True,
        ("metrics", "adapter_beats_baseline"): False,
    }


def test_resources_and_jobs_carry_the_pipelines_name() -> None:
    definitions = build_definitions(name="tweets")
    assert {key.split("_", 1)[0] for key in definitions.resources or {}} == {"tweets"}
    assert definitions.resolve_job_def("tweets_spine").name == "tweets_spine"


@pytest.mark.parametrize(
    ("name", "key_prefix", "first"),
    [
        ("ftzard", None, "raw_data"),
        ("ftzard", "team", "team/raw_data"),
        ("ftzard", ["team", "tweets"], "team/tweets/raw_data"),
        ("tweets", None, "tweets/raw_data"),
        ("tweets", [], "raw_data"),
    ],
)
def test_keys_have_the_prefix_that_is_given_or_else_the_name_where_it_is_not_the_default(
    name: str, key_prefix: str | list[str] | None, first: str
) -> None:
    definitions = build_definitions(name=name, key_prefix=key_prefix)
    dg.Definitions.validate_loadable(definitions)
    assert first in _keys(definitions)
    assert len(_keys(definitions)) == len(_ALL)


@pytest.mark.parametrize("key_prefix", ["", "x/y", "..", ["x", ""], ["a b"], ["x\n"]])
def test_a_prefix_that_is_none_of_asset_keys_is_refused(key_prefix: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="key_prefix = "):
        build_definitions(key_prefix=key_prefix)


@pytest.mark.parametrize("name", ["", "two words", "a-b", "1st", "a/b", "a\n", "ü"])
def test_a_name_that_cannot_be_part_of_a_resource_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name = "):
        build_definitions(name=name)


def test_steps_share_a_process_unless_another_executor_is_given() -> None:
    assert build_definitions().executor is dg.in_process_executor
    chosen = build_definitions(executor=dg.multiprocess_executor)
    assert chosen.resolve_job_def("ftzard_spine").executor_def is dg.multiprocess_executor
    assert build_definitions(executor=None).executor is None


# Runs


def test_overrides_of_a_run_hold_for_that_run_only_and_for_everything_in_it(
    tracked_project: Path, instance: dg.DagsterInstance
) -> None:
    definitions = build_definitions(["experiment=tiny"], project_dir=tracked_project)
    once = ["tracking.experiment=once", "data.text_column=label", "data.label_column=text"]
    swapped = _ingest(definitions, instance, overrides=once).output_for_node("raw_data").examples
    usual = _ingest(definitions, instance).output_for_node("raw_data").examples
    assert set(swapped["text"]) == {"negative", "positive"} == set(usual["label"])
    for experiment in ("once", "tiny"):
        assert len(Tracking(TrackingConfig(experiment=experiment), tracked_project).runs()) == 1


def test_a_configuration_made_in_python_is_the_one_that_is_used_and_a_run_can_override_it(
    tracked_project: Path, instance: dg.DagsterInstance
) -> None:
    made = FtzardConfig(tracking=TrackingConfig(experiment="mine"), training=TrainingConfig(seed=5))
    definitions = build_definitions(made, project_dir=tracked_project)
    _ingest(definitions, instance)
    _ingest(definitions, instance, overrides=["tracking.experiment=once"])
    for experiment in ("mine", "once"):
        (run,) = Tracking(TrackingConfig(experiment=experiment), tracked_project).runs()
        tracked = Tracking(made.tracking, tracked_project).run(run.run_id)
        assert tracked.client.get_run(run.run_id).data.params["training.seed"] == "5"


def test_an_impossible_override_fails_the_run_before_anything_is_written(
    tracked_project: Path, instance: dg.DagsterInstance
) -> None:
    definitions = build_definitions(["experiment=tiny"], project_dir=tracked_project)
    with pytest.raises(ConfigError, match=r"did you mean training\.learning_rate"):
        _ingest(definitions, instance, overrides=["training.learnin_rate=1"])
    assert not (tracked_project / "data" / "assets").exists()


def test_an_impossible_value_is_an_error_of_the_step_which_dagster_does_not_try_again(
    tracked_project: Path, instance: dg.DagsterInstance
) -> None:
    """What fails before the first step is a crash to Dagster's daemon, and is started once more, in vain."""
    definitions = build_definitions(["experiment=tiny", "training.seed=none"], project_dir=tracked_project)
    result = definitions.resolve_job_def("ftzard_spine").execute_in_process(instance=instance, raise_on_error=False)
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    assert failed.step_key == "raw_data"
    error = failed.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert "override 'training.seed=none'" in error.cause.message
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[RUN_FAILURE_REASON_TAG] == RunFailureReason.STEP_FAILURE.value


def test_a_cancelled_run_is_not_interrupted_while_dagster_stores_an_event(
    tracked_project: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its storage would keep its lock, and the event that tells of the end would wait for it for ever."""
    stored = []

    class Storing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            stored.append(record.getMessage())

    def read_and_wait(*_: object) -> None:
        logger, handler = logging.getLogger("storing"), Storing()
        logger.addHandler(handler)
        logger.warning("half of an event")
        threading.Event().wait(60)

    monkeypatch.setattr("ftzard.assets.data.read_batches", read_and_wait)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        _ingest(build_definitions(["experiment=tiny"], project_dir=tracked_project), instance)
    assert stored == ["half of an event"]
    (run,) = Tracking(TrackingConfig(experiment="tiny"), tracked_project).runs()
    assert run.status == "KILLED"


def test_an_asset_can_be_loaded_by_its_key(materialized_project: Path) -> None:
    definitions = build_definitions(["experiment=tiny"], project_dir=materialized_project)
    types = {
        "raw_data": Raw,
        "cleaned": Cleaned,
        "splits": Splits,
        "retrain_decision": RetrainDecision,
        "tuned_hyperparameters": TunedHyperparameters,
        "lora_adapter": AdapterDirectory,
        "predictions": pl.DataFrame,
        "metrics": EvaluationReport,
        "champion": PromotionVerdict,
    }
    with project_instance(materialized_project) as recorded:
        for name, cls in types.items():
            assert isinstance(definitions.load_asset_value(name, instance=recorded), cls), name
        raw = definitions.load_asset_value("raw_data", instance=recorded, python_type=Raw)
    assert isinstance(raw, Raw)
    assert raw.examples.height == 72
    assert raw.quarantined.is_empty()


def test_the_materialized_spine_is_one_finished_mlflow_run_for_each_step(materialized_project: Path) -> None:
    config = compose(["experiment=tiny"], project_dir=materialized_project)
    runs = Tracking(config.tracking, materialized_project).runs()
    assert [run.step for run in runs] == list(_STEPS.values())
    assert {run.status for run in runs} == {"FINISHED"}


def _code_location(**projects: Path) -> dg.Definitions:
    """Somebody's code location with an asset, resources and an executor of their own, and pipelines of ours by name."""

    @dg.asset(deps=[dg.AssetKey(["second", "metrics"])], required_resource_keys={"mlflow", "configuration"})
    def newsletter(context: dg.AssetExecutionContext) -> str:
        return f"{context.resources.mlflow} {context.resources.configuration}"

    own = dg.Definitions(
        assets=[newsletter],
        resources={
            "mlflow": dg.ResourceDefinition.hardcoded_resource("theirs"),
            "configuration": dg.ResourceDefinition.hardcoded_resource("too"),
            "io_manager": dg.mem_io_manager,
        },
        executor=dg.in_process_executor,
    )
    pipelines = [
        build_definitions(
            ["experiment=tiny", f"tracking.experiment={name}"], name=name, project_dir=project, executor=None
        )
        for name, project in projects.items()
    ]
    return dg.Definitions.merge(own, *pipelines)


@pytest.mark.slow
def test_two_pipelines_and_somebodys_own_asset_materialize_in_one_code_location(
    tracked_project: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    projects = {"first": tracked_project, "second": shutil.copytree(tracked_project, tmp_path / "second")}
    _swap_labels(projects["second"])
    location = _code_location(**projects)
    dg.Definitions.validate_loadable(location)
    assert _keys(location) == {f"{name}/{asset}" for name in ("first", "second") for asset in _ALL} | {"newsletter"}
    location.resolve_job_def("first_spine").execute_in_process(instance=instance)
    location.resolve_job_def("second_spine").execute_in_process(instance=instance)
    result = location.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("newsletter")]
    )
    assert result.output_for_node("newsletter") == "theirs too"
    for name, project in projects.items():
        runs = Tracking(TrackingConfig(experiment=name), project).runs()
        assert [run.status for run in runs] == ["FINISHED"] * len(_SPINE)
        loaded = {
            asset: location.load_asset_value(dg.AssetKey([name, asset]), instance=instance)
            for asset in ("metrics", "retrain_decision", "champion")
        }
        decision, verdict = loaded["retrain_decision"], loaded["champion"]
        assert isinstance(loaded["metrics"], EvaluationReport)
        assert isinstance(decision, RetrainDecision)
        assert isinstance(verdict, PromotionVerdict)
        assert (project / "data" / "assets" / "metrics.json").is_file()
        # Neither knows the other's champion.
        assert (decision.verdict, decision.reasons_to_retrain) == ("retrain", ("there is no champion",))
        assert verdict.champion is None


def _swap_labels(project: Path) -> None:
    """The same texts with the other label each: what one pipeline learns is wrong for the other."""
    (batch,) = (project / "data" / "raw").iterdir()
    swapped = pl.read_csv(batch).with_columns(pl.col("label").replace({"positive": "negative", "negative": "positive"}))
    swapped.write_csv(batch)


def test_an_asset_that_writes_labelled_texts_comes_before_raw_data_in_a_run_of_both(
    tracked_project: Path, instance: dg.DagsterInstance
) -> None:
    shutil.rmtree(tracked_project / "data" / "raw")

    # Its name sorts behind all of ours, by which Dagster orders what depends on nothing.
    @dg.asset
    def written_reviews() -> None:
        rows = pl.DataFrame(some_rows(), ["text", "label"], orient="row")
        write_batch(rows, tracked_project / "data" / "raw" / "reviews.parquet")

    location = dg.Definitions.merge(
        build_definitions(["experiment=tiny"], project_dir=tracked_project, deps=[written_reviews]),
        dg.Definitions(
            assets=[written_reviews],
            jobs=[dg.define_asset_job("ingest", selection=dg.AssetSelection.assets("written_reviews", "raw_data"))],
        ),
    )
    result = location.resolve_job_def("ingest").execute_in_process(instance=instance)
    assert result.output_for_node("raw_data").examples.height == len(some_rows())
    assert location.resolve_asset_graph().get(dg.AssetKey("raw_data")).parent_keys == {
        dg.AssetKey("written_reviews"),
        dg.AssetKey(_FILES),
    }


# The command line


def _run_dagster(project: Path, *arguments: str) -> None:
    """Run `dagster ...` in a project, with an instance of its own."""
    home = project / ".dagster"
    home.mkdir(exist_ok=True)
    env = {**os.environ, "DAGSTER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *arguments], cwd=project, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _materialized(project: Path) -> list[str]:
    with project_instance(project) as recorded:
        return [name for name in _SPINE if recorded.get_latest_materialization_event(dg.AssetKey(name))]


@pytest.mark.slow
def test_dagsters_command_line_materializes_a_string_selection(tracked_project: Path) -> None:
    config: dict[str, Any] = {
        "resources": {"ftzard_configuration": {"config": {"overrides": ["experiment=tiny"]}}},
        "loggers": {"console": {"config": {"log_level": "WARNING"}}},
    }
    arguments = ("-m", "ftzard.definitions", "--config-json", json.dumps(config))
    _run_dagster(tracked_project, "asset", "materialize", "--select", "raw_data*", *arguments)
    assert _materialized(tracked_project) == list(_SPINE)
    runs = Tracking(TrackingConfig(experiment="tiny"), tracked_project).runs()
    assert [run.status for run in runs] == ["FINISHED"] * len(_SPINE)
