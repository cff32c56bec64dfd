"""`ftzard checkout`: the data of any commit, whole or not at all, and nothing else changes."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.project_scenario import file_bytes, git

from ftzard.cli import main
from ftzard.config import VersioningConfig
from ftzard.data_checkout import checkout_data
from ftzard.errors import StorageError
from ftzard.resources.dvc_session import open_dvc
from ftzard.resources.versioning import DvcRepository


@pytest.fixture
def history(project: Path) -> tuple[Path, str, dict[str, bytes]]:
    """A project whose data has changed since its first data commit; that commit and its data."""
    old = file_bytes(project / "data")
    first = DvcRepository(project, VersioningConfig()).commit("First").commit_id
    (project / "data" / "raw" / "second näxt.csv").write_text("text,label\nnew,positive\n", encoding="utf-8")
    DvcRepository(project, VersioningConfig()).commit("Second")
    return project, first, old


def test_an_older_commit_comes_back_beside_the_work_tree(history: tuple[Path, str, dict[str, bytes]]) -> None:
    project, first, old = history
    before = (
        file_bytes(project / "data"),
        git(project, "status", "--porcelain", "--", ":!.ftzard"),
        git(project, "rev-parse", "HEAD"),
    )
    done = checkout_data(project, first[:8])
    assert done.commit_id == first
    assert file_bytes(done.folder) == old
    assert before == (
        file_bytes(project / "data"),
        git(project, "status", "--porcelain", "--", ":!.ftzard"),
        git(project, "rev-parse", "HEAD"),
    )
    assert checkout_data(project, first).was_there


def test_names_of_any_script_come_back_into_the_folder_that_was_named(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, _, _ = history
    target = tmp_path / "elsewhere" / "of data"
    done = CliRunner().invoke(main, ["checkout", "HEAD", "--to", str(target), "--project", str(project)])
    assert done.exit_code == 0, done.output
    assert "2 data file(s)" in done.output
    assert file_bytes(target) == file_bytes(project / "data")


def test_what_the_cache_lacks_comes_from_the_remote_of_today(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, first, old = history
    # The commit is older than this remote.
    with open_dvc(project) as repo, repo.config.edit() as config:
        config["core"]["remote"] = "store"
        config["remote"]["store"] = {"url": str(tmp_path / "remote")}
    shutil.copytree(project / ".dvc" / "cache" / "files", tmp_path / "remote" / "files")
    shutil.rmtree(project / ".dvc" / "cache")
    assert file_bytes(checkout_data(project, first).folder) == old


def test_data_that_is_gone_or_was_changed_is_an_error_and_leaves_nothing(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, first, old = history
    content = next(iter(old.values()))
    stored = next(
        path for path in (project / ".dvc" / "cache").rglob("*") if path.is_file() and path.read_bytes() == content
    )
    stored.chmod(0o644)
    stored.write_bytes(content[:-1] + b"?")
    with pytest.raises(StorageError, match=r"cannot be read|was changed"):
        checkout_data(project, first, to=tmp_path / "target")
    stored.unlink(missing_ok=True)
    with pytest.raises(StorageError, match="cannot be read"):
        checkout_data(project, first, to=tmp_path / "target")
    assert not list(tmp_path.glob("*target*"))


def test_a_folder_with_something_in_it_is_left_alone(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, first, _ = history
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="is not empty"):
        checkout_data(project, first, to=tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("revision", ["0000000", "--all", "no such branch"])
def test_a_commit_that_does_not_exist_is_named(history: tuple[Path, str, dict[str, bytes]], revision: str) -> None:
    with pytest.raises(StorageError, match="git log") as caught:
        checkout_data(history[0], revision)
    assert repr(revision) in caught.value.what


def test_a_commit_without_data_is_told_where_there_is_some(history: tuple[Path, str, dict[str, bytes]]) -> None:
    project, first, _ = history
    with pytest.raises(StorageError, match="holds no data") as caught:
        checkout_data(project, f"{first}~1")
    assert "data.dvc" in caught.value.fix
