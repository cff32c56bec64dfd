"""Making a git and DVC repository of a folder."""

from pathlib import Path

from tests.resources.data_scenario import files_in, git, status

from ftzard.resources.dvc_session import open_dvc
from ftzard.resources.git import Git
from ftzard.resources.project_repository import init_project_repository


def test_a_fresh_project_is_clean_has_one_commit_and_stages_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / ".gitignore").write_text("/mlflow.db\n")
    init_project_repository(folder, remote=folder / "store")
    assert files_in(folder) == [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore"]
    assert status(folder) == []
    assert git(folder, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    # Relative to the configuration file, so that the project can be moved and cloned.
    assert "url = ../store" in (folder / ".dvc/config").read_text()
    with open_dvc(folder) as repo:
        assert repo.config["core"]["analytics"] is False
        assert repo.config["core"]["no_scm"] is False
        assert repo.config["core"]["remote"] == "store"


def test_making_a_project_twice_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    init_project_repository(folder, remote=tmp_path / "store")
    before = (git(folder, "rev-parse", "HEAD"), (folder / ".dvc/config").read_bytes())
    init_project_repository(folder, remote=tmp_path / "another")
    assert (git(folder, "rev-parse", "HEAD"), (folder / ".dvc/config").read_bytes()) == before
    assert status(folder) == []


def test_making_a_project_of_an_existing_repository_leaves_the_persons_work_alone(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "work", "theirs")
    folder = tmp_path / "theirs"
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "Theirs")
    (folder / ".gitignore").write_text("mine\n")
    (folder / "staged.txt").touch()
    git(folder, "add", "staged.txt")
    init_project_repository(folder, remote=None)
    assert files_in(folder) == [".dvc/.gitignore", ".dvc/config", ".dvcignore"]
    assert status(folder) == ["A  staged.txt", "?? .gitignore"]
    assert Git.find(folder).current_branch() == "refs/heads/work"
