"""Data to a real S3-compatible server and back, without a credential in anything that is kept or told."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.resources.data_scenario import commit, dvc, git, isolate, write_data
from tests.s3_server import S3Server

from ftzard.cli import main
from ftzard.config import VersioningConfig
from ftzard.resources.push_queue import PushQueue

_KEY_ID = "AKIAPLANTEDKEYID0000"
_SECRET = "pl4nt3d-s3cr3t-k3y"  # noqa: S105 - planted, to be looked for
_ONCE = VersioningConfig(push_attempts=1)


@pytest.fixture(autouse=True)
def _machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", _KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", _SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # A server that is away is asked once.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path / "s3")
    yield server
    server.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As `ftzard init` makes it."""
    folder = tmp_path / "project"
    made = CliRunner().invoke(main, ["init", str(folder), "--remote", "s3://bucket/some/prefix"])
    assert made.exit_code == 0, made.output
    write_data(folder, "text,label\none,a\n")
    return folder


def use_endpoint(project: Path, server: S3Server) -> None:
    """As `dvc remote modify --local store endpointurl URL` does."""
    (project / ".dvc/config.local").write_text(f"['remote \"store\"']\n    endpointurl = {server.url}\n")


def pulled(project: Path, folder: Path, server: S3Server) -> str:
    """The batch as plain git and DVC bring it back in a clone."""
    git(folder.parent, "clone", "--quiet", str(project), folder.name)
    use_endpoint(folder, server)
    dvc(folder, "pull")
    return (folder / "data/raw/batch.csv").read_text()


def test_a_server_that_was_down_gets_the_data_later_and_plain_dvc_brings_it_back(
    project: Path, tmp_path: Path, server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    use_endpoint(project, server)
    first = commit(project, _ONCE)
    assert (first.created, first.pushed_data) == (True, False)
    assert "DVC could not push the data" in str(first.pending)
    write_data(project, "text,label\ntwo,b\n")
    commit(project, _ONCE)
    assert len(PushQueue(project / ".dvc/tmp").data()) == 2
    server.start("bucket")
    told = CliRunner().invoke(main, ["push", "--project", str(project)])
    assert "Pushed the data of 2 commit(s)." in told.output
    assert PushQueue(project / ".dvc/tmp").data() == []
    assert pulled(project, tmp_path / "clone", server) == "text,label\ntwo,b\n"
    git(tmp_path / "clone", "checkout", "--quiet", first.commit_id)
    dvc(tmp_path / "clone", "pull")
    assert (tmp_path / "clone/data/raw/batch.csv").read_text() == "text,label\none,a\n"
    assert not holds_credential(f"{first.pending} {caplog.text} {told.output}")
    assert planted_in(project) == []


def test_the_endpoint_may_come_from_the_environment_alone(
    project: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    made = commit(project, _ONCE)
    assert (made.pushed_data, made.pending) == (True, None)
    assert server.url not in (project / ".dvc/config").read_text()


def test_a_bucket_that_does_not_exist_stops_no_commit(project: Path, server: S3Server) -> None:
    server.start("another")
    use_endpoint(project, server)
    made = commit(project, _ONCE)
    assert made.created
    assert "bucket does not exist" in str(made.pending)
    assert not holds_credential(str(made.pending))


def planted_in(project: Path) -> list[str]:
    """Files that hold a credential, those of git's history as text included."""
    history = subprocess.run(["git", "log", "--all", "-p"], cwd=project, check=True, capture_output=True).stdout
    files = [path for path in project.rglob("*") if path.is_file()]
    held = [str(path) for path in files if holds_credential(path.read_bytes().decode(errors="replace"))]
    return held + (["git's history"] if holds_credential(history.decode(errors="replace")) else [])


def holds_credential(text: str) -> bool:
    return _SECRET in text or _KEY_ID in text
