"""The execution of a tracked asset: the step that its function takes, an MLflow run around it, and what is logged.

The IO manager that writes the value commits it and ends the run (`ftzard.io_managers.committing`).
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from ftzard.assets.bookkeeping import log_result, log_start, provenance, result_metadata, run_metadata
from ftzard.assets.log_forwarding import logs_forwarded_to
from ftzard.assets.neighbours import check_alone, note_prefix
from ftzard.assets.pipeline import Pipeline
from ftzard.assets.step import Step, StepResult, scratch_dir
from ftzard.assets.stored import data_version, input_versions, stored_materialization
from ftzard.core.frozen_test import frozen_path
from ftzard.core.records import ASSETS_DIR
from ftzard.core.versions import content_version, fingerprint
from ftzard.resources.committed_splits import fetch_splits
from ftzard.resources.launcher import trainer
from ftzard.resources.run_environment import gpu_tags
from ftzard.resources.serving_records import ServingRecords
from ftzard.resources.system_metrics import system_metrics_logged
from ftzard.resources.tracked_run import DAGSTER_RUN_TAG, TrackedRun

if TYPE_CHECKING:
    from ftzard.assets.tracked import TrackedAsset
    from ftzard.resources.configuration import ConfigurationResource
    from ftzard.resources.dvc import DvcResource
    from ftzard.resources.mlflow import MlflowResource

_logger = logging.getLogger(__name__)

# Metadata key that `ftzard.materialization` reads.
FINGERPRINT_KEY = "ftzard/fingerprint"
# Attribute of an IO manager that ends the run of what it has stored.
_ENDS_RUNS = "ends_runs"


def execute(
    asset: "TrackedAsset[Any, Any]", context: dg.AssetExecutionContext, pipeline: Pipeline, inputs: Mapping[str, Any]
) -> dg.MaterializeResult[Any]:
    """Call an asset's function within an MLflow run, and log what it made.

    Args:
        asset: What is executed.
        context: Dagster's.
        pipeline: Whose asset it is.
        inputs: Values of the assets that it is made from, by name; where it makes several partitions, of each.

    Raises:
        FtzardError: As the function; the run ends FAILED.
    """
    configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
    mlflow: MlflowResource = getattr(context.resources, pipeline.mlflow)
    dvc: DvcResource = getattr(context.resources, pipeline.dvc)
    check_alone(context, pipeline, configuration.project_path)
    note_prefix(pipeline, configuration.project_path)
    dvc.repository.check()
    assets_dir = configuration.project_path / configuration.config.versioning.data_dir / ASSETS_DIR
    stored = dvc.repository.stored_contents(assets_dir)
    versions = input_versions(context.instance, pipeline, asset.inputs, stored)
    step = Step(
        configuration.config,
        configuration.project_path,
        provenance=provenance(dvc, versions),
        registry=mlflow.registry,
        previous_version=data_version(stored_materialization(context.instance, context.asset_key)),
        serving=ServingRecords(assets_dir, dvc.repository.require_committed),
        dagster_run_id=context.run_id,
        train=trainer(configuration.config.launcher, configuration.project_path, context),
        frozen_path=frozen_path(configuration.project_path, configuration.config.versioning),
        committed_splits=partial(fetch_splits, configuration.project_path, assets_dir),
    )
    mlflow.tracking.close_abandoned(lambda run_id: _is_over(context.instance, run_id))
    _clear_scratch(configuration.project_path, context.instance)
    step_name = asset.mlflow_step_of(inputs, step) if asset.mlflow_step_of else asset.mlflow_step
    run = mlflow.tracking.open_run(step_name, tags=_tags(asset, context, versions))
    interval_s = step.config.tracking.system_metrics_interval_s
    with run.ending_on_failure(), logs_forwarded_to(context.log), system_metrics_logged(run, interval_s):
        _logger.info("%s: MLflow run %s of %s", asset.name, run.run_id, run.step)
        log_start(run, step, pipeline, versions)
        # Before the work, so that a batch that arrives meanwhile is not taken for one that was read.
        inputs_fingerprint = asset.fingerprint(step, versions)
        step = replace(step, report=run.report, open_child=run.open_child, run_id=run.run_id)
        if asset.partitioned:
            made = _execute_partitions(asset, context, inputs, step, run)
        else:
            made = _execute_whole(asset, inputs, step, run, inputs_fingerprint)
        if not getattr(getattr(context.resources, pipeline.io_manager(asset.io)), _ENDS_RUNS, False):
            # Somebody's own IO manager, which knows of no run.
            run.finish("FINISHED")
    return made


def _execute_whole(
    asset: "TrackedAsset[Any, Any]", inputs: Mapping[str, Any], step: Step, run: TrackedRun, inputs_fingerprint: str
) -> dg.MaterializeResult[Any]:
    call: Callable[..., StepResult[Any]] = asset.function
    result = call(**inputs, step=step)
    version = result.data_version or content_version(result.value)
    run.set_tags({"ftzard.data_version": version, **gpu_tags(), **result.tags})
    log_result(run, result)
    metadata = (
        result_metadata(result, asset.name)
        | run_metadata(run, step.config.tracking)
        | {FINGERPRINT_KEY: inputs_fingerprint}
    )
    return dg.MaterializeResult(value=result.value, metadata=metadata, data_version=dg.DataVersion(version))


def _execute_partitions(
    asset: "TrackedAsset[Any, Any]",
    context: dg.AssetExecutionContext,
    inputs: Mapping[str, Any],
    step: Step,
    run: TrackedRun,
) -> dg.MaterializeResult[Any]:
    """Make several partitions in one step, so that what is costly, such as loading a model, happens once."""
    call: Callable[..., StepResult[Any]] = asset.function
    keys = sorted(context.partition_keys)
    results: dict[str, StepResult[Any]] = {}
    for number, key in enumerate(keys):
        own = {name: _of_partition(value, key) for name, value in inputs.items()}
        result = results[key] = call(**own, step=replace(step, partition_key=key))
        log_result(run, result, number=number, folder=f"{key}/")
        metadata = result_metadata(result, asset.name)
        context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
    versions = {key: content_version(result.value) for key, result in results.items()}
    # Dagster takes one data version for all partitions of a step.
    version = versions[keys[0]] if len(keys) == 1 else fingerprint(versions)
    run.set_tags({"ftzard.data_version": version, "ftzard.num_partitions": str(len(keys)), **gpu_tags()})
    run.log_text(json.dumps(versions, indent=2), "partitions.json")
    values = {key: result.value for key, result in results.items()}
    return dg.MaterializeResult(
        value=values, metadata=run_metadata(run, step.config.tracking), data_version=dg.DataVersion(version)
    )


def _tags(
    asset: "TrackedAsset[Any, Any]", context: dg.AssetExecutionContext, versions: Mapping[str, str]
) -> dict[str, str]:
    return {
        DAGSTER_RUN_TAG: context.run_id,
        "ftzard.asset": context.asset_key.to_user_string(),
        "ftzard.code_version": asset.full_code_version,
        **{f"ftzard.read.{name}": version for name, version in versions.items()},
    }


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id) if run_id else None
    return run is not None and run.is_finished


def _clear_scratch(project_dir: Path, instance: dg.DagsterInstance) -> None:
    """Remove what killed steps were making."""
    for folder in scratch_dir(project_dir).glob("*"):
        if _is_over(instance, folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _of_partition(value: Any, key: str) -> Any:
    """Dagster hands over a mapping by partition where a step makes several, and the value itself where it makes one."""
    return value[key] if isinstance(value, dict) else value
