"""What runs by itself, tick by tick, with the real conditions on the real graph.

Nothing is executed here: a run is the materializations it would report. `tests/test_loop.py` lets a real daemon run.
"""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from ftzard.automation import DECISION, conditions
from ftzard.definitions import DEFAULT_NAME, build_definitions, make_pipeline
from ftzard.sensors import LABELLED_BATCHES

DATA = ["raw_data", "cleaned", "splits", DECISION]
TRAINING = ["tuned_hyperparameters", "lora_adapter", "predictions", "metrics", "champion"]
CHECKS = {
    "cleaned": ["examples_fit_the_schema"],
    "splits": ["splits_are_disjoint", "no_test_row_is_trained_on"],
}


class Project:
    """A code location that is watched, and what its runs would bring."""

    def __init__(self, folder: Path, deps: Sequence[str] = ()) -> None:
        self.definitions = build_definitions(project_dir=folder, deps=deps)
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: object = None
        self.decision = "wait"
        self.batches = ""
        self.failing: set[str] = set()
        self.failing_checks: set[str] = set()

    def drop(self, content: str) -> None:
        """The sensor has seen batches with this content."""
        self.batches = content
        self._report(LABELLED_BATCHES, content)

    def tick(self) -> list[str]:
        """What the daemon would run now, in the order of the graph."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)  # type: ignore[arg-type]
        self.cursor = result.cursor
        return [name for name in (*DATA, *TRAINING) if result.get_num_requested(dg.AssetKey(name))]

    def run(self, names: Sequence[str]) -> None:
        """A run of these assets, which ends where a step or a blocking check fails."""
        for name in names:
            if name in self.failing:
                return
            # Without a study the hyperparameters never change.
            versions = {DECISION: self.decision, "tuned_hyperparameters": "none"}
            self._report(name, versions.get(name, f"{name} {self.batches}"))
            if name in CHECKS:
                passed = name not in self.failing_checks
                for check_name in CHECKS[name]:
                    check = dg.AssetCheckEvaluation(
                        asset_key=dg.AssetKey(name), check_name=check_name, passed=passed, blocking=True
                    )
                    self.instance.report_runless_asset_event(check)
                if not passed:
                    return

    def settle(self) -> list[list[str]]:
        """The runs until nothing is asked for any more."""
        runs: list[list[str]] = []
        for _ in range(10):
            names = self.tick()
            if not names:
                return runs
            runs.append(names)
            self.run(names)
        message = f"it never ends: {runs}"
        raise AssertionError(message)

    def _report(self, name: str, version: str) -> None:
        event = dg.AssetMaterialization(dg.AssetKey(name), tags={"dagster/data_version": version})
        self.instance.report_runless_asset_event(event)


def names_of(runs: Sequence[Sequence[str]]) -> list[str]:
    return [name for run in runs for name in run]


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """No batch yet, and the first tick is over."""
    project = Project(tmp_path)
    assert project.tick() == []
    return project


@pytest.fixture
def trained(fresh: Project) -> Project:
    """A first batch was decided to train on, and was."""
    fresh.decision = "retrain 1"
    fresh.drop("1")
    assert sorted(names_of(fresh.settle())) == sorted(DATA + TRAINING)
    return fresh


def test_every_asset_with_a_condition_is_in_the_graph(tmp_path: Path) -> None:
    specs = build_definitions(project_dir=tmp_path).resolve_all_asset_specs()
    with_condition = {spec.key.to_user_string() for spec in specs if spec.automation_condition}
    assert with_condition == set(conditions(make_pipeline(DEFAULT_NAME)))


def test_batches_that_were_there_before_the_first_tick_are_taken_in(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.decision = "retrain 1"
    project.drop("1")
    assert sorted(names_of(project.settle())) == sorted(DATA + TRAINING)


def test_new_data_runs_the_cheap_assets_in_one_run_and_then_the_expensive_ones_in_one(trained: Project) -> None:
    trained.decision = "retrain 2"
    trained.drop("2")
    assert trained.settle() == [DATA, TRAINING]


def test_a_decision_to_wait_trains_nothing(trained: Project) -> None:
    trained.drop("2")
    assert trained.settle() == [DATA]


def test_a_decision_after_some_that_said_wait_trains_once(trained: Project) -> None:
    trained.drop("2")
    trained.settle()
    trained.decision = "retrain 3"
    trained.drop("3")
    assert trained.settle() == [DATA, TRAINING]


def test_a_touched_file_triggers_nothing(trained: Project) -> None:
    trained.drop("1")
    assert [trained.tick() for _ in range(3)] == [[], [], []]


def test_what_the_pipeline_makes_never_triggers_it_again(trained: Project) -> None:
    assert [trained.tick() for _ in range(5)] == [[]] * 5


def test_the_same_content_made_again_by_hand_triggers_nothing_downstream(trained: Project) -> None:
    for name in (*DATA, *TRAINING):
        trained.run([name])
        assert trained.tick() == [], name


def test_three_batches_before_one_tick_start_one_run(trained: Project) -> None:
    for content in ("2", "3", "4"):
        trained.drop(content)
    assert trained.settle() == [DATA]


@pytest.mark.parametrize("name", [*DATA, *TRAINING])
def test_a_failed_run_is_not_tried_again_until_something_changes(trained: Project, name: str) -> None:
    trained.failing = {name}
    trained.decision = "retrain 2"
    trained.drop("2")
    trained.settle()
    assert [trained.tick() for _ in range(4)] == [[]] * 4
    trained.failing = set()
    trained.decision = "retrain 3"
    trained.drop("3")
    assert sorted(names_of(trained.settle())) == sorted(DATA + TRAINING)


@pytest.mark.parametrize("name", CHECKS)
def test_a_blocking_check_stops_what_is_downstream_until_it_passes(trained: Project, name: str) -> None:
    trained.failing_checks = {name}
    trained.decision = "retrain 2"
    trained.drop("2")
    assert trained.settle() == [DATA]
    assert [trained.tick() for _ in range(3)] == [[]] * 3
    trained.failing_checks = set()
    trained.decision = "retrain 3"
    trained.drop("3")
    runs = trained.settle()
    assert set(names_of(runs)) == set(DATA + TRAINING)
    assert runs[-1] == TRAINING


def test_a_change_of_the_splits_alone_moves_neither_predictions_nor_champion(trained: Project) -> None:
    trained.drop("2")
    assert not {"predictions", "metrics", "champion"} & set(names_of(trained.settle()))


def test_an_asset_that_writes_batches_is_followed_by_what_it_wrote_and_not_by_its_runs(tmp_path: Path) -> None:
    project = Project(tmp_path, deps=["reviews"])
    assert project.tick() == []
    # Batches that a person put there wait for nobody.
    project.drop("1")
    assert sorted(names_of(project.settle())) == sorted(DATA + TRAINING)
    project.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey("reviews")))
    assert [project.tick() for _ in range(3)] == [[], [], []]
    project.drop("2")
    assert project.settle() == [DATA]


# Runs that die


@pytest.mark.parametrize(
    ("reason", "num_deaths", "is_tried_again"),
    [
        (RunFailureReason.UNEXPECTED_TERMINATION, 1, True),
        (RunFailureReason.RUN_EXCEPTION, 5, True),
        (RunFailureReason.UNEXPECTED_TERMINATION, 6, False),
        (RunFailureReason.STEP_FAILURE, 1, False),
    ],
)
def test_a_run_that_died_is_tried_again_several_times_and_one_that_failed_is_not(
    tmp_path: Path, reason: RunFailureReason, num_deaths: int, is_tried_again: bool
) -> None:
    """Also with an instance of somebody else's, which would try errors again and gives up after one death."""
    (sensor,) = (
        sensor
        for sensor in build_definitions(project_dir=tmp_path).sensors or []
        if isinstance(sensor, dg.AutomationConditionSensorDefinition)
    )
    overrides = {"run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": True}}

    @dg.job
    def nothing() -> None: ...

    with dg.instance_for_test(overrides=overrides) as instance:
        first = died = instance.create_run_for_job(nothing, tags=sensor.run_tags, status=dg.DagsterRunStatus.FAILURE)
        for _ in range(num_deaths - 1):
            again = {ROOT_RUN_ID_TAG: first.run_id, PARENT_RUN_ID_TAG: died.run_id}
            died = instance.create_run_for_job(
                nothing,
                tags={**sensor.run_tags, **again},
                status=dg.DagsterRunStatus.FAILURE,
                root_run_id=first.run_id,
                parent_run_id=died.run_id,
            )
        assert auto_reexecution_should_retry_run(instance, died, reason) is is_tried_again
