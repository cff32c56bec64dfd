"""What a killed process left half written is put right by the next commit."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.resources.data_scenario import DEFAULT, commit, dvc

from ftzard.config import VersioningConfig
from ftzard.errors import StorageError
from ftzard.resources.dvc_session import open_dvc
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.versioning import DvcRepository


@pytest.mark.parametrize("left", ['{"read": {}, "wri', "", '{"read": 3}'])
def test_dvcs_note_of_who_reads_and_writes_that_a_kill_left_broken_stops_no_commit(project: Path, left: str) -> None:
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    (project / ".dvc" / "tmp" / "rwlock").write_text(left, encoding="utf-8")
    assert DvcRepository(project, VersioningConfig()).commit("Data").created
    assert not any(json.loads((project / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8")).values())


def test_the_way_back_for_a_damaged_file_leaves_new_batches_alone(project: Path) -> None:
    commit(project)
    path, new = project / "data" / "raw" / "batch.csv", project / "data" / "raw" / "new.csv"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    new.write_text("not committed yet", encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        DvcRepository(project, VersioningConfig()).require_committed(path)
    assert "`dvc checkout --force data/raw/batch.csv`" in caught.value.fix
    dvc(project, "checkout", "--force", "data/raw/batch.csv")
    assert path.read_bytes() == sound
    assert new.is_file()
    DvcRepository(project, VersioningConfig()).require_committed(path)


def test_a_list_of_files_that_a_kill_left_broken_in_the_cache_is_written_again(project: Path) -> None:
    first = commit(project)
    listing = project / ".dvc" / "cache" / "files" / "md5" / first.data_hash[:2] / first.data_hash[2:]
    listing.chmod(0o644)
    listing.write_bytes(b"")
    second = commit(project)
    assert (second.commit_id, second.data_hash) == (first.commit_id, first.data_hash)
    assert "raw/batch.csv" in listing.read_text(encoding="utf-8")
    shutil.rmtree(project / "data")
    dvc(project, "checkout")
    assert (project / "data" / "raw" / "batch.csv").is_file()


def test_objects_that_a_killed_push_left_empty_in_a_folder_are_pushed_again(project: Path, tmp_path: Path) -> None:
    init_project_repository(project, remote=tmp_path / "remote")
    first = commit(project)
    objects = [path for path in (tmp_path / "remote").rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in objects}
    for path in objects:
        path.chmod(0o644)
        path.write_bytes(b"")
    (project / ".dvc" / "tmp" / "ftzard-pushing").write_text(first.data_hash)
    commit(project)
    assert {path: path.read_bytes() for path in objects} == contents
    assert not (project / ".dvc" / "tmp" / "ftzard-pushing").exists()


def test_files_that_dvcs_note_of_a_folder_lacks_after_a_full_disk_are_pushed_all_the_same(
    project: Path, tmp_path: Path
) -> None:
    init_project_repository(project, remote=tmp_path / "remote")
    commit(project, replace(DEFAULT, push_data=False))
    with open_dvc(project) as repo:
        # Once it is read, DVC keeps it for the push.
        assert [key for key, _ in repo.index.data["repo"].iteritems() if key[-1] == "batch.csv"]
        keys = [key for key, _ in repo.data_index.iteritems() if key[-1] == "batch.csv"]
        for key in keys:
            repo.data_index.delete_node(key)
        repo.data_index.commit()
    assert keys
    assert commit(project).pushed_data
    name = hashlib.md5((project / "data" / "raw" / "batch.csv").read_bytes(), usedforsecurity=False).hexdigest()
    assert (tmp_path / "remote" / "files" / "md5" / name[:2] / name[2:]).is_file()
