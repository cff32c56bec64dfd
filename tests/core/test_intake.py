"""Files without labels: once for each content, never half-written, and what is broken moved aside."""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftzard.config import DataConfig
from ftzard.core.intake import Intake, Sighting, content_key, find_content, forget_copy, read_unlabelled, take_in
from ftzard.errors import NoExamplesError, StorageError

CONFIG = DataConfig()
SETTLE_S = 5.0
GOOD = "text\nwhat a day\nnever again\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    incoming = tmp_path / CONFIG.incoming_dir
    incoming.mkdir(parents=True)
    return incoming


def look(folder: Path, now_s: float, sightings: Mapping[str, Sighting] | None = None) -> Intake:
    project = folder.parents[1]
    return take_in(project, CONFIG, project / "staging", sightings or {}, settle_s=SETTLE_S, now_s=now_s)


def settled(folder: Path) -> Intake:
    return look(folder, 1000.0 + SETTLE_S, look(folder, 1000.0).sightings)


def test_a_file_is_taken_in_once_it_was_left_alone_for_a_while(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    first = look(folder, 1000.0)
    assert (first.arrivals, first.waiting) == ((), ("data/incoming/a.csv",))
    early = look(folder, 1004.0, first.sightings)
    assert (early.arrivals, early.waiting) == ((), ("data/incoming/a.csv",))
    (arrival,) = look(folder, 1005.0, early.sightings).arrivals
    assert arrival.name == "data/incoming/a.csv"
    assert arrival.path.read_text() == GOOD
    assert arrival.key == content_key(folder / "a.csv")


def test_a_file_that_goes_on_growing_starts_its_wait_anew(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    first = look(folder, 1000.0)
    with (folder / "a.csv").open("a") as file:
        file.write("one more\n")
    second = look(folder, 1006.0, first.sightings)
    assert second.arrivals == ()
    assert len(look(folder, 1011.0, second.sightings).arrivals) == 1


def test_a_file_that_somebody_has_open_for_writing_waits_however_long_it_takes(folder: Path) -> None:
    with (folder / "a.csv").open("w") as file:
        file.write(GOOD)
        file.flush()
        waiting = settled(folder)
        assert (waiting.arrivals, waiting.waiting) == ((), ("data/incoming/a.csv",))
    assert len(look(folder, 2000.0, waiting.sightings).arrivals) == 1


def test_hidden_and_temporary_names_and_links_are_left_alone(folder: Path, tmp_path: Path) -> None:
    for name in (".a.csv", "a.csv.part", "a.csv.tmp", "~a.csv"):
        (folder / name).write_text(GOOD)
    (tmp_path / "outside.csv").write_text(GOOD)
    (folder / "link.csv").symlink_to("/etc/hostname")
    intake = settled(folder)
    assert (intake.arrivals, intake.rejections, intake.waiting) == ((), (), ())


def test_a_file_that_was_taken_in_is_not_taken_in_again_by_the_next_look(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    intake = settled(folder)
    assert look(folder, 2000.0, intake.sightings).arrivals == ()


def test_a_touch_and_a_rename_bring_the_same_key(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    before = settled(folder)
    os.utime(folder / "a.csv", (1, 1))
    touched = look(folder, 3000.0 + SETTLE_S, look(folder, 3000.0, before.sightings).sightings)
    (folder / "a.csv").rename(folder / "b.csv")
    renamed = look(folder, 4000.0 + SETTLE_S, look(folder, 4000.0, touched.sightings).sightings)
    keys = {arrival.key for intake in (before, touched, renamed) for arrival in intake.arrivals}
    assert len(keys) == 1
    assert [arrival.name for arrival in renamed.arrivals] == ["data/incoming/b.csv"]


BROKEN = {
    "empty.csv": (b"", "is empty"),
    "header.csv": (b"text\n", "holds no rows"),
    "other.csv": (b"message\nhello\n", "has no column 'text'"),
    "quotes.csv": (b'text\n"never closed\n', "cannot be parsed"),
    "blank.csv": (b'text,id\n"",1\n', "no row is left"),
    "cut.parquet": (b"PAR1....", "not a Parquet file"),
    "notes.docx": (b"PK", "of a kind that is not read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_moved_aside_with_its_reason_and_the_others_go_on(folder: Path, name: str) -> None:
    content, reason = BROKEN[name]
    (folder / name).write_bytes(content)
    (folder / "good.csv").write_text(GOOD)
    intake = settled(folder)
    assert [arrival.name for arrival in intake.arrivals] == ["data/incoming/good.csv"]
    (rejection,) = intake.rejections
    assert (rejection.name, rejection.moved_to) == (f"data/incoming/{name}", f"data/rejected/{name}")
    assert reason in rejection.reason
    aside = folder.parent / "rejected"
    assert (aside / name).read_bytes() == content
    assert reason in (aside / f"{name}.reason.txt").read_text()
    assert not (folder / name).exists()


def test_a_second_broken_file_of_the_same_name_does_not_replace_the_first(folder: Path) -> None:
    for content in (b"", b"message\nhello\n"):
        (folder / "a.csv").write_bytes(content)
        settled(folder)
    aside = folder.parent / "rejected"
    assert {path.name: path.read_bytes() for path in aside.glob("*.csv")} == {
        "a.csv": b"",
        "a-1.csv": b"message\nhello\n",
    }


def test_a_reason_is_written_through_no_link(folder: Path, tmp_path: Path) -> None:
    aside = folder.parent / "rejected"
    aside.mkdir()
    (aside / "a.csv.reason.txt").symlink_to(tmp_path / "elsewhere")
    (folder / "a.csv").write_text("no,such,column\n1,2,3\n")
    (rejection,) = settled(folder).rejections
    assert rejection.moved_to == "data/rejected/a-1.csv"
    assert not (tmp_path / "elsewhere").exists()


def test_the_copy_serves_although_the_file_was_changed_or_taken_away(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (arrival,) = settled(folder).arrivals
    project = folder.parents[1]
    (folder / "a.csv").unlink()
    path, name = find_content(project, CONFIG, project / "staging", arrival.key)
    assert (path.read_text(), name) == (GOOD, "data/incoming/a.csv")


def test_without_a_copy_the_file_itself_is_found_by_its_content(folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    (arrival,) = settled(folder).arrivals
    project = folder.parents[1]
    forget_copy(project / "staging", arrival.key)
    (folder / "a.csv").rename(folder / "b.csv")
    path, name = find_content(project, CONFIG, project / "staging", arrival.key)
    assert (path, name) == (folder / "b.csv", "data/incoming/b.csv")
    (folder / "b.csv").unlink()
    with pytest.raises(StorageError, match=arrival.key):
        find_content(project, CONFIG, project / "staging", arrival.key)


def test_a_label_column_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\nwhat a day,positive\nwhat a day,negative\n  never   again ,\n")
    value = read_unlabelled(path, "a.csv", CONFIG)
    assert value.examples["text"].to_list() == ["what a day", "never again"]
    assert value.examples["label"].null_count() == 2
    assert value.rejected["reason"].to_list() == ["duplicate"]


def test_the_limits_of_length_hold_without_labels_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\nno\n fine \nrather long\n")
    value = read_unlabelled(path, "a.csv", DataConfig(min_characters=3, max_characters=4))
    assert value.examples["text"].to_list() == ["fine"]
    assert value.rejected["reason"].to_list() == ["too_short", "too_long"]


def test_texts_that_clean_to_nothing_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,id\n"  ",1\n')
    with pytest.raises(NoExamplesError, match="1 empty_after_cleaning"):
        read_unlabelled(tmp_path / "a.csv", "a.csv", CONFIG)


def test_of_many_files_in_any_order_each_good_content_arrives_exactly_once_under_its_key(folder: Path) -> None:
    rng = random.Random(0)  # noqa: S311
    contents = [f"text\ntext number {number}\n" for number in range(40)]
    drops = [(f"{number}.csv", content) for number, content in enumerate(contents)]
    drops += [(f"again-{number}.csv", rng.choice(contents)) for number in range(20)]
    rng.shuffle(drops)
    sightings: Mapping[str, Sighting] = {}
    keys: set[str] = set()
    for number in range(0, len(drops), 7):
        for name, content in drops[number : number + 7]:
            (folder / name).write_text(content)
        for moment in (0.0, SETTLE_S):
            intake = look(folder, 100.0 * number + moment, sightings)
            sightings = intake.sightings
            keys |= {arrival.key for arrival in intake.arrivals}
    assert len(keys) == len(contents)
