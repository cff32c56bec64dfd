"""The machine's use during a step."""

import shutil
import time
from pathlib import Path

import pytest

from ftzard.config import TrackingConfig
from ftzard.resources.system_metrics import system_metrics_logged
from ftzard.resources.tracked_run import TrackedRun
from ftzard.resources.tracking import Tracking


@pytest.fixture
def run(tmp_path: Path, empty_store: Path) -> TrackedRun:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Tracking(TrackingConfig(), tmp_path).open_run("TRAINING", tags={})


def test_each_interval_and_the_end_are_a_point_of_the_curve_also_beside_the_steps_own_metrics(run: TrackedRun) -> None:
    with system_metrics_logged(run, 0.02):
        for step in range(10):
            run.log_metrics({"loss": 0.5}, step=step)
            time.sleep(0.02)
    points = run.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")
    assert [point.step for point in points] == list(range(len(points)))
    assert len(points) >= 2
    assert len(run.client.get_metric_history(run.run_id, "loss")) == 10


def test_nothing_is_sampled_where_that_is_switched_off(run: TrackedRun) -> None:
    with system_metrics_logged(run, None):
        run.log_metrics({"loss": 0.5})
    assert set(run.client.get_run(run.run_id).data.metrics) == {"loss"}


def test_a_store_that_refuses_them_does_not_end_the_work(run: TrackedRun, caplog: pytest.LogCaptureFixture) -> None:
    run.client.delete_run(run.run_id)
    with system_metrics_logged(run, 0.01):
        time.sleep(0.1)
    assert "cannot be logged" in caplog.text
