"""How a plain function becomes a Dagster asset that is tracked in MLflow.

`tracked_asset` keeps an asset's declaration (its MLflow step, group, kinds) with the function and leaves it callable.
What a test calls as `cleaned(raw, step)` is what Dagster runs. `TrackedAsset.build` makes the Dagster definition for a
pipeline, so that two pipelines with different names can live in one code location. Around the function it opens the
MLflow child run and logs; the IO manager that writes the value commits it and ends the run
(`ftzard.io_managers.committing`).
"""

import inspect
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

import dagster as dg

from ftzard.assets.bookkeeping import log_result, log_start, provenance, result_metadata, run_metadata
from ftzard.assets.log_forwarding import logs_forwarded_to
from ftzard.assets.neighbours import check_alone, note_prefix
from ftzard.assets.pipeline import Pipeline
from ftzard.assets.step import Step, StepResult, T_co, scratch_dir
from ftzard.assets.stored import data_version, input_versions, stored_materialization
from ftzard.composition import to_dict
from ftzard.config import decisive
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.core.frozen_test import frozen_path
from ftzard.core.records import ASSETS_DIR
from ftzard.core.versions import content_version, fingerprint
from ftzard.errors import SchemaViolationError
from ftzard.resources.committed_splits import fetch_splits
from ftzard.resources.interruption import deferred_requests
from ftzard.resources.launcher import trainer
from ftzard.resources.run_environment import gpu_tags
from ftzard.resources.serving_records import ServingRecords
from ftzard.resources.system_metrics import system_metrics_logged
from ftzard.resources.tracked_run import DAGSTER_RUN_TAG, TrackedRun

if TYPE_CHECKING:
    from ftzard.resources.configuration import ConfigurationResource
    from ftzard.resources.dvc import DvcResource
    from ftzard.resources.mlflow import MlflowResource

P = ParamSpec("P")

# What Dagster takes for an asset that comes before another one.
Dep = dg.AssetDep | dg.AssetsDefinition | dg.AssetSpec | dg.AssetKey | Sequence[str] | str

_logger = logging.getLogger(__name__)

# Metadata key that `ftzard.materialization` reads.
FINGERPRINT_KEY = "ftzard/fingerprint"
# Attribute of an IO manager that ends the run of what it has stored.
ENDS_RUNS = "ends_runs"
_STEP_PARAMETER = "step"


def _no_outside_input(_: Step) -> str:
    """Most assets are made from other assets alone."""
    return ""


def _nothing_elsewhere(_: Step) -> bool:
    """Most assets leave all they made in the project's folders."""
    return True


def _no_registered_code() -> str:
    """Most assets call FTzard's own code alone."""
    return ""


@dataclass(frozen=True)
class TrackedAsset(Generic[P, T_co]):
    """An asset function and what Dagster and MLflow should know of it.

    Attributes:
        function: Takes its upstream values by name, and `step`.
        mlflow_step: Name of the parent run.
        group: Dagster's asset group.
        kinds: Dagster's kinds, at most three.
        io: The kind of IO manager that stores the value: `frame`, `record`, `adapter` or `report`.
        sections: The sections of the configuration that decide about the value.
        code_version: Moves when the meaning of the code does.
        outside_version: The version of what the function reads or calls that is no asset and not FTzard's.
        is_kept: Whether what the function left in other places than the project's folders is still there.
        registered_version: The version of all code that others registered for the function to call, as it is known
            before there is a configuration.
        pool: Dagster's concurrency pool.
        mlflow_step_of: Tells from the inputs and the step where an execution belongs to another parent run.
        after: Names of assets that come first although nothing of them is read.
        partitioned: Whether it has a partition for each file that came in; the function then makes one of them.
        op_tags: Dagster's tags of the step, such as what an executor should give it.
    """

    function: Callable[P, StepResult[T_co]]
    mlflow_step: str
    group: str
    kinds: frozenset[str]
    io: str
    sections: tuple[str, ...]
    code_version: str = "1"
    outside_version: Callable[[Step], str] = _no_outside_input
    is_kept: Callable[[Step], bool] = _nothing_elsewhere
    registered_version: Callable[[], str] = _no_registered_code
    pool: str | None = None
    mlflow_step_of: Callable[[Mapping[str, Any], Step], str] | None = None
    after: tuple[str, ...] = ()
    partitioned: bool = False
    op_tags: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> StepResult[T_co]:
        """Call the function itself: no Dagster, MLflow or DVC.

        Raises:
            SchemaViolationError: An input is not what its asset holds; for Dagster, the IO managers see to that.
        """
        self._check_inputs(inspect.signature(self.function).bind(*args, **kwargs).arguments)
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        """The asset's name, without the pipeline's prefix."""
        return self.function.__name__

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the assets it is made from."""
        return tuple(name for name in inspect.signature(self.function).parameters if name != _STEP_PARAMETER)

    def _check_inputs(self, given: Mapping[str, Any]) -> None:
        from ftzard.core.frame_schemas import check_value

        parameters = inspect.signature(self.function).parameters
        for name in self.inputs:
            expected, value = parameters[name].annotation, given[name]
            if not isinstance(value, expected):
                raise SchemaViolationError(
                    f"{self.name} takes what {name} holds, {getattr(expected, '__name__', expected)}, and was given "
                    f"{type(value).__name__}",
                    fix=f"give the value of {name}; `ftzard.testing` makes some, as make_raw and make_examples do",
                )
            check_value(name, value)

    @property
    def full_code_version(self) -> str:
        """The code version that Dagster compares: of the function, and of what others registered for it."""
        return "+".join(filter(None, (self.code_version, self.registered_version())))

    def fingerprint(self, step: Step, input_versions: Mapping[str, str]) -> str:
        """What decides about the value: code, configuration and inputs. Equal fingerprints mean equal work."""
        values = to_dict(step.config)
        return fingerprint(
            {
                "code_version": self.code_version,
                "config": {name: decisive(name, values[name], step.config.data.task) for name in self.sections},
                "inputs": dict(input_versions),
                "outside": self.outside_version(step),
            }
        )

    def build(
        self,
        pipeline: Pipeline,
        automation_condition: dg.AutomationCondition[Any] | None = None,
        deps: Sequence[Dep] = (),
    ) -> dg.AssetsDefinition:
        """The Dagster definition of this asset in a pipeline; `deps` are assets of others that come before it."""

        @dg.asset(
            name=self.name,
            key_prefix=list(pipeline.key_prefix) or None,
            ins={name: dg.AssetIn(key=pipeline.asset_key(name)) for name in self.inputs},
            description=inspect.getdoc(self.function),
            group_name=self.group,
            kinds=set(self.kinds),
            owners=[f"team:{pipeline.name}"],
            code_version=self.full_code_version,
            io_manager_key=pipeline.io_manager(self.io),
            required_resource_keys={
                pipeline.configuration,
                pipeline.mlflow,
                pipeline.dvc,
                pipeline.io_manager(self.io),
            },
            pool=self.pool,
            op_tags=dict(self.op_tags),
            tags={"ftzard/mlflow_step": self.mlflow_step},
            deps=[*(pipeline.asset_key(name) for name in self.after), *deps],
            automation_condition=automation_condition,
            partitions_def=dg.DynamicPartitionsDefinition(name=pipeline.incoming_partitions)
            if self.partitioned
            else None,
            # One process for many files: starting one costs seconds.
            backfill_policy=dg.BackfillPolicy.single_run() if self.partitioned else None,
        )
        def materialize(context: dg.AssetExecutionContext, **inputs: Any) -> dg.MaterializeResult[Any]:
            with disk_failures_explained(), deferred_requests():
                return self._materialize(context, pipeline, inputs)

        return materialize

    def _materialize(
        self, context: dg.AssetExecutionContext, pipeline: Pipeline, inputs: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
        mlflow: MlflowResource = getattr(context.resources, pipeline.mlflow)
        dvc: DvcResource = getattr(context.resources, pipeline.dvc)
        check_alone(context, pipeline, configuration.project_path)
        note_prefix(pipeline, configuration.project_path)
        dvc.repository.check()
        assets_dir = configuration.project_path / configuration.config.versioning.data_dir / ASSETS_DIR
        stored = dvc.repository.stored_contents(assets_dir)
        versions = input_versions(context.instance, pipeline, self.inputs, stored)
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
        step_name = self.mlflow_step_of(inputs, step) if self.mlflow_step_of else self.mlflow_step
        run = mlflow.tracking.open_run(step_name, tags=self._tags(context, versions))
        interval_s = step.config.tracking.system_metrics_interval_s
        with run.ending_on_failure(), logs_forwarded_to(context.log), system_metrics_logged(run, interval_s):
            _logger.info("%s: MLflow run %s of %s", self.name, run.run_id, run.step)
            log_start(run, step, pipeline, versions)
            # Before the work, so that a batch that arrives meanwhile is not taken for one that was read.
            inputs_fingerprint = self.fingerprint(step, versions)
            step = replace(step, report=run.report, open_child=run.open_child, run_id=run.run_id)
            if self.partitioned:
                made = self._materialize_partitions(context, inputs, step, run)
            else:
                made = self._materialize_whole(inputs, step, run, inputs_fingerprint)
            if not getattr(getattr(context.resources, pipeline.io_manager(self.io)), ENDS_RUNS, False):
                # Somebody's own IO manager, which knows of no run.
                run.finish("FINISHED")
        return made

    def _materialize_whole(
        self, inputs: Mapping[str, Any], step: Step, run: TrackedRun, inputs_fingerprint: str
    ) -> dg.MaterializeResult[Any]:
        call: Callable[..., StepResult[T_co]] = self.function
        result = call(**inputs, step=step)
        version = result.data_version or content_version(result.value)
        run.set_tags({"ftzard.data_version": version, **gpu_tags(), **result.tags})
        log_result(run, result)
        metadata = (
            result_metadata(result, self.name)
            | run_metadata(run, step.config.tracking)
            | {FINGERPRINT_KEY: inputs_fingerprint}
        )
        return dg.MaterializeResult(value=result.value, metadata=metadata, data_version=dg.DataVersion(version))

    def _materialize_partitions(
        self, context: dg.AssetExecutionContext, inputs: Mapping[str, Any], step: Step, run: TrackedRun
    ) -> dg.MaterializeResult[Any]:
        """Make several partitions in one step, so that what is costly, such as loading a model, happens once."""
        call: Callable[..., StepResult[T_co]] = self.function
        keys = sorted(context.partition_keys)
        results: dict[str, StepResult[T_co]] = {}
        for number, key in enumerate(keys):
            own = {name: _of_partition(value, key) for name, value in inputs.items()}
            result = results[key] = call(**own, step=replace(step, partition_key=key))
            log_result(run, result, number=number, folder=f"{key}/")
            metadata = result_metadata(result, self.name)
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

    def _tags(self, context: dg.AssetExecutionContext, versions: Mapping[str, str]) -> dict[str, str]:
        return {
            DAGSTER_RUN_TAG: context.run_id,
            "ftzard.asset": context.asset_key.to_user_string(),
            "ftzard.code_version": self.full_code_version,
            **{f"ftzard.read.{name}": version for name, version in versions.items()},
        }


def tracked_asset(
    mlflow_step: str,
    *,
    group: str,
    kinds: set[str],
    io: str,
    sections: tuple[str, ...],
    **options: Any,
) -> Callable[[Callable[P, StepResult[T_co]]], TrackedAsset[P, T_co]]:
    """Declare an asset; the arguments are those of `TrackedAsset`."""

    def declare(function: Callable[P, StepResult[T_co]]) -> TrackedAsset[P, T_co]:
        return TrackedAsset(function, mlflow_step, group, frozenset(kinds), io, sections, **options)

    return declare


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
