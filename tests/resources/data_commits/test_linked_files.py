"""Data that is linked to DVC's cache and not copied; an edit in place must not damage what was committed."""

import hashlib
import os
from pathlib import Path

import pytest
from tests.resources.data_scenario import commit, dvc, git, make_project, status, template_folder, write_data

_FILE = "data/raw/batch.csv"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with template_folder(tmp_path_factory) as folder:
        return make_project(folder / "project", remote=folder / "store")


def link(project: Path, kind: str) -> None:
    with (project / ".dvc/config.local").open("a") as config:
        config.write(f"[cache]\n    type = {kind}\n")


def cached(project: Path, content: str) -> Path:
    name = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    return project / ".dvc/cache/files/md5" / name[:2] / name[2:]


def broken(project: Path) -> list[Path]:
    """Objects of the cache that are not what their names say."""
    objects = [path for path in (project / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        != (path.parent.name + path.name).removesuffix(".dir")
    ]


def test_by_default_a_data_file_shares_no_name_with_the_cache_and_may_be_edited(project: Path) -> None:
    commit(project)
    assert (project / _FILE).stat().st_ino != cached(project, "one").stat().st_ino
    with (project / _FILE).open("a") as file:
        file.write(", and more")
    assert commit(project).recovered is None
    assert broken(project) == []


@pytest.mark.parametrize("kind", ["hardlink,copy", "symlink"])
def test_a_linked_file_is_the_caches_own_and_read_only(project: Path, kind: str) -> None:
    link(project, kind)
    commit(project)
    assert (project / _FILE).stat().st_ino == cached(project, "one").stat().st_ino
    assert (project / _FILE).stat().st_mode & 0o777 == 0o444
    assert not commit(project).created
    # As FTzard writes: anew, and renamed.
    (project / "new.csv").write_text("two")
    (project / "new.csv").replace(project / _FILE)
    assert commit(project).recovered is None
    assert broken(project) == []
    assert (project / _FILE).stat().st_ino == cached(project, "two").stat().st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_linked_file_refuses_to_be_edited_by_anybody_but_root(project: Path) -> None:
    link(project, "hardlink,copy")
    commit(project)
    os.chown(project / _FILE, 65534, 65534)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            os.close(os.open(project / _FILE, os.O_WRONLY))
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", ["hardlink,copy", "symlink"])
def test_an_edit_in_place_is_told_and_leaves_nothing_false_in_the_cache(
    project: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    write_data(project, "beside it", "raw/other.csv")
    link(project, kind)
    first = commit(project)
    # Twice, because what was looked at before is remembered.
    commit(project)
    (project / _FILE).chmod(0o644)
    with (project / _FILE).open("a") as file:
        file.write(", and more")
    made = commit(project)
    assert "raw/batch.csv was edited in place" in str(made.recovered)
    assert "raw/batch.csv was edited in place" in caplog.text
    assert "other.csv" not in str(made.recovered)
    assert made.created
    assert broken(project) == []
    assert status(project) == []
    assert commit(project).recovered is None
    # The remote, which has a copy, brings the old version back, as the message says.
    dvc(project, "fetch", "--all-commits")
    git(project, "checkout", "--quiet", first.commit_id)
    dvc(project, "checkout", "--force")
    assert (project / _FILE).read_text() == "one"
