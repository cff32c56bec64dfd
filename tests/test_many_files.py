"""Two hundred files in every state a file can be in, and a daemon that is killed in between."""

import random
import threading
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from tests.dagster_dev import DagsterDev, choose_experiment, dagster_dev, made, runs, times_made
from tests.project_scenario import copy_of

from ftzard.core.intake import content_key
from ftzard.dead_runs import has_died
from ftzard.resources.run_lease import leased_runs

EXPERIMENT = """\
# @package _global_
defaults:
  - override /model: tiny_random
training:
  learning_rate: 1e-3
  lora: {r: 4, lora_alpha: 8}
evaluation:
  num_bootstrap_samples: 200
tracking:
  experiment: tiny
automation:
  settle_s: 1
  max_files_per_run: 200
"""
BROKEN = ("", "text\n", "message\nhello\n", 'text\n"never closed\n')
NUM_FILES = 200
# Longer than a file has to settle and than it takes until it is looked at again, twice.
WRITING_S = 12


def good(number: int) -> str:
    return f"text\nThe weather of day {number} was lovely\nThe soup of day {number} was awful\n"


class Drops:
    """What is put into the folder, in a random order: some twice, some renamed, some slowly, some broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rng = random.Random(0)  # noqa: S311
        kinds = ["good"] * 130 + ["again"] * 20 + ["renamed"] * 20 + ["slow"] * 15 + ["broken"] * 15
        assert len(kinds) == NUM_FILES
        self.rng.shuffle(kinds)
        self.todo = list(enumerate(kinds))
        self.contents: set[str] = set()
        self.num_broken = 0
        self.writers: list[threading.Thread] = []
        folder.mkdir(parents=True)

    def drop(self, count: int) -> None:
        """Drop the next files."""
        wave, self.todo = self.todo[:count], self.todo[count:]
        for number, kind in wave:
            getattr(self, f"_{kind}")(number, self.folder / f"file-{number}.csv")

    def finish(self) -> None:
        for writer in self.writers:
            writer.join()

    def _good(self, number: int, path: Path) -> None:
        self.contents.add(good(number))
        path.write_text(good(number))

    def _again(self, number: int, path: Path) -> None:
        self._good(number, path)
        path.with_name(f"copy-of-{path.name}").write_text(self.rng.choice(sorted(self.contents)))

    def _renamed(self, number: int, path: Path) -> None:
        self._good(number, path)
        path.rename(path.with_name(f"renamed-{path.name}"))

    def _slow(self, number: int, path: Path) -> None:
        self.contents.add(good(number))
        writer = threading.Thread(target=_write_slowly, args=(path, good(number)))
        writer.start()
        self.writers.append(writer)

    def _broken(self, number: int, path: Path) -> None:
        del number
        self.num_broken += 1
        path.write_text(self.rng.choice(BROKEN))


def _write_slowly(path: Path, content: str) -> None:
    """Half of it, flushed, a pause, and the rest."""
    with path.open("w") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(WRITING_S)
        file.write(content[len(content) // 2 :])


@pytest.mark.slow
def test_each_good_content_of_200_files_is_predicted_exactly_once_although_the_daemon_is_killed_twice(
    materialized_project: Path, memory_path: Path
) -> None:
    project = copy_of(materialized_project, memory_path)
    choose_experiment(project, EXPERIMENT)
    drops = Drops(project / "data" / "incoming")
    with dagster_dev(project, browser=False) as dev:
        drops.drop(60)
        first = dev.wait_for("run at work", lambda: _serving(project))
        dev.kill()
        drops.drop(40)
        dev.start()
        _rename_some(project)
        drops.drop(40)
        second = dev.wait_for("other run at work", lambda: _serving(project) - first)
        drops.drop(NUM_FILES)
        # Something of it is stored by then, and the rest is not.
        dev.wait_for("first step of it", lambda: made(project, "incoming"))
        assert second <= _serving(project)
        dev.kill()
        drops.finish()
        dev.start()
        _wait_until_done(dev, project, len(drops.contents))
        time.sleep(11)  # Two looks: enough for what would be asked for a second time to be asked for.
        assert not _serving(project)
    assert {run.run_id for run in _ended_as_dead(project)} == first | second
    for name in ("incoming_predictions", "label_queue"):
        times = times_made(project, name)
        assert len(times) == len(drops.contents)
        assert set(times.values()) == {1}, {key: count for key, count in times.items() if count != 1}
    stored = list((project / "data" / "assets" / "incoming_predictions").glob("*.parquet"))
    assert sum(pl.read_parquet(path).height for path in stored) == 2 * len(drops.contents)
    rejected = project / "data" / "rejected"
    assert len(list(rejected.glob("*.csv"))) == len(list(rejected.glob("*.reason.txt"))) == drops.num_broken
    left = {content_key(path) for path in (project / "data" / "incoming").iterdir()}
    assert left == set(times)


def _serving(project: Path) -> set[str]:
    """The ids of runs that predict and whose process has begun to work; also a killed one, until it is noticed."""
    started = runs(project, job_name="ftzard_serving", statuses=[dg.DagsterRunStatus.STARTED])
    return {run.run_id for run in started} & set(leased_runs(project))


def _ended_as_dead(project: Path) -> list[dg.DagsterRun]:
    return [run for run in runs(project, job_name="ftzard_serving") if has_died(run)]


def _rename_some(project: Path) -> None:
    for path in sorted((project / "data" / "incoming").glob("file-1*.csv"))[:5]:
        path.rename(path.with_name(f"later-{path.name}"))


def _wait_until_done(dev: DagsterDev, project: Path, num_contents: int) -> None:
    def is_done() -> bool:
        return len(made(project, "label_queue")) >= num_contents and not _serving(project)

    dev.wait_for(f"{num_contents} label queues", is_done, timeout_s=600)
