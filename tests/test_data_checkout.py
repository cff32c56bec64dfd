"""`ftzard checkout`: the data of any commit, whole or not at all, and nothing else changes."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from dvc.api import DVCFileSystem
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


def test_a_place_that_may_not_be_written_is_named_and_not_the_data(
    history: tuple[Path, str, dict[str, bytes]],
) -> None:
    project, first, _ = history
    # Where nobody may make a folder, whoever runs the tests.
    with pytest.raises(StorageError, match=r"/sys/\.data\.unfinished cannot be written") as caught:
        checkout_data(project, first, to=Path("/sys/data"))
    assert "look at the permissions" in caught.value.fix


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


def _listing(store: Path, project: Path, commit: str) -> Path:
    """Where a store of DVC's objects has the list of a commit's files."""
    name = next(line for line in git(project, "show", f"{commit}:data.dvc").splitlines() if ".dir" in line).split()[-1]
    return store / "files" / "md5" / name[:2] / name[2:]


def _put_remote(project: Path, folder: Path) -> Path:
    """A remote that has all that the cache has."""
    with open_dvc(project) as repo, repo.config.edit() as config:
        config["core"]["remote"] = "store"
        config["remote"]["store"] = {"url": str(folder)}
    shutil.copytree(project / ".dvc" / "cache" / "files", folder / "files")
    return folder


def _break(path: Path) -> bytes:
    whole = path.read_bytes()
    path.chmod(0o644)
    # One letter of an entry, which makes another list and is none that cannot be read.
    path.write_bytes(whole.replace(b'"relpath": "', b'"relpath": "_', 1))
    return whole


def test_a_broken_list_of_files_in_the_cache_is_replaced_by_the_remotes(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, first, old = history
    _put_remote(project, tmp_path / "remote")
    listing = _listing(project / ".dvc" / "cache", project, first)
    whole = _break(listing)
    assert file_bytes(checkout_data(project, first).folder) == old
    assert listing.read_bytes() == whole


def test_a_list_of_files_that_is_broken_in_the_remote_is_named_and_does_no_harm(
    history: tuple[Path, str, dict[str, bytes]], tmp_path: Path
) -> None:
    project, first, old = history
    remote = _put_remote(project, tmp_path / "remote")
    cache = project / ".dvc" / "cache"
    cache.rename(tmp_path / "away")
    listing = _listing(remote, project, first)
    _break(listing)
    with pytest.raises(StorageError, match="broken in the remote") as error:
        checkout_data(project, first)
    assert str(listing) in error.value.what
    # What the error says to do.
    listing.unlink()
    shutil.rmtree(cache, ignore_errors=True)
    (tmp_path / "away").rename(cache)
    git(project, "stash", "--include-untracked", "--quiet", "--", "data.dvc")
    git(project, "checkout", "--quiet", first)
    _dvc(project, "checkout")
    _dvc(project, "push")
    git(project, "checkout", "--quiet", "-")
    shutil.rmtree(cache)
    assert file_bytes(checkout_data(project, first).folder) == old


def test_what_dvc_remembers_of_a_broken_list_of_files_is_forgotten(
    history: tuple[Path, str, dict[str, bytes]],
) -> None:
    project, first, old = history
    listing = _listing(project / ".dvc" / "cache", project, first)
    whole = _break(listing)
    # Somebody's own script reads it meanwhile.
    with contextlib.suppress(Exception):
        DVCFileSystem(str(project), rev=first).get("data", str(project.parent / "theirs"), recursive=True)
    listing.write_bytes(whole)
    assert file_bytes(checkout_data(project, first).folder) == old


def _dvc(project: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=project, check=True, capture_output=True)
