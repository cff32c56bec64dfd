"""How a plain function becomes a Dagster asset that is tracked in MLflow.

`tracked_asset` keeps an asset's declaration (its MLflow step, group, kinds) with the function and leaves it callable.
What a test calls as `cleaned(raw, step)` is what Dagster runs. `TrackedAsset.build` makes the Dagster definition for a
pipeline, so that two pipelines with different names can live in one code location; what happens around the function is
in `ftzard.assets.execution`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec

import dagster as dg

from ftzard.assets.execution import execute
from ftzard.assets.pipeline import Pipeline
from ftzard.assets.step import Step, StepResult, T_co
from ftzard.composition import to_dict
from ftzard.config import decisive
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.core.versions import fingerprint
from ftzard.errors import SchemaViolationError
from ftzard.resources.interruption import deferred_requests

P = ParamSpec("P")

# What Dagster takes for an asset that comes before another one.
Dep = dg.AssetDep | dg.AssetsDefinition | dg.AssetSpec | dg.AssetKey | Sequence[str] | str

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
                return execute(self, context, pipeline, inputs)

        return materialize


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
