"""What a data commit pushes, and what it refuses to push with."""

import hashlib
from pathlib import Path

import pytest
from tests.resources.data_scenario import commit, dvc, git, write_data

from ftzard.config import VersioningConfig
from ftzard.errors import (
    PushError,
    PushPendingError,
    SecretExposedError,
)
from ftzard.resources.project_repository import init_project_repository


def test_what_was_pushed_comes_back_in_a_clone_elsewhere(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    init_project_repository(project, remote=tmp_path / "store")
    git(project, "commit", "--quiet", "--message", "Remote", ".dvc/config")
    write_data(project, "x" * 100_000, "raw/big.csv")
    made = commit(project, VersioningConfig(git_remote="origin"))
    assert made.pushed_data
    assert made.pushed_git
    git(tmp_path, "clone", "--quiet", str(tmp_path / "hub.git"), "clone")
    dvc(tmp_path / "clone", "pull")
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == made.commit_id
    for name in ("raw/big.csv", "raw/batch.csv"):
        original = (project / "data" / name).read_bytes()
        assert (
            hashlib.sha256((tmp_path / "clone/data" / name).read_bytes()).digest() == hashlib.sha256(original).digest()
        )


def test_only_the_data_folder_is_pushed_and_only_when_wanted(project: Path, tmp_path: Path) -> None:
    init_project_repository(project, remote=tmp_path / "store")
    (project / "theirs.bin").write_text("theirs")
    dvc(project, "add", "--quiet", "theirs.bin")
    assert not commit(project, VersioningConfig(push_data=False)).pushed_data
    assert not (tmp_path / "store").exists()
    assert commit(project).pushed_data
    # The folder's listing and its one file.
    assert len([path for path in (tmp_path / "store").rglob("*") if path.is_file()]) == 2


def test_a_git_push_takes_neither_tags_nor_other_branches_along(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "hub.git")
    git(project, "remote", "add", "origin", str(tmp_path / "hub.git"))
    git(project, "config", "push.followTags", "true")
    git(project, "tag", "--annotate", "--message", "private", "private")
    git(project, "branch", "other")
    commit(project, VersioningConfig(git_remote="origin"))
    assert git(tmp_path / "hub.git", "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_an_unknown_git_remote_is_an_error_that_names_it(project: Path) -> None:
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(PushError, match="--receive-pack=evil") as caught:
        commit(project, VersioningConfig(git_remote="--receive-pack=evil"))
    assert "git remote add" in caught.value.fix
    assert git(project, "rev-parse", "HEAD") == before


@pytest.mark.parametrize("url", [None, "hdfs://localhost/store"])
def test_a_data_remote_that_dvc_cannot_use_is_an_error_before_the_commit(project: Path, url: str | None) -> None:
    section = "" if url is None else f"['remote \"store\"']\n    url = {url}\n"
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = store\n{section}")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(PushError, match="store") as caught:
        commit(project)
    assert not isinstance(caught.value, PushPendingError)
    assert "nothing was committed" in caught.value.what
    assert git(project, "rev-parse", "HEAD") == before
    assert commit(project, VersioningConfig(push_data=False)).created


def test_a_password_in_a_url_is_in_no_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(project, "remote", "add", "origin", "https://ada:s3cret@localhost:1/hub.git")
    monkeypatch.setenv("no_proxy", "*")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(SecretExposedError, match="origin") as caught:
        commit(project, VersioningConfig(git_remote="origin"))
    assert "s3cret" not in str(caught.value)
    assert git(project, "rev-parse", "HEAD") == before


@pytest.mark.parametrize(
    "option", ["url = https://ada:s3cret@localhost/x", "url = webdavs://h/x\n    password = s3cret"]
)
def test_a_secret_in_the_configuration_that_git_keeps_is_refused(project: Path, option: str) -> None:
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    {option}\n")
    with pytest.raises(SecretExposedError, match="store") as caught:
        commit(project, VersioningConfig())
    assert "s3cret" not in str(caught.value)
    assert "--local" in caught.value.fix
