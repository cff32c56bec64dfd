"""`ftzard labels check`: doubtful labels are put to people, and nothing but people changes them."""

import csv
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from tests.project_scenario import file_bytes, git

from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.cleaning import clean
from ftzard.core.label_files import label_csv
from ftzard.core.reading import read_batches


@pytest.fixture
def project_with_errors(project: Path) -> tuple[Path, set[str]]:
    """A project whose file has six labels the wrong way round; and their texts."""
    (path,) = (project / "data" / "raw").iterdir()
    rows = pl.read_csv(path).with_row_index()
    is_wrong = pl.col("index").is_in([0, 3, 20, 31, 55, 58])
    other = pl.col("label").replace_strict({"negative": "positive", "positive": "negative"})
    rows = rows.with_columns(label=pl.when(is_wrong).then(other).otherwise("label"))
    rows.drop("index").write_csv(path)
    return project, set(rows.filter(is_wrong)["text"])


def _labels(project: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["labels", *arguments, "--project", str(project)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_doubtful_labels_are_queued_by_a_data_commit_and_no_label_changes(
    project_with_errors: tuple[Path, set[str]], tmp_path: Path
) -> None:
    project, wrong = project_with_errors
    before, commits = file_bytes(project / "data" / "raw"), git(project, "rev-list", "--count", "HEAD")
    said = _labels(project, "check")
    assert "6 of 72 example(s) queued for a doubtful label" in said
    (path,) = (project / "data" / "raw").iterdir()
    turned = pl.read_csv(path).with_row_index("row", offset=2).filter(pl.col("text").is_in(list(wrong)))
    for row, label in turned.select("row", "label").iter_rows():
        assert f"data/raw/{path.name}, row {row}: '{label}', which is " in said
    assert "which is" not in _labels(project, "check", "--show", "0")
    assert file_bytes(project / "data" / "raw") == before
    assert int(git(project, "rev-list", "--count", "HEAD")) == int(commits) + 1
    assert "data: queue 6 example(s) with a doubtful label" in git(project, "log", "-1", "--format=%s")
    assert "held just that already" in _labels(project, "check")
    assert int(git(project, "rev-list", "--count", "HEAD")) == int(commits) + 1
    assert "label_errors: 6 queued, 0 labelled, 6 open" in _labels(project, "status")
    _labels(project, "export", "--output", str(tmp_path / "open.csv"))
    with (tmp_path / "open.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {row["text"] for row in rows} == wrong
    assert {row["label"] for row in rows} == {""}


def test_what_people_say_of_a_doubtful_label_is_taken_in_and_reported_where_it_contradicts(
    project_with_errors: tuple[Path, set[str]], tmp_path: Path
) -> None:
    project, _ = project_with_errors
    _labels(project, "check")
    queue = pl.read_ndjson(project / "data" / "label_errors" / "queue.ndjson").head(2)
    # The first is as people see it too, the second is not.
    first, second = queue["predicted_label"]
    labels = pl.Series("label", [first, "positive" if second == "negative" else "negative"])
    answers = tmp_path / "answers.csv"
    answers.write_bytes(label_csv(queue.with_columns(labels)))
    assert "2 new label(s)" in _labels(project, "import", str(answers), "--annotator", "anna")
    assert "label_errors: 6 queued, 2 labelled, 4 open" in _labels(project, "status")
    config = compose([], project_dir=project).data
    rejected = clean(read_batches(project, config).examples, config).rejected
    assert rejected.sort("text", "batch").select("text", "reason").n_unique() == 2
    found = dict(rejected.group_by("reason").agg(pl.col("text").unique()).iter_rows())
    assert found == {"conflicting_label": [queue["text"][0]], "duplicate": [queue["text"][1]]}


def test_answers_that_are_no_labels_are_not_checked(project: Path) -> None:
    done = CliRunner().invoke(main, ["labels", "check", "--project", str(project), "data.task=generation"])
    assert done.exit_code == 1
    assert "its answers are no labels" in done.stderr
