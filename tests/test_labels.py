"""`ftzard labels`: what is open goes out, what people say comes in, and `raw_data` reads what most of them say."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.core.test_label_queue import file_of

from ftzard.cli import main
from ftzard.composition import compose
from ftzard.config import LabellingConfig
from ftzard.core.annotation_store import read_annotations
from ftzard.core.cleaning import clean
from ftzard.core.label_files import read_label_queues, write_label_queue
from ftzard.core.label_queue import make_label_queue
from ftzard.core.reading import read_batches

NUM_ROWS = 20
Labels = Mapping[str, str] | Callable[[str], str]


@pytest.fixture
def labelled_project(tmp_path: Path) -> Path:
    """A project folder with the queues of two incoming files, of two champions; 4 of 20 rows each by chance."""
    project = tmp_path / "project"
    queues = project / "data" / "assets" / "label_queue"
    queues.mkdir(parents=True)
    config = LabellingConfig(max_rows_per_file=NUM_ROWS, uncertainty_quantile=0.0)
    for number, name in enumerate(("aa", "bb")):
        examples, predictions = file_of(60, number)
        write_label_queue(make_label_queue(examples, predictions, str(number + 9), config), queues / name)
    # One that is just being written.
    (queues / ".cc.tmp").mkdir()
    return project


def call(project: Path, command: str, *arguments: str) -> Result:
    options = ["--project", str(project), "data.labels=[negative,positive]"]
    return CliRunner().invoke(main, ["labels", command, *arguments, *options])


def must(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(project: Path, path: Path, annotator: str = "anna") -> str:
    before = {file: file.read_bytes() for file in project.rglob("*") if file.is_file() and file.suffix != ".lock"}
    result = call(project, "import", str(path), "--annotator", annotator)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    after = {file: file.read_bytes() for file in project.rglob("*") if file.is_file() and file.suffix != ".lock"}
    assert after == before
    return result.stderr


def exported(project: Path, name: str = "to-label.csv") -> list[dict[str, str]]:
    path = project.parent / name
    must(call(project, "export", "--output", str(path)))
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def written(project: Path, rows: list[dict[str, str]], name: str = "filled.csv") -> Path:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["ftzard_id", "text", "label"])
    writer.writeheader()
    writer.writerows(rows)
    path = project.parent / name
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    return path


def labelled(rows: list[dict[str, str]], label: str) -> list[dict[str, str]]:
    return [{**row, "label": label} for row in rows]


def raw_labels(project: Path) -> dict[str, str]:
    rows = read_batches(project, compose(project_dir=project).data).examples
    return dict(rows.select("text", "label").iter_rows())


def sidecars(project: Path) -> pl.DataFrame:
    queues = read_label_queues(project / "data" / "assets" / "label_queue")
    return pl.concat([queue.sidecar for queue in queues.values()])


def test_what_is_open_is_exported_once_with_nothing_but_the_text(labelled_project: Path) -> None:
    rows = exported(labelled_project)
    assert len(rows) == 2 * NUM_ROWS
    assert {frozenset(row) for row in rows} == {frozenset({"ftzard_id", "text", "label"})}
    assert {row["label"] for row in rows} == {""}
    assert {row["ftzard_id"] for row in rows} == set(sidecars(labelled_project)["text_hash"])


def test_imported_labels_are_kept_with_who_when_and_why_and_are_read_as_a_batch(labelled_project: Path) -> None:
    rows = exported(labelled_project)
    filled = labelled(rows[:10], "positive") + rows[10:]
    printed = must(call(labelled_project, "import", str(written(labelled_project, filled)), "--annotator", "anna"))
    assert "10 new label(s), 0 corrected, 0 as before, 30 row(s) without a label." in printed
    annotations = read_annotations(labelled_project / "data" / "annotations")
    assert annotations.select("annotator", "label", "strategy", "champion_version").unique().rows() == [
        ("anna", "positive", "least_confidence", "9")
    ]
    assert annotations["annotated_at"].n_unique() == 1
    assert raw_labels(labelled_project) == {row["text"]: "positive" for row in rows[:10]}
    assert len(exported(labelled_project, "rest.csv")) == 30


def test_the_same_file_again_changes_nothing(labelled_project: Path) -> None:
    path = written(labelled_project, labelled(exported(labelled_project)[:3], "positive"))
    must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    files = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in labelled_project.rglob("*.csv")}
    printed = must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    assert "0 new label(s), 0 corrected, 3 as before" in printed
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in labelled_project.rglob("*.csv")} == files


def test_a_person_can_correct_themselves_and_what_they_said_first_is_still_known(labelled_project: Path) -> None:
    rows = exported(labelled_project)[:2]
    for label in ("positive", "negative"):
        path = written(labelled_project, labelled(rows, label))
        printed = must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    assert "0 new label(s), 2 corrected" in printed
    assert set(raw_labels(labelled_project).values()) == {"negative"}
    assert (
        read_annotations(labelled_project / "data" / "annotations")["label"].to_list()
        == ["positive"] * 2 + ["negative"] * 2
    )


def test_the_majority_decides_and_a_tie_goes_back_into_the_queue(labelled_project: Path) -> None:
    rows = exported(labelled_project)[:4]
    said = {"anna": ["positive"] * 4, "ben": ["positive", "positive", "negative", "negative"]}
    for annotator, labels in said.items():
        filled = [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]
        printed = must(
            call(labelled_project, "import", str(written(labelled_project, filled)), "--annotator", annotator)
        )
    assert "2 row(s) stay open" in printed
    assert set(raw_labels(labelled_project)) == {row["text"] for row in rows[:2]}
    open_rows = {row["ftzard_id"] for row in exported(labelled_project, "rest.csv")}
    assert {row["ftzard_id"] for row in rows[2:]} <= open_rows
    status = must(call(labelled_project, "status"))
    assert "anna and ben: agree on 50% of 4 row(s), Cohen's kappa 0.00" in status
    assert status.count("tie, stays open") == 2

    must(
        call(
            labelled_project,
            "import",
            str(written(labelled_project, labelled(rows[2:], "negative"))),
            "--annotator",
            "cem",
        )
    )
    assert raw_labels(labelled_project) == {row["text"]: label for row, label in zip(rows, said["ben"], strict=True)}
    assert "tie" not in must(call(labelled_project, "status"))


def test_where_nothing_is_agreed_on_there_is_no_batch(labelled_project: Path) -> None:
    rows = exported(labelled_project)[:1]
    for annotator, label in (("anna", "positive"), ("ben", "negative")):
        path = written(labelled_project, labelled(rows, label))
        must(call(labelled_project, "import", str(path), "--annotator", annotator))
    assert not (labelled_project / "data" / "labelled" / "annotations.csv").exists()


def test_status_counts_both_arms_and_tells_the_champions_accuracy_from_the_random_one(labelled_project: Path) -> None:
    status = must(call(labelled_project, "status"))
    assert "40 row(s) of 2 file(s) queued: 0 labelled, 40 open" in status
    assert "live accuracy: not known" in status
    rows = exported(labelled_project)
    sidecar = sidecars(labelled_project).filter(pl.col("champion_version") == "9")
    # The champion is right on rows that chance chose, and wrong on those of the strategy.
    right = dict(sidecar.filter(pl.col("arm") == "control").select("text_hash", "predicted_label").iter_rows())
    wrong = sidecar.filter(pl.col("arm") == "strategy").select("text_hash", "predicted_label").iter_rows()
    truth = right | {row: {"negative": "positive", "positive": "negative"}[label] for row, label in wrong}
    filled = [{**row, "label": truth.get(row["ftzard_id"], "")} for row in rows]
    must(call(labelled_project, "import", str(written(labelled_project, filled)), "--annotator", "anna"))
    status = must(call(labelled_project, "status"))
    assert "least_confidence: 40 queued, 20 labelled, 20 open" in status
    assert "of them drawn at random: 8 queued, 4 labelled" in status
    assert "live accuracy of champion 9: 1.00 [0.51, 1.00] on 4 random row(s)" in status
    assert "beyond chance: 1.00" in status
    assert "champion 10" not in status
    assert not any(row in status for row in right)


def test_a_filled_queue_that_was_put_into_the_folder_counts_too(labelled_project: Path) -> None:
    queue = labelled_project / "data" / "assets" / "label_queue" / "bb" / "queue.csv"
    dropped = labelled_project / "data" / "labelled" / "mine.csv"
    dropped.parent.mkdir()
    text = queue.read_text(encoding="utf-8-sig").replace('""\n', '"positive"\n')
    dropped.write_text(text, encoding="utf-8")
    assert "40 row(s) of 2 file(s) queued: 20 labelled, 20 open" in must(call(labelled_project, "status"))
    assert len(raw_labels(labelled_project)) == 20
    rows = list(csv.DictReader(io.StringIO(text)))[:1]
    path = written(labelled_project, labelled(rows, "negative"))
    must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    assert "contradict each other, stays open: " + rows[0]["ftzard_id"] in must(call(labelled_project, "status"))


def test_label_studio_gets_tasks_and_an_interface_and_its_export_comes_back(labelled_project: Path) -> None:
    path = labelled_project.parent / "tasks.json"
    printed = must(call(labelled_project, "export", "--format", "label-studio", "--output", str(path)))
    assert "tasks.xml" in printed
    assert '<Choice value="positive"/>' in (labelled_project.parent / "tasks.xml").read_text()
    tasks = json.loads(path.read_text(encoding="utf-8"))
    result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["negative"]}}
    annotation = {"completed_by": 1, "was_cancelled": False, "result": [result]}
    back = labelled_project.parent / "project-1.json"
    back.write_text(json.dumps([{**task, "annotations": [annotation]} for task in tasks]))
    must(call(labelled_project, "import", str(back), "--annotator", "anna"))
    assert set(raw_labels(labelled_project).values()) == {"negative"}
    # The same file, put into the folder, is read as well, and says the same.
    (labelled_project / "data" / "labelled" / "project-1.json").write_bytes(back.read_bytes())
    config = compose(["data.labels=[]"], project_dir=labelled_project).data
    raw = read_batches(labelled_project, config).examples
    assert raw.height == 80
    (labelled_project / "data" / "raw").mkdir()
    (labelled_project / "data" / "raw" / "more.csv").write_text("text,label\nfine,positive\n")
    cleaned = clean(read_batches(labelled_project, config).examples, config)
    assert cleaned.examples.height == 41
    assert set(cleaned.examples["text_hash"]) > {task["data"]["ftzard_id"] for task in tasks}


def _said(label: str | None, who: object, **fields: object) -> dict[str, object]:
    """An annotation with all that Label Studio writes."""
    value = {"value": {"choices": [label]}, "id": "Xy1", "from_name": "label", "to_name": "text", "type": "choices",
             "origin": "manual"}  # fmt: skip
    return {"id": 11, "completed_by": who, "result": [value] if label else [], "was_cancelled": False,
            "ground_truth": False, "created_at": "2026-11-01T10:00:00.000000Z", "lead_time": 3.1, "prediction": {},
            "result_count": 0, "unique_id": "0a", "parent_prediction": None, **fields}  # fmt: skip


def _export_of_several(project: Path) -> tuple[Path, list[str]]:
    """Two people agree on the first task and not on the second, three vote on the third; the fourth has no label."""
    path = project.parent / "tasks.json"
    must(call(project, "export", "--format", "label-studio", "--output", str(path)))
    tasks = json.loads(path.read_text(encoding="utf-8"))[:4]
    anna, ben = {"id": 1, "email": "anna@example.org"}, {"id": 2, "email": "ben@example.org"}
    said = [
        [_said("negative", anna), _said("negative", ben)],
        [_said("positive", anna), _said("negative", ben), _said("negative", 3, was_cancelled=True)],
        [_said("negative", anna), _said("negative", 3), _said("positive", ben)],
        [_said(None, anna, was_cancelled=True), _said(None, ben)],
    ]
    guess = [{"id": 5, "model_version": "1", "score": 0.9, "result": [_said("positive", 1)["result"]]}]
    rest = {"file_upload": "0-tasks.json", "drafts": [], "predictions": guess, "meta": {}, "total_annotations": 2}
    back = project.parent / "project-2.json"
    exported = [
        {"id": number, "inner_id": number, **task, "annotations": annotations, **rest}
        for number, (task, annotations) in enumerate(zip(tasks, said, strict=True), start=1)
    ]
    back.write_text(json.dumps(exported))
    return back, [task["data"]["ftzard_id"] for task in tasks]


def test_of_an_export_of_several_people_each_has_their_own_labels(labelled_project: Path) -> None:
    back, ids = _export_of_several(labelled_project)
    printed = must(call(labelled_project, "import", str(back)))
    assert "7 new label(s), 0 corrected, 0 as before, 1 row(s) without a label." in printed
    assert "Labels of anna@example.org, ben@example.org, label-studio-3." in printed
    assert "The project has 2 label(s) by majority." in printed
    assert set(raw_labels(labelled_project).values()) == {"negative"}
    told = must(call(labelled_project, "status"))
    assert f"tie, stays open: {ids[1]} (negative / positive)" in told
    # Both say negative to the first, and opposites to the others: 1/3 agree, where 5/9 would by chance.
    assert "anna@example.org and ben@example.org: agree on 33% of 3 row(s), Cohen's kappa -0.50" in told
    assert "0 new label(s), 0 corrected, 7 as before" in must(call(labelled_project, "import", str(back)))


def test_of_several_people_under_one_name_nothing_is_taken_in_and_the_way_is_told(labelled_project: Path) -> None:
    back, _ = _export_of_several(labelled_project)
    assert "without --annotator, which takes the names from it" in refusal(labelled_project, back)


def test_labels_that_are_nobodys_are_refused(labelled_project: Path) -> None:
    path = written(labelled_project, labelled(exported(labelled_project), "negative"))
    result = call(labelled_project, "import", str(path))
    assert result.exit_code == 1
    assert "does not say who gave 40 of its labels" in result.stderr
    assert not (labelled_project / "data" / "annotations").exists()


def test_an_export_never_writes_over_a_file_that_somebody_may_have_filled_in(labelled_project: Path) -> None:
    exported(labelled_project)
    path = labelled_project.parent / "to-label.csv"
    path.write_text("my work")
    result = call(labelled_project, "export", "--output", str(path))
    assert result.exit_code == 1
    assert "exists" in result.stderr
    assert path.read_text() == "my work"


def test_nothing_open_is_no_file(tmp_path: Path) -> None:
    assert "no row is open" in must(call(tmp_path, "export", "--output", str(tmp_path / "out.csv")))
    assert not (tmp_path / "out.csv").exists()
    assert "0 row(s) of 0 file(s) queued" in must(call(tmp_path, "status"))


def test_a_file_with_anything_wrong_is_refused_as_a_whole_with_the_place(labelled_project: Path) -> None:
    first, second, *rest = exported(labelled_project)
    good = labelled([first], "positive")
    wrong: dict[str, list[dict[str, str]]] = {
        "line 3: no label queue": [*good, {"ftzard_id": "0" * 32, "text": "x", "label": ""}],
        "row 3: 'possitive'; allowed: ['negative', 'positive']": [*good, {**second, "label": "possitive"}],
        "row 2: 'positive' and row 3: 'negative'": [*good, {**first, "label": "negative"}],
        "line 3: the text is that of another row": [*good, {**second, "text": first["text"]}],
        "line 2: the row has no ftzard_id": [{**first, "ftzard_id": ""}],
    }
    for words, rows in wrong.items():
        stderr = refusal(labelled_project, written(labelled_project, rows))
        assert words in stderr
        assert "filled.csv" in stderr
    plain = labelled_project.parent / "plain.csv"
    plain.write_text("text,label\nx,positive\n")
    assert "no column with the ids" in refusal(labelled_project, plain)
    assert rest


def test_a_text_that_a_spreadsheet_changed_is_the_queues(labelled_project: Path) -> None:
    (row, *_) = exported(labelled_project)
    path = written(labelled_project, [{**row, "text": "1.2E+05", "label": "positive"}])
    must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    assert raw_labels(labelled_project) == {row["text"]: "positive"}


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\n", "x" * 65, "-o"])
def test_a_name_that_could_be_a_path_is_refused(labelled_project: Path, name: str) -> None:
    path = written(labelled_project, labelled(exported(labelled_project)[:1], "positive"))
    assert "annotator's name" in refusal(labelled_project, path, name)


def test_an_import_that_was_killed_half_way_is_completed_by_the_next(labelled_project: Path) -> None:
    path = written(labelled_project, labelled(exported(labelled_project)[:3], "positive"))
    must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    resolved = labelled_project / "data" / "labelled" / "annotations.csv"
    expected = resolved.read_bytes()
    resolved.unlink()
    must(call(labelled_project, "import", str(path), "--annotator", "anna"))
    assert resolved.read_bytes() == expected


def test_annotations_that_somebody_damaged_are_told(labelled_project: Path) -> None:
    folder = labelled_project / "data" / "annotations"
    folder.mkdir()
    (folder / "20260101T000000.000000Z-anna.csv").write_text("ftzard_id,label\na,b\n")
    result = call(labelled_project, "status")
    assert result.exit_code == 1
    assert "20260101T000000.000000Z-anna.csv does not hold annotations" in result.stderr
