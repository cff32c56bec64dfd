"""`ftzard show`: what a version, a run, a commit or a file was made from, and what was made from it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.core.test_label_queue import file_of
from tests.project_scenario import TINY, copy_of, file_bytes, git, load_asset, tracking

from ftzard.cli import main
from ftzard.composition import compose
from ftzard.config import LabellingConfig
from ftzard.core.label_files import label_csv, write_label_queue
from ftzard.core.label_queue import make_label_queue
from ftzard.history import read_history
from ftzard.resources.versioning import DvcRepository

_BATCH = "data/raw/opinions.csv"
_RESOLVED = "data/labelled/annotations.csv"


def _call(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--project", str(project), *TINY])


def _show(project: Path, thing: str) -> dict[str, Any]:
    done = _call(project, "show", thing, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in (*node.get("made_from", ()), *node.get("became", ()), *node["children"]):
        yield child
        yield from _nodes(child)


def _names(found: dict[str, Any], side: str, kind: str) -> list[str]:
    return [node["name"] for node in _nodes({"children": found[side]}) if node["kind"] == kind]


def _facts(found: dict[str, Any], kind: str, name: str | None = None) -> dict[str, Any]:
    (facts, *_) = [one["facts"] for one in _nodes(found) if one["kind"] == kind and name in {None, one["name"]}]
    return dict(facts)


def _runs(project: Path) -> dict[str, str]:
    return {run.step: run.run_id for run in tracking(project).runs()}


def _commits(project: Path) -> dict[str, str]:
    return {entry.asset: entry.commit_id for entry in read_history(project) if entry.commit_id}


def test_a_version_leads_back_to_the_rows_of_each_file_and_on_to_the_verdict(materialized_project: Path) -> None:
    found, runs, commits = (
        _show(materialized_project, "champion"),
        _runs(materialized_project),
        _commits(materialized_project),
    )
    splits = load_asset(materialized_project, "splits")
    heights = {"train": splits.train.height, "validation": splits.validation.height, "test": splits.test.height}
    assert found["kind"] == "version"
    assert _names(found, "made_from", "data commit") == [commits["splits"]]
    assert _facts(found, "splits") == heights
    assert _facts(found, "batch", _BATCH) == heights
    assert _names(found, "made_from", "base model") == ["random:tiny-llama"]
    assert _names(found, "made_from", "MLflow run") == [runs["TRAINING"]]
    assert _names(found, "became", "MLflow run") == [
        runs["INFERENCE"], runs["EVALUATION"], runs["CHOOSE_BEST_MODEL"]
    ]  # fmt: skip
    assert _names(found, "became", "verdict")[0].startswith("promote: there is no champion")
    assert _facts(found, "champion")["until"] == "now"
    assert _show(materialized_project, "1") == found


def test_a_run_names_what_it_read_who_made_that_and_who_read_what_it_made(materialized_project: Path) -> None:
    runs, commits = _runs(materialized_project), _commits(materialized_project)
    found = _show(materialized_project, runs["DATA_CLEANING"][:12])
    assert found["name"] == runs["DATA_CLEANING"]
    assert (found["facts"]["step"], found["facts"]["asset"]) == ("DATA_CLEANING", "cleaned")
    assert _names(found, "made_from", "asset") == ["raw_data"]
    assert _names(found, "made_from", "MLflow run") == [runs["DATA_INGESTION"]]
    assert _names(found, "became", "data commit") == [commits["cleaned"]]
    assert _names(found, "became", "MLflow run") == [runs["DATA_PROCESSING"]]
    trained = _show(materialized_project, runs["TRAINING"])
    assert _names(trained, "became", "version") == ["1 of ftzard"]


def test_a_commit_names_the_run_that_made_it_its_rows_by_file_and_what_came_of_it(materialized_project: Path) -> None:
    runs, commits = _runs(materialized_project), _commits(materialized_project)
    cleaned = _show(materialized_project, commits["cleaned"][:10])
    assert cleaned["name"] == commits["cleaned"]
    assert _names(cleaned, "made_from", "MLflow run") == [runs["DATA_CLEANING"]]
    assert _facts(cleaned, "batch", _BATCH) == {"raw_data": 72, "quarantined": 0, "cleaned": 72, "rejected": 0}
    assert _names(cleaned, "became", "MLflow run") == [runs["DATA_PROCESSING"]]
    splits = _show(materialized_project, commits["splits"])
    assert _names(splits, "became", "version") == ["1 of ftzard"]
    adapter = _show(materialized_project, commits["lora_adapter"])
    assert _names(adapter, "became", "version") == ["1 of ftzard"]
    assert runs["INFERENCE"] in _names(adapter, "became", "MLflow run")


def test_a_file_tells_what_became_of_its_rows_and_who_was_trained_on_them(materialized_project: Path) -> None:
    found, commits = _show(materialized_project, "opinions.csv"), _commits(materialized_project)
    assert (found["kind"], found["name"], found["facts"]["rows"]) == ("batch", _BATCH, 72)
    train = load_asset(materialized_project, "splits").train
    present = _facts(found, "present data")
    assert (present["cleaned"], present["train"]) == (72, train.height)
    assert _facts(found, "version") == {"trained on texts of it": train.height}
    held = _facts(found, "data commits")
    assert (held["first"], held["newest"]) == (commits["raw_data"], git(materialized_project, "rev-parse", "HEAD"))
    assert _show(materialized_project, _BATCH) == found


def test_for_a_person_it_is_an_indented_tree(materialized_project: Path) -> None:
    lines = _call(materialized_project, "show", "champion").stdout.splitlines()
    assert lines[0].startswith("version 1 of ftzard: adapter ")
    assert lines[1] == "made from:"
    assert any(line.startswith(f"      batch {_BATCH}: train ") for line in lines)
    assert "became:" in lines


def test_a_look_changes_nothing(materialized_project: Path, project: Path) -> None:
    before = git(materialized_project, "rev-parse", "HEAD"), file_bytes(materialized_project / "data")
    for thing in ("champion", "HEAD", "opinions.csv"):
        _show(materialized_project, thing)
    assert (git(materialized_project, "rev-parse", "HEAD"), file_bytes(materialized_project / "data")) == before
    names = sorted(project.iterdir())
    assert _facts(_show(project, "opinions.csv"), "present data") == {"rows": "none"}
    assert _call(project, "show", "champion").exit_code == 1
    assert sorted(project.iterdir()) == names


@pytest.mark.parametrize("name", ["nonsense", "99", "-x", "data/raw"])
def test_a_name_that_is_nothing_is_told_what_was_tried(materialized_project: Path, name: str) -> None:
    done = CliRunner().invoke(main, ["show", "--project", str(materialized_project), "--", name, *TINY])
    assert done.exit_code == 1, done.output
    assert f"{name!r} names nothing; tried versions of ftzard" in done.stderr


def test_of_two_files_with_one_name_both_are_named(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "data" / "labelled").mkdir()
    shutil.copy(project / _BATCH, project / "data" / "labelled" / "opinions.csv")
    done = _call(project, "show", "opinions.csv")
    assert done.exit_code == 1
    assert f"names 2 things: data/labelled/opinions.csv, {_BATCH}" in done.stderr


def test_what_cannot_be_read_here_is_told_beside_what_can(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    shutil.rmtree(project / ".dvc" / "cache")
    found = _show(project, "champion")
    assert "not to be had here" in _facts(found, "data commit")["rows"]
    assert _names(found, "became", "verdict")
    assert "dvc fetch --all-commits" in _call(project, "show", "nonsense").stderr


# Files without labels, and the labels that came back


@pytest.fixture
def served(materialized_project: Path, tmp_path: Path) -> Path:
    """A project whose champion predicted a file of 60 texts; anna labelled six of the 20 queued rows, ben three."""
    project = copy_of(materialized_project, tmp_path)
    assets = project / "data" / "assets"
    examples, predictions = file_of(60, 1)
    for asset in ("incoming", "incoming_predictions", "label_queue"):
        (assets / asset).mkdir()
    examples.write_parquet(assets / "incoming" / "aa.parquet")
    by_champion = predictions.with_columns(champion_version=pl.lit("1"))
    by_champion.write_parquet(assets / "incoming_predictions" / "aa.parquet")
    queue = make_label_queue(examples, predictions, "1", LabellingConfig(max_rows_per_file=20, uncertainty_quantile=0))
    write_label_queue(queue, assets / "label_queue" / "aa")
    for annotator, label, num_rows in (("anna", "negative", 6), ("ben", "positive", 3)):
        path = tmp_path / f"{annotator}.csv"
        path.write_bytes(label_csv(queue.rows.head(num_rows).with_columns(label=pl.lit(label))))
        assert _call(project, "labels", "import", str(path), "--annotator", annotator).exit_code == 0
    DvcRepository(project, compose(TINY, project_dir=project).versioning).commit("data: labels")
    return project


def test_a_version_leads_on_to_the_files_it_predicted_and_to_who_labelled_them(served: Path) -> None:
    found = _show(served, "1")
    assert _facts(found, "incoming file", "data/incoming/file.csv") == {"rows predicted": 60}
    assert _facts(found, "label queue")["labelled by people"] == 6
    assert _facts(found, "annotator", "anna")["rows"] == 6
    assert _facts(found, "annotator", "ben")["rows"] == 3


def test_a_file_without_labels_leads_to_its_predictions_queue_and_labels(served: Path) -> None:
    found = _show(served, "file.csv")
    assert (found["kind"], found["name"]) == ("incoming file", "data/incoming/file.csv")
    assert _names(found, "became", "predictions") == ["of champion version 1"]
    assert _names(found, "became", "label queue") == ["of 20 row(s)"]
    assert _names(found, "became", "annotator") == ["anna", "ben"]


def test_what_one_person_said_leads_back_to_what_was_queued(served: Path) -> None:
    (path,) = (served / "data" / "annotations").glob("*-anna.csv")
    found = _show(served, path.name)
    assert (found["facts"]["annotator"], found["facts"]["rows"]) == ("anna", 6)
    assert _names(found, "made_from", "incoming file") == ["data/incoming/file.csv"]
    assert _names(found, "became", "batch") == [_RESOLVED]


def test_what_was_taken_out_is_still_told_from_the_commits_that_have_it(served: Path) -> None:
    (path,) = (served / "data" / "annotations").glob("*-anna.csv")
    held = git(served, "rev-parse", "HEAD")
    done = _call(served, "labels", "forget", "--annotator", "anna", "--why", "she guessed")
    assert done.exit_code == 0, done.output
    assert not path.exists()
    found = _show(served, path.name)
    assert (found["facts"]["rows"], found["facts"]["in the data of now"]) == (6, False)
    assert _facts(found, "taken out")["because"] == "she guessed"
    assert _facts(found, "data commits")["newest"] == held
    commit = _show(served, "HEAD")
    assert commit["facts"]["says"] == "data: forget 6 label(s) of the annotator anna"


def test_who_labelled_the_rows_of_a_version_is_known_at_its_commit(served: Path) -> None:
    from ftzard.core.cleaning import clean
    from ftzard.core.reading import read_batches
    from ftzard.core.splitting import split

    config = compose(TINY, project_dir=served)
    # As `raw_data`, `cleaned` and `splits` would leave it, without their seconds.
    splits = split(clean(read_batches(served, config.data).examples, config.data).examples, config.data)
    for name in ("train", "validation", "test"):
        getattr(splits, name).write_parquet(served / "data" / "assets" / "splits" / f"{name}.parquet")
    DvcRepository(served, config.versioning).commit("data: splits")
    _call(served, "labels", "forget", "--annotator", "anna")
    found = _show(served, "HEAD~1")
    assert _facts(found, "annotator", "anna") == {"rows": 3, "with the label that counts": 3}
