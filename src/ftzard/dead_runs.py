"""Runs whose process is gone: ended as FAILED, and their places in pools given back.

Otherwise the pool `gpu` would wait for ever for a run that a power cut ended, and declarative automation for its
assets.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

from ftzard.resources.run_lease import forget_lease, is_abandoned, leased_runs

_logger = logging.getLogger(__name__)

# Between two steps of a run nobody holds its lease, for as long as it takes to start a process on a busy machine.
DEAD_AFTER_S = 60.0
# Set on a run that did not fail by itself, so that whoever counts failures can tell.
DIED_TAG = "ftzard/died"
# Set on a run all of whose steps one process executes: when that process is gone, there is nothing to wait for. Its
# value stands for the project, because an instance may serve several.
IN_PROCESS_TAG = "ftzard/in_process"


def in_process_tags(project_dir: Path) -> dict[str, str]:
    """Tags for a run of a project all of whose steps one process executes."""
    return {IN_PROCESS_TAG: hashlib.sha256(str(project_dir.resolve()).encode()).hexdigest()[:16]}


def close_dead_runs(
    instance: dg.DagsterInstance,
    project_dir: Path,
    *,
    patience_s: float = DEAD_AFTER_S,
    now_s: float,
    abandoned_since: Mapping[str, float],
) -> tuple[tuple[str, ...], dict[str, float]]:
    """End the runs that no process has worked on for a while.

    Args:
        instance: The Dagster instance of the project.
        project_dir: The project folder.
        patience_s: How long nobody may have held a run's lease, in seconds. With an executor that starts a process
            for each step, nobody holds it between two steps; and it is held a moment after a run has begun.
        now_s: In seconds since the epoch.
        abandoned_since: What the last call returned: run -> since when nobody holds its lease.

    Returns:
        The runs that were ended, and what to hand to the next call.
    """
    closed: list[str] = []
    since: dict[str, float] = {}
    for run_id in leased_runs(project_dir):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            if not _holds_a_slot(instance, run_id):
                forget_lease(project_dir, run_id)
            elif is_abandoned(project_dir, run_id):
                free_slots(instance, run_id)
        elif is_abandoned(project_dir, run_id):
            since[run_id] = abandoned_since.get(run_id, now_s)
            if IN_PROCESS_TAG in run.tags or now_s - since[run_id] >= patience_s:
                _end(instance, run)
                closed.append(run_id)
                del since[run_id]
    for run in _never_leased(instance, project_dir):
        since[run.run_id] = abandoned_since.get(run.run_id, now_s)
        if now_s - since[run.run_id] >= patience_s:
            _end(instance, run)
            closed.append(run.run_id)
            del since[run.run_id]
    return tuple(closed), since


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Give back the places in pools that a run holds."""
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        storage.free_concurrency_slots_for_run(run_id)


def _never_leased(instance: dg.DagsterInstance, project_dir: Path) -> list[dg.DagsterRun]:
    """Runs of the project that began on this machine and hold no lease: killed in that moment, or just beginning.

    Only where Dagster's default launcher starts processes beside the one that looks; elsewhere a lease that was never
    held here tells nothing.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return []
    begun = dg.RunsFilter(tags=in_process_tags(project_dir), statuses=[dg.DagsterRunStatus.STARTED])
    leased = leased_runs(project_dir)
    return [run for run in instance.get_runs(begun) if run.run_id not in leased]


def has_died(run: dg.DagsterRun) -> bool:
    """Whether a run was ended here; one that was executed again from it has its tags too, and not its id."""
    return run.tags.get(DIED_TAG) == run.run_id


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    _logger.warning("the process of the run %s is gone: it is ended as failed", run.run_id)
    instance.add_run_tags(run.run_id, {DIED_TAG: run.run_id})
    instance.report_run_failed(
        run, "FTzard found that the process of this run is gone. What was stored is still there."
    )
    free_slots(instance, run.run_id)


def _holds_a_slot(instance: dg.DagsterInstance, run_id: str) -> bool:
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return False
    keys = storage.get_concurrency_keys()
    return any(slot.run_id == run_id for key in keys for slot in storage.get_concurrency_info(key).claimed_slots)
