"""The wrapper around git: what it reads, what it refuses, and what it never shows."""

import os
import string
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.errors import DataCommitError, NotAGitRepositoryError
from ftzard.resources.git import Git, call_git, redact

_PLAIN = st.text(string.ascii_letters + string.digits + "%:@.-_!$", min_size=1)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EMAIL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(folder)], check=True)
    return folder


def test_a_repository_is_found_from_a_subfolder_and_through_a_link(repository: Path, tmp_path: Path) -> None:
    (repository / "a b" / "ü").mkdir(parents=True)
    (tmp_path / "link").symlink_to(repository)
    assert Git.find(repository / "a b" / "ü") == Git.find(tmp_path / "link") == Git(repository.resolve())


def test_a_folder_outside_a_repository_is_told_git_init(tmp_path: Path) -> None:
    with pytest.raises(NotAGitRepositoryError, match="not inside the work tree") as caught:
        Git.find(tmp_path)
    assert f"`git init {tmp_path}`" in caught.value.fix


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAGitRepositoryError, match="does not exist"):
        Git.find(tmp_path / "missing")


def test_a_bare_repository_is_no_work_tree(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bare")], check=True)
    with pytest.raises(NotAGitRepositoryError):
        Git.find(tmp_path / "bare")


def test_a_repository_of_another_user_is_an_error_with_gits_remedy(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(DataCommitError, match="belongs to another user") as caught:
        Git.find(repository)
    assert f"safe.directory {repository}" in caught.value.fix


def test_a_failing_command_is_an_error_with_gits_own_words(repository: Path) -> None:
    with pytest.raises(DataCommitError, match="exit code 128: fatal: Not a valid object name nothing"):
        Git(repository).run("cat-file", "-p", "nothing")


def test_messages_are_english_whatever_the_persons_language(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert "not a git repository" in call_git(repository.parent, "status").stderr


def test_a_call_that_does_not_end_is_stopped_with_all_it_started(repository: Path) -> None:
    # The alias is a shell whose child keeps the output open: only the group's end lets the call return.
    with pytest.raises(DataCommitError, match=r"did not end within 0\.3 s"):
        Git(repository).attempt("-c", "alias.hang=!sleep 30 & sleep 30", "hang", timeout_s=0.3)
    # The system takes a moment to end what was killed; what was not killed sleeps for longer.
    for _ in range(100):
        if "sleep\0" + "30" not in _command_lines_in(repository):
            break
        time.sleep(0.05)
    else:
        pytest.fail("what git had started still runs")


def _command_lines_in(folder: Path) -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                lines.append((process / "cmdline").read_text().strip("\0"))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return lines


def test_a_path_with_pattern_characters_is_a_path(repository: Path) -> None:
    for name in ("a*", "ab"):
        (repository / name).touch()
    Git(repository).run("add", "--", "a*")
    assert Git(repository).run("ls-files") == "a*"


def test_blobs_come_back_byte_for_byte(repository: Path) -> None:
    content = bytes(range(256)) + b"\r\n\n"
    git = Git(repository)
    assert git.read_blob(git.write_blob(content, "file")) == content


def test_before_the_first_commit_there_is_a_branch_and_no_commit(repository: Path) -> None:
    git = Git(repository)
    assert (git.current_branch(), git.commit_at("HEAD")) == ("refs/heads/main", None)
    git.run("commit", "--allow-empty", "--message", "First", variables=git.identity())
    head = git.commit_at("HEAD")
    assert head == git.commit_at("refs/heads/main") == git.run("rev-parse", "HEAD")
    git.run("checkout", "--quiet", "--detach")
    assert git.current_branch() is None


def test_an_identity_stands_in_only_where_the_person_has_none(repository: Path) -> None:
    git = Git(repository)
    assert git.identity()["GIT_AUTHOR_EMAIL"] == git.identity()["GIT_COMMITTER_EMAIL"] == "ftzard@localhost"
    git.run("config", "user.name", "Ada")
    git.run("config", "user.email", "ada@example.org")
    assert git.identity() == {}


@given(user=_PLAIN, password=_PLAIN)
def test_no_credential_survives_redaction(user: str, password: str) -> None:
    text = f"fatal: unable to access 'https://{user}:{password}@host.example/a/b.git/': gone"
    assert redact(text) == "fatal: unable to access 'https://***@host.example/a/b.git/': gone"


@pytest.mark.parametrize("text", ["git@host:a/b.git", "https://host/a@b", "a plain message"])
def test_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
