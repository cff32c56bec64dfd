"""No secret gets into a log, an event, a tag, an artifact or an error: planted ones are looked for in all of them."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.project_scenario import TINY, failure_of, git

from ftzard.materialization import materialize

_SECRET = "s3cr3t-t0k3n-0f-th3-p3rs0n"  # noqa: S105 - planted, to be looked for
# Where the person put it, or git did; nothing of FTzard's.
_THE_PERSONS_OWN = {".git/config", ".dvc/config.local"}
_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "OPENAI_API_KEY",
)


def _files_with_the_secret(project: Path) -> Iterator[str]:
    for path in project.rglob("*"):
        name = path.relative_to(project).as_posix()
        if path.is_file() and name not in _THE_PERSONS_OWN and _SECRET.encode() in path.read_bytes():
            yield name


def _plant(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.setenv(name, _SECRET)
    local = f"['remote \"archive\"']\nurl = webdavs://localhost/archive\npassword = {_SECRET}\n"
    (project / ".dvc" / "config.local").write_text(local, encoding="utf-8")
    git(project, "remote", "add", "origin", f"https://ada:{_SECRET}@localhost:9/none.git")


def test_a_run_beside_secrets_keeps_none_of_them(
    tracked_project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _plant(tracked_project, monkeypatch)
    (tracked_project / ".env").write_text(f"TOKEN={_SECRET}\n", encoding="utf-8")
    with caplog.at_level(logging.DEBUG):
        materialize(tracked_project, TINY)
    assert list(_files_with_the_secret(tracked_project)) == [".env"]
    assert _SECRET not in caplog.text


def test_a_push_to_a_url_with_a_secret_fails_without_telling_it(
    tracked_project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _plant(tracked_project, monkeypatch)
    with caplog.at_level(logging.DEBUG):
        error = failure_of(tracked_project, "versioning.git_remote=origin")
    assert "origin" in str(error)
    assert _SECRET not in str(error)
    assert _SECRET not in caplog.text
    assert list(_files_with_the_secret(tracked_project)) == []


@pytest.mark.parametrize(
    "override",
    [
        f"tracking.tracking_uri=https://ada:{_SECRET}@localhost:9",
        f"tuning.storage=postgresql://ada:{_SECRET}@localhost:9/db",
        f"tuning.storage=postgresql://localhost:9/db?user=ada&password={_SECRET}",
    ],
)
@pytest.mark.parametrize("is_well_formed", [True, False])
def test_a_configuration_with_a_password_is_refused_without_telling_it(
    project: Path, override: str, *, is_well_formed: bool
) -> None:
    key, _, value = override.partition("=")
    # Quotes around all of it are a mistake that is easily made.
    override = f"{key}='{value}'" if is_well_formed else f"'{override}'"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from ftzard.cli import main; main()", "config", override],
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert key in done.stderr
    assert ("must not hold a password" in done.stderr) is is_well_formed
    assert _SECRET not in done.stdout + done.stderr
