"""What orchestration costs a step: FTzard's default executor beside Dagster's multiprocess executor.

The graph is as long as the spine, six assets in a chain, and does nothing, so that what is timed is Dagster alone:
events, storage, and with the multiprocess executor (Dagster's own default) a new interpreter for each step, which
imports Dagster again. Real steps pay for the import of torch, transformers and MLflow on top, once in one process, six
times in six. A run's wall-clock time, its start and end included, is divided by its number of steps.
"""

import statistics
import tempfile
import time
from collections.abc import Callable

import dagster as dg

from benchmarks.report import Result, at_least
from ftzard.definitions import SPINE, defs

_NUM_ROUNDS = 2
# Far below what is seen: it says that one process is the right default, not how fast a machine is.
_MIN_RATIO = 3.0

_JOB = "trivial"
_NO_LOG = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def run(num_rounds: int = _NUM_ROUNDS) -> Result:
    """Measure `num_rounds` runs with each executor, in turns; the figures are medians."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        # The first run also makes the tables of the instance's database.
        _seconds_per_step(default_job, instance)
        rounds = [
            (_seconds_per_step(default_job, instance), _seconds_per_step(multiprocess_job, instance))
            for _ in range(num_rounds)
        ]
    default_s, multiprocess_s = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    figures = {
        "default_executor_step_s": default_s,
        "multiprocess_executor_step_s": multiprocess_s,
        "multiprocess_over_default": multiprocess_s / default_s,
    }
    return Result(figures, {"multiprocess_over_default": at_least(_MIN_RATIO)})


def default_job() -> dg.JobDefinition:
    """The trivial graph as FTzard runs its own."""
    return _job(defs.executor)


def multiprocess_job() -> dg.JobDefinition:
    """The trivial graph as Dagster runs it where nothing else is said."""
    return _job(dg.multiprocess_executor)


def _seconds_per_step(make_job: Callable[[], dg.JobDefinition], instance: dg.DagsterInstance) -> float:
    # The process of a step makes the job again, by the module and name of the function.
    job = dg.reconstructable(make_job)
    started = time.perf_counter()
    with dg.execute_job(job, instance, run_config=_NO_LOG, raise_on_error=True):
        return (time.perf_counter() - started) / len(SPINE)


def _job(executor: dg.ExecutorDefinition | dg.Executor | None) -> dg.JobDefinition:
    assets: list[dg.AssetsDefinition] = []
    for position in range(len(SPINE)):
        assets.append(_trivial_asset(f"step_{position}", assets[-1:]))
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job(_JOB)], executor=executor)
    return definitions.resolve_job_def(_JOB)


def _trivial_asset(name: str, upstream: list[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """An asset that waits for another and stores nothing: no IO manager is in what is timed."""

    @dg.asset(name=name, deps=upstream)
    def nothing() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    return nothing
