"""Folders and pointers that no data commit is made of, and what the error says to do."""

import os
from pathlib import Path

import pytest
from tests.resources.data_scenario import DEFAULT, commit, dvc, git, status, write_data

from ftzard.config import VersioningConfig
from ftzard.errors import (
    DataCommitError,
    NotADvcRepositoryError,
    NotAGitRepositoryError,
)
from ftzard.resources.versioning import DvcRepository


def test_a_missing_or_empty_data_folder_is_an_error(project: Path) -> None:
    (project / "data/raw/batch.csv").unlink()
    with pytest.raises(DataCommitError, match="holds no files"):
        commit(project)
    (project / "data/raw").rmdir()
    (project / "data").rmdir()
    with pytest.raises(DataCommitError, match="does not exist"):
        commit(project)
    assert not (project / "data.dvc").exists()


@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "link out", "link to a pipe", "link to settings"])
def test_what_is_no_file_is_named_rather_than_waited_for_or_stored(project: Path, tmp_path: Path, kind: str) -> None:
    commit(project)
    secret, pipe, odd = tmp_path / "secret", project / "pipe", project / "data/raw/odd.csv"
    secret.write_text("s3cret")
    os.mkfifo(odd if kind == "pipe" else pipe)
    if kind != "pipe":
        hidden = project / ".env"
        hidden.write_text("TOKEN=s3cret")
        targets = {"link to nothing": project / "nothing", "link out": secret, "link to a pipe": pipe}
        odd.symlink_to(targets.get(kind, hidden))
    write_data(project, "two")
    with pytest.raises(DataCommitError, match=r"data/raw/odd\.csv' in the data folder is a (pipe|link)"):
        commit(project)
    odd.unlink()
    assert commit(project).created


def test_a_data_folder_whose_files_are_links_into_a_cache_elsewhere_is_committed(project: Path, tmp_path: Path) -> None:
    dvc(project, "cache", "dir", "--local", str(tmp_path / "elsewhere"))
    dvc(project, "config", "--local", "cache.type", "symlink")
    commit(project)
    dvc(project, "checkout", "--relink")
    assert (project / "data/raw/batch.csv").is_symlink()
    (project / "data/raw/second.csv").write_text("two")
    assert commit(project).created


def test_a_folder_without_git_is_told_git_init(tmp_path: Path) -> None:
    with pytest.raises(NotAGitRepositoryError) as caught:
        DvcRepository(tmp_path, DEFAULT).check()
    assert f"`git init {tmp_path}`" in caught.value.fix


@pytest.mark.parametrize(("folder", "command"), [(".", "`dvc init`"), ("sub", "`dvc init --subdir`")])
def test_a_git_repository_without_dvc_is_told_dvc_init(tmp_path: Path, folder: str, command: str) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "sub").mkdir()
    with pytest.raises(NotADvcRepositoryError) as caught:
        DvcRepository(tmp_path / folder, DEFAULT).check()
    assert command in caught.value.fix


def test_a_machine_without_git_is_told_to_install_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DvcRepository(project, DEFAULT).check()
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(NotAGitRepositoryError, match="not installed"):
        DvcRepository(project, DEFAULT).check()


def test_data_that_git_tracks_already_is_an_error_with_dvcs_remedy(project: Path) -> None:
    git(project, "add", "data")
    before = git(project, "rev-parse", "HEAD")
    with pytest.raises(DataCommitError, match="git rm -r --cached"):
        commit(project)
    assert git(project, "rev-parse", "HEAD") == before
    assert status(project) == ["A  data/raw/batch.csv"]


def test_a_pointer_that_dvc_did_not_write_is_an_error_that_names_it(project: Path) -> None:
    (project / "data.dvc").write_text("outs: [")
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        DvcRepository(project, DEFAULT).data_hash()
    with pytest.raises(DataCommitError, match=r"data\.dvc"):
        commit(project)


@pytest.mark.parametrize("data_dir", [".", ".dvc"])
def test_the_project_itself_is_no_data_folder(project: Path, data_dir: str) -> None:
    with pytest.raises(DataCommitError, match=r"versioning\.data_dir"):
        DvcRepository(project, VersioningConfig(data_dir=data_dir)).check()
