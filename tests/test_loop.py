"""The whole circle against a real `dagster dev`, with nothing clicked."""

import csv
import itertools
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from tests.dagster_dev import champion, choose_experiment, dagster_dev, materializations, registry, runs

from ftzard.core.champion_records import RegisteredAdapter
from ftzard.dagster_instance import project_instance
from ftzard.resources.tracking import RunSummary

# A first batch whose labels mean nothing, so that the first champion knows nothing and the second deserves it.
EXPERIMENT = """\
# @package _global_
defaults:
  - override /model: tiny_random
data:
  train_fraction: 0.5
  validation_fraction: 0.1
  test_fraction: 0.4
  # The first batch makes a test split of noise: what comes later has to join it, with nothing clicked.
  test_split: growing
training:
  learning_rate: 1e-2
  num_train_epochs: 8
  lora: {r: 4, lora_alpha: 8}
evaluation:
  num_bootstrap_samples: 500
labelling:
  uncertainty_quantile: 0.0
  max_rows_per_file: 300
automation:
  settle_s: 1
  min_new_labels: 100
"""
THINGS = ["tea", "train", "film", "chair", "lamp", "bread", "song", "phone", "garden", "coat", "book", "rain"]
THINGS += ["bus", "cake", "shop", "story"]
TIMES = ["today", "yesterday", "again", "now", "once", "tonight"]
OPINIONS = {"was lovely": "positive", "made my day": "positive", "is wonderful": "positive"}
OPINIONS |= {"was awful": "negative", "ruined my day": "negative", "is broken": "negative"}


def texts() -> list[str]:
    found = [f"The {thing} {opinion} {time}" for thing, opinion, time in itertools.product(THINGS, OPINIONS, TIMES)]
    random.Random(0).shuffle(found)  # noqa: S311
    return found


def true_label(text: str) -> str:
    return next(label for opinion, label in OPINIONS.items() if opinion in text)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Under another name first, as a careful program does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    temporary.rename(path)


@pytest.mark.slow
def test_labelled_data_trains_unlabelled_data_is_queued_and_the_labels_make_a_new_champion(
    tracked_project: Path, memory_path: Path
) -> None:
    project = shutil.copytree(tracked_project, memory_path / "loop")
    (project / "data" / "raw" / "opinions.csv").unlink()
    choose_experiment(project, EXPERIMENT)
    pool = texts()
    rng = random.Random(1)  # noqa: S311
    noise = [(text, rng.choice(["negative", "positive"])) for text in pool[:40]]
    with dagster_dev(project) as dev:
        write_rows(project / "data" / "raw" / "first.csv", ["text", "label"], noise)
        first = dev.wait_for("first champion", lambda: champion(project))
        assert materializations(project, "champion")[0].metadata["verdict"].value == "promote"

        write_rows(project / "data" / "incoming" / "second.csv", ["text"], [[text] for text in pool[40:340]])
        (queued,) = dev.wait_for("label queue", lambda: materializations(project, "label_queue"))
        (predicted,) = materializations(project, "incoming_predictions")
        assert predicted.partition == queued.partition
        assert predicted.metadata["champion_version"].value == first.version

        queue = project / "data" / "assets" / "label_queue" / str(queued.partition) / "queue.csv"
        with queue.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 300
        filled = [{**row, "label": true_label(row["text"])} for row in rows]
        write_rows(
            project / "data" / "labelled" / "second.csv", list(filled[0]), [list(row.values()) for row in filled]
        )
        second = dev.wait_for("second champion", lambda: _other_champion(project, first.version))
        assert [run.step for run in _training_runs(project)] == ["TRAINING", "RETRAINING"]
        (decision, *_) = materializations(project, "retrain_decision")
        assert decision.metadata["verdict"].value == "retrain"

        write_rows(project / "data" / "incoming" / "third.csv", ["text"], [[text] for text in pool[340:360]])
        dev.wait_for("queue of the next file", lambda: materializations(project, "label_queue")[:-1])
        served = materializations(project, "incoming_predictions")
        dev.wait_for("the run's end", lambda: not runs(project, statuses=[dg.DagsterRunStatus.STARTED]))
        assert served[0].metadata["champion_version"].value == second.version
    assert [move.to_version for move in registry(project).history()] == [first.version, second.version]
    failed = [run for run in runs(project) if not run.is_success]
    assert failed == []
    with project_instance(project) as instance:
        assert instance.get_dynamic_partitions("ftzard_incoming")[0] == queued.partition


def _other_champion(project: Path, version: str) -> RegisteredAdapter | None:
    found = champion(project)
    return found if found is not None and found.version != version else None


def _training_runs(project: Path) -> list[RunSummary]:
    return [run for run in registry(project).tracking.runs() if run.step in {"TRAINING", "RETRAINING"}]
