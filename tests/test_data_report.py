"""`ftzard data report` on projects in every state: it reads, writes one page, and changes nothing."""

import os
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
from click.testing import CliRunner, Result
from tests.project_scenario import TINY, copy_of, file_bytes, git, materializations

from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.batch_order import newest_first
from ftzard.core.data_page import PAGE_BEGINS
from ftzard.core.data_report import DataReport
from ftzard.core.intake import content_key
from ftzard.dagster_instance import project_instance
from ftzard.data_report import load_stored, write_data_report
from ftzard.definitions import build_definitions


def _command(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", "report", "--project", str(project), *arguments, *TINY])


def _report(project: Path, target: Path) -> DataReport:
    return write_data_report(project, compose(TINY, project_dir=project), target, with_tokens=False)


def test_the_page_of_a_materialized_project_has_everything_and_the_project_stays_as_it_is(
    materialized_project: Path, tmp_path: Path
) -> None:
    before, head = file_bytes(materialized_project / "data"), git(materialized_project, "rev-parse", "HEAD")
    done = _command(materialized_project, "--output", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Wrote {tmp_path / 'page.html'}.\n")
    assert "Left out" not in done.stdout
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith(PAGE_BEGINS)
    assert page.rstrip().endswith("</html>")
    assert head[:12] in page
    assert "data/raw/opinions.csv" in page
    assert "There is one file, and nothing to compare it with." in page
    assert file_bytes(materialized_project / "data") == before
    assert git(materialized_project, "status", "--porcelain", "data.dvc") == ""


def test_a_project_without_assets_is_told_what_would_make_them(project: Path, tmp_path: Path) -> None:
    done = _command(project, "--output", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    for name in ("raw_data", "cleaned", "splits"):
        fix = f"ftzard materialize --until {name}"
        assert f"Left out: {name}: it was never materialized\n  To fix it: {fix}\n" in done.stdout
    assert "1 file is in the data folders not read yet." in done.stdout
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Nothing is stored yet." in page
    assert "data/raw/opinions.csv" in page


def test_a_folder_that_is_no_project_is_told_so_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _command(tmp_path / "empty", "--output", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    assert "Left out: splits: it was never materialized" in done.stdout


def test_an_asset_that_is_damaged_is_left_out_by_its_name_and_the_others_are_shown(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    path = project / "data" / "assets" / "cleaned" / "examples.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    report = _report(project, tmp_path / "page.html")
    (absence,) = [one for one in report.absences if one.what == "cleaned"]
    assert "examples.parquet is not what data.dvc says was committed" in absence.why
    assert "dvc checkout" in absence.fix
    assert [step.name for step in report.steps] == ["read", "split"]


def test_a_damaged_record_of_the_frozen_test_split_is_told(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "data" / "test_split" / "frozen.json").write_text("{}", encoding="utf-8")
    report = _report(project, tmp_path / "page.html")
    assert "the frozen test split" in [absence.what for absence in report.absences]
    assert report.test_split == "is not frozen"


def test_an_earlier_page_is_replaced_and_another_file_is_not(project: Path, tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "notes.html"
    assert _command(project, "--output", str(page)).exit_code == 0
    page.write_text(page.read_text(encoding="utf-8") + "old", encoding="utf-8")
    assert _command(project, "--output", str(page)).exit_code == 0
    assert not page.read_text(encoding="utf-8").endswith("old")
    other.write_text("<p>mine</p>", encoding="utf-8")
    done = _command(project, "--output", str(other))
    assert done.exit_code == 1
    assert "notes.html exists, and is no data report" in done.stderr
    assert other.read_text(encoding="utf-8") == "<p>mine</p>"


def test_a_place_where_nothing_can_be_written_is_an_error_in_words(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = _command(project, "--output", str(tmp_path / "file" / "page.html"))
    assert done.exit_code == 1
    assert "Error: " in done.stderr
    assert "cannot be" in done.stderr


def test_newest_files_come_first_and_equal_times_leave_it_to_the_name(project: Path, tmp_path: Path) -> None:
    raw = project / "data" / "raw"
    for name, time in (("a.csv", 50), ("b.csv", 70), ("c.csv", 70)):
        shutil.copy(raw / "opinions.csv", raw / name)
        os.utime(raw / name, (time, time))
    os.utime(raw / "opinions.csv", (60, 60))
    found = newest_first(project, compose(TINY, project_dir=project).data)
    assert found == tuple(f"data/raw/{name}.csv" for name in ("c", "b", "opinions", "a"))
    assert newest_first(tmp_path, compose(TINY, project_dir=project).data) == ()


def test_a_new_batch_is_compared_in_the_asset_the_run_and_the_page(tracked_project: Path, tmp_path: Path) -> None:
    words = ("quartz", "basalt", "granite", "marble", "slate")
    rows = [
        (f"{words[number % 5]} {words[number % 4]} {number}", ("positive", "negative")[number % 2])
        for number in range(60)
    ]
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(
        tracked_project / "data" / "raw" / "stones.csv"
    )
    with project_instance(tracked_project) as instance:
        job = build_definitions(TINY, project_dir=tracked_project).resolve_job_def("ftzard_spine")
        keys = [dg.AssetKey(name) for name in ("raw_data", "cleaned", "splits")]
        assert job.execute_in_process(instance=instance, asset_selection=keys).success
    shown = materializations(tracked_project, ["splits"])["splits"].metadata
    assert "| data/raw/stones.csv | 60 |" in str(shown["drift"].value)
    assert float(str(shown["drift_auc_newest"].value)) > 0.9
    (drift, _) = _report(tracked_project, tmp_path / "page.html").drifts
    assert drift.auc is not None
    assert drift.auc.value == shown["drift_auc_newest"].value
    stored, absences = load_stored(tracked_project, compose(TINY, project_dir=tracked_project))
    assert absences == ()
    assert stored.batches == ("data/raw/stones.csv", "data/raw/opinions.csv")


def test_files_that_came_in_without_labels_are_compared_on_the_page(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    path = project / "data" / "incoming" / "stones.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("text\n" + "".join(f"quartz basalt granite {number}\n" for number in range(40)), encoding="utf-8")
    key = content_key(path)
    with project_instance(project) as instance:
        instance.add_dynamic_partitions("ftzard_incoming", [key])
        job = build_definitions(TINY, project_dir=project).resolve_job_def("ftzard_serving")
        taken_in = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("incoming")], partition_key=key
        )
        assert taken_in.success
    done = _command(project, "--output", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    assert "stones.csv differs clearly from the training data (AUC " in done.stdout
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<code>quartz</code>" in page

    stored = project / "data" / "assets" / "incoming" / f"{key}.parquet"
    stored.write_bytes(stored.read_bytes()[:-20])
    report = _report(project, tmp_path / "page.html")
    assert report.incoming_drifts == ()
    assert report.absences[0].what == f"an incoming file ({key}.parquet)"
