"""A run of a Dagster job in this process that keeps no more of a step's value than the steps to come read.

`JobDefinition.execute_in_process` holds the value of every step until the run is over, to hand them all to its caller.
With a million rows that is three times their memory, for values that are in the project's folder by then.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import dagster as dg


def run_in_process(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    *,
    run_id: str,
    assets: Sequence[dg.AssetKey],
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
) -> None:
    """Execute some assets of a job, one after the other.

    Args:
        job: Its executor is not asked.
        instance: Where the run is recorded.
        run_id: Of the run.
        assets: Which of the job's assets.
        run_config: Of the run.
        tags: Beside the job's own.

    Raises:
        Exception: What a step raised.
    """
    run: dict[str, Any] = {"run_config": run_config, "instance": instance, "run_id": run_id}
    try:
        from dagster._core.definitions.job_base import InMemoryJob
        from dagster._core.execution.execute_in_process import core_execute_in_process

        ephemeral = job.as_ephemeral_job(resource_defs={}, input_values={}, asset_selection=list(assets))
        call = signature(core_execute_in_process).bind(
            job=InMemoryJob(job_def=ephemeral),
            output_capturing_enabled=False,
            raise_on_error=True,
            run_tags={**job.run_tags, **tags},
            asset_selection=frozenset(assets),
            **run,
        )
    except (AttributeError, ImportError, TypeError):
        # Dagster's own parts, which may change: then a run needs more memory, and is the same otherwise.
        job.execute_in_process(asset_selection=list(assets), tags=tags, **run)
    else:
        core_execute_in_process(*call.args, **call.kwargs)
