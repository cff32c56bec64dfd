"""`ftzard import`: a dataset becomes a batch that can be read, or nothing is left; no code that comes with it runs."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from ftzard.cli import main
from ftzard.config import DataConfig
from ftzard.core.reading import read_batches
from ftzard.dataset_import import SOURCE_KEY, _is_of, import_dataset
from ftzard.errors import DatasetNotFoundError, FtzardError

# As on the hub: the page of a dataset says what its columns are.
CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: train.csv}
  - {split: test, path: test.csv}
dataset_info:
  features:
  - {name: review, dtype: string}
  - name: stars
    dtype: {class_label: {names: {'0': bad, '1': good}}}
---
Reviews.
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "train.csv").write_text("review,stars\nfine,1\nawful,0\n")
    (folder / "test.csv").write_text("review,stars\nso so,0\n")
    return folder


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


COLUMNS = ("data.text_column=review", "data.label_column=stars")


def call(project_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", "--project", str(project_dir), *arguments])


def test_a_split_becomes_a_batch_with_the_names_of_its_classes_and_says_where_it_is_from(
    dataset: Path, project_dir: Path
) -> None:
    done = call(project_dir, str(dataset), *COLUMNS)
    assert done.exit_code == 0, done.output
    assert "Wrote 2 rows" in done.output
    raw = read_batches(project_dir, DataConfig(text_column="review", label_column="stars"))
    assert raw.examples.select("text", "label", "batch").rows() == [
        ("fine", "good", "data/raw/reviews-train.parquet"),
        ("awful", "bad", "data/raw/reviews-train.parquet"),
    ]
    metadata = pq.read_schema(project_dir / "data/raw/reviews-train.parquet").metadata
    assert metadata[SOURCE_KEY.encode()].decode() == f"{dataset} split train"
    assert call(project_dir, str(dataset), "--split", "test", *COLUMNS).exit_code == 0
    assert read_batches(project_dir, DataConfig(text_column="review", label_column="stars")).examples.height == 3


def test_what_was_imported_before_is_not_imported_again(dataset: Path, project_dir: Path) -> None:
    assert call(project_dir, str(dataset), *COLUMNS).exit_code == 0
    done = call(project_dir, str(dataset), *COLUMNS)
    assert done.exit_code == 1
    assert "was imported before" in done.output


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("--split", "validation", *COLUMNS), "validation"),
        ((), "no column 'text'; its columns are ['review', 'stars']"),
        (("--subset", "other", *COLUMNS), "other"),
        (("--revision", "main", *COLUMNS), "revisions"),
    ],
    ids=["split", "columns", "subset", "revision"],
)
def test_what_the_dataset_does_not_have_is_named_and_nothing_is_left(
    dataset: Path, project_dir: Path, arguments: tuple[str, ...], culprit: str
) -> None:
    done = call(project_dir, str(dataset), *arguments)
    assert done.exit_code == 1
    assert culprit in done.output
    assert [path for path in project_dir.rglob("*") if path.is_file()] == []


def test_a_dataset_whose_rows_cannot_be_read_leaves_nothing(dataset: Path, project_dir: Path) -> None:
    (dataset / "README.md").unlink()
    pl.DataFrame({"review": [["a"]], "stars": ["x"]}).write_parquet(dataset / "x.parquet")
    for name in ("train.csv", "test.csv"):
        (dataset / name).unlink()
    with pytest.raises(FtzardError, match="is not text"):
        import_dataset(project_dir, DataConfig(text_column="review", label_column="stars"), str(dataset), split="train")
    assert [path for path in project_dir.rglob("*") if path.is_file()] == []


def test_a_script_that_comes_with_a_dataset_is_not_run(dataset: Path, project_dir: Path, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    (dataset / "reviews.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    call(project_dir, str(dataset), *COLUMNS)
    assert not trace.exists()


@pytest.mark.parametrize("place", ["{folder}/secret.csv", "../secret.csv", "https://localhost:9/secret.csv"])
def test_a_dataset_whose_card_names_another_file_is_refused(dataset: Path, project_dir: Path, place: str) -> None:
    (dataset.parent / "secret.csv").write_text("review,stars\nsecret,1\n")
    card = CARD.replace("path: train.csv", f"path: {place.format(folder=dataset.parent)!r}")
    (dataset / "README.md").write_text(card)
    done = call(project_dir, str(dataset), *COLUMNS)
    assert done.exit_code == 1
    assert "secret.csv" in done.output
    assert [path for path in project_dir.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("file", "is_its_own"),
    [
        ("hf://datasets/org/name@0123/data/train.csv", True),
        ("zip://train.csv::hf://datasets/org/name@0123/data.zip", True),
        ("hf://datasets/org/other@0123/train.csv", False),
        ("hf://datasets/org/name@0123/../other/train.csv", False),
        ("/home/ada/train.csv", False),
        ("zip://train.csv::/home/ada/data.zip", False),
        ("https://example.org/train.csv", False),
    ],
)
def test_of_a_dataset_of_the_hub_only_its_own_files_are_read(file: str, *, is_its_own: bool) -> None:
    assert _is_of(file, "org/name", "0123") is is_its_own


@pytest.mark.parametrize("name", ["json", "/etc", "../x/y", "a/b/c", "./reviews"])
def test_a_name_by_which_something_of_this_machine_would_be_loaded_is_refused(project_dir: Path, name: str) -> None:
    with pytest.raises(DatasetNotFoundError, match="no name of a dataset"):
        import_dataset(project_dir, DataConfig(), f"hub:{name}", split="train")


def test_a_folder_with_the_name_of_a_dataset_does_not_take_its_place(
    project_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="also a file or folder here"):
        import_dataset(project_dir, DataConfig(), "hub:org/name", split="train")


def test_without_the_hub_the_dataset_is_named(project_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetNotFoundError, match="the hub does not give the dataset 'nobody/nothing'"):
        import_dataset(project_dir, DataConfig(), "hub:nobody/nothing", split="train")
