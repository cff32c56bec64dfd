"""Runs whose process is gone are ended, and what they held is given back."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ftzard.dagster_instance import project_instance
from ftzard.dead_runs import close_dead_runs, has_died, in_process_tags
from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.run_lease import hold_lease, is_abandoned, leased_runs

HOLD = """
import sys
from pathlib import Path
from ftzard.resources.run_lease import hold_lease
hold_lease(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with project_instance(tmp_path) as instance:
        yield instance


def started_run(instance: dg.DagsterInstance, **tags: str) -> str:
    @dg.job
    def nothing() -> None: ...

    run = instance.create_run_for_job(nothing, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return str(run.run_id)


def process_that_holds(project: Path, run_id: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project), run_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def close(instance: dg.DagsterInstance, project: Path, now_s: float, since: dict[str, float]) -> tuple[str, ...]:
    closed, after = close_dead_runs(instance, project, patience_s=60.0, now_s=now_s, abandoned_since=since)
    since.clear()
    since.update(after)
    return closed


def test_a_lease_is_held_while_any_of_its_processes_lives(tmp_path: Path) -> None:
    first, second = (process_that_holds(tmp_path, "a1") for _ in range(2))
    kill(first)
    assert not is_abandoned(tmp_path, "a1")
    kill(second)
    assert is_abandoned(tmp_path, "a1")


def test_a_run_that_never_had_a_lease_is_not_abandoned(tmp_path: Path) -> None:
    assert not is_abandoned(tmp_path, "a1")
    hold_lease(tmp_path, "EPHEMERAL")
    hold_lease(tmp_path, "../../outside")
    assert leased_runs(tmp_path) == ()


def test_a_killed_run_is_ended_as_failed_after_the_wait_and_its_place_in_the_pool_is_free(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run_id = started_run(instance)
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    assert storage.claim_concurrency_slot("gpu", run_id, "train").is_claimed
    process = process_that_holds(tmp_path, run_id)
    since: dict[str, float] = {}
    assert close(instance, tmp_path, 0.0, since) == ()
    kill(process)
    assert close(instance, tmp_path, 10.0, since) == ()
    assert close(instance, tmp_path, 69.0, since) == ()
    assert storage.get_concurrency_info("gpu").active_slot_count == 1
    assert close(instance, tmp_path, 71.0, since) == (run_id,)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert (run.status, has_died(run)) == (dg.DagsterRunStatus.FAILURE, True)
    # Dagster hands the tags of a run on to what is executed again from it, which has not died by that.
    again = dg.DagsterRun("again", tags={**run.tags})
    assert not has_died(again)
    assert storage.get_concurrency_info("gpu").active_slot_count == 0


def test_a_run_that_is_one_process_needs_no_wait(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance, **in_process_tags(tmp_path))
    kill(process_that_holds(tmp_path, run_id))
    assert close(instance, tmp_path, 0.0, {}) == (run_id,)


def test_a_run_that_was_killed_before_it_could_hold_its_lease_is_ended_after_the_wait(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run_id = started_run(instance, **in_process_tags(tmp_path))
    of_another_project = started_run(instance, **in_process_tags(tmp_path / "other"))
    of_somebody_else = started_run(instance)
    since: dict[str, float] = {}
    assert close(instance, tmp_path, 0.0, since) == ()
    assert close(instance, tmp_path, 59.0, since) == ()
    assert close(instance, tmp_path, 61.0, since) == (run_id,)
    assert close(instance, tmp_path, 200.0, since) == ()
    for other in (of_another_project, of_somebody_else):
        run = instance.get_run_by_id(other)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.STARTED


def test_a_run_that_holds_its_lease_after_all_is_left_alone(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance, **in_process_tags(tmp_path))
    since: dict[str, float] = {}
    assert close(instance, tmp_path, 0.0, since) == ()
    process = process_that_holds(tmp_path, run_id)
    assert close(instance, tmp_path, 100.0, since) == ()
    kill(process)


def test_a_run_holds_its_lease_before_its_first_step(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    held: list[str] = []

    @dg.op(required_resource_keys={"configuration"})
    def look(context: dg.OpExecutionContext) -> None:
        held.extend(leased_runs(tmp_path))
        assert held == [context.run_id]

    @dg.job(resource_defs={"configuration": ConfigurationResource(project_dir=str(tmp_path))})
    def looking() -> None:
        look()

    assert looking.execute_in_process(instance=instance).success
    assert held


def test_a_run_whose_process_comes_back_between_two_steps_is_left_alone(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run_id = started_run(instance)
    kill(process_that_holds(tmp_path, run_id))
    since: dict[str, float] = {}
    assert close(instance, tmp_path, 0.0, since) == ()
    process = process_that_holds(tmp_path, run_id)
    assert close(instance, tmp_path, 50.0, since) == ()
    kill(process)
    assert close(instance, tmp_path, 65.0, since) == ()
    assert close(instance, tmp_path, 126.0, since) == (run_id,)


def test_the_leases_of_runs_that_are_over_are_tidied_up(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance)
    kill(process_that_holds(tmp_path, run_id))
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_canceled(run)
    assert close(instance, tmp_path, 0.0, {}) == ()
    assert leased_runs(tmp_path) == ()


def test_a_finished_run_that_still_holds_a_place_gives_it_back(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance)
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    assert storage.claim_concurrency_slot("gpu", run_id, "train").is_claimed
    kill(process_that_holds(tmp_path, run_id))
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run)
    close(instance, tmp_path, 0.0, {})
    assert storage.get_concurrency_info("gpu").active_slot_count == 0
