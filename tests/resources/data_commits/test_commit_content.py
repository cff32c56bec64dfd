"""What a data commit holds, who it is by, and what it leaves in the process."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.resources.data_scenario import DEFAULT, commit, dvc, files_in, git, status, write_data

from ftzard.config import VersioningConfig
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.versioning import DvcRepository

# What a commit holds


def test_a_commit_holds_the_pointer_of_the_data_and_the_ignore_line_and_nothing_else(project: Path) -> None:
    before = git(project, "rev-parse", "HEAD")
    made = commit(project)
    assert made.created
    assert made.commit_id == git(project, "rev-parse", "main")
    assert git(project, "rev-parse", "HEAD^") == before
    assert files_in(project) == [".gitignore", "data.dvc"]
    assert git(project, "show", "HEAD:.gitignore") == "*.tmp\n/data"
    assert git(project, "log", "-1", "--format=%s%n%an <%ae>") == "Data\nAda <ada@example.org>"
    assert not made.pushed_data
    assert not made.pushed_git


def test_the_next_commit_holds_the_pointer_alone(project: Path) -> None:
    first = commit(project)
    write_data(project, "two")
    second = commit(project)
    assert files_in(project) == ["data.dvc"]
    assert second.data_hash != first.data_hash
    assert git(project, "rev-parse", f"{second.commit_id}^") == first.commit_id


def test_the_data_hash_is_the_one_in_the_committed_pointer(project: Path) -> None:
    repository = DvcRepository(project, DEFAULT)
    assert repository.data_hash() is None
    made = commit(project)
    pointer = yaml.safe_load(git(project, "show", f"{made.commit_id}:data.dvc"))
    assert made.data_hash == pointer["outs"][0]["md5"] == repository.data_hash()
    assert repository.head() == made.commit_id


def test_a_commit_without_a_change_is_none(project: Path) -> None:
    first = commit(project)
    again = commit(project)
    assert again == replace(first, created=False)
    assert git(project, "rev-parse", "HEAD") == first.commit_id


def test_git_and_dvc_find_nothing_to_do_after_a_commit(project: Path) -> None:
    commit(project)
    assert status(project) == []
    # Without looking at the files again: the index is as `git commit` would have left it.
    git(project, "diff-index", "--quiet", "HEAD")
    assert "up to date" in dvc(project, "status")


def test_an_older_commit_brings_its_data_back_by_plain_git_and_dvc(project: Path) -> None:
    first = commit(project)
    write_data(project, "two")
    commit(project)
    git(project, "checkout", "--quiet", first.commit_id)
    dvc(project, "checkout")
    assert (project / "data/raw/batch.csv").read_text() == "one"
    assert status(project) == []


def test_names_may_hold_spaces_letters_of_any_script_and_what_is_special_in_patterns(project: Path) -> None:
    config = VersioningConfig(data_dir="more [1]/dät* a")
    path = project / "more [1]/dät* a/ünï cødé.csv"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    made = commit(project, config)
    assert made.created
    assert files_in(project) == ["more [1]/.gitignore", "more [1]/dät* a.dvc"]
    assert not commit(project, config).created
    path.unlink()
    dvc(project, "checkout")
    assert path.read_text() == "x"


# Who a commit is by


def test_whatever_else_is_in_the_commit_before_is_in_the_data_commit_too(project: Path) -> None:
    for name in ("data", "data.dvc.old", "data-1", "-x", "line\nbreak", "tab\there"):
        (project / "kept" / name).mkdir(parents=True)
        (project / "kept" / name / "file").write_text(name)
    (project / "kept" / "run.sh").write_text("true")
    (project / "kept" / "run.sh").chmod(0o755)
    (project / "kept" / "link").symlink_to("nowhere")
    (project / os.fsdecode(b"latin-\xe9")).write_text("not UTF-8")
    git(project, "add", "--all", "--", ":!data")
    # A submodule, whose commit is in another repository.
    git(project, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},kept/module")
    git(project, "commit", "--quiet", "--message", "All kinds")
    before = git(project, "ls-tree", "-r", "-z", "HEAD").split("\0")
    commit(project)
    after = git(project, "ls-tree", "-r", "-z", "HEAD").split("\0")
    own = (".gitignore", "data.dvc")
    assert [line for line in after if not line.endswith(own)] == [line for line in before if not line.endswith(own)]
    assert files_in(project) == [".gitignore", "data.dvc"]
    git(project, "fsck", "--strict", "--no-dangling")


def test_without_an_identity_the_commit_is_ftzards(project: Path, home: Path) -> None:
    (home / ".gitconfig").unlink()
    commit(project)
    assert git(project, "log", "-1", "--format=%an <%ae> %cn <%ce>") == " ".join(["FTzard <ftzard@localhost>"] * 2)


def test_an_identity_in_the_environment_is_the_persons(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".gitconfig").unlink()
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "grace@example.org")
    commit(project)
    assert git(project, "log", "-1", "--format=%an <%ae> %cn") == "Grace <grace@example.org> FTzard"


# Manners


def test_a_commit_writes_nothing_to_a_terminal_and_leaves_no_trace_in_the_process(
    project: Path, tmp_path: Path
) -> None:
    init_project_repository(project, remote=tmp_path / "store")
    script = textwrap.dedent("""
        import logging, os, sys
        from pathlib import Path
        from ftzard.config import VersioningConfig
        from ftzard.resources.versioning import DvcRepository

        assert "dvc" not in sys.modules
        # INFO, as in Dagster: the level of DVC's hints.
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("dvc").setLevel(logging.INFO)
        assert sys.stderr.isatty()
        logging.getLogger("ftzard").setLevel(logging.WARNING)
        before = dict(os.environ)
        DvcRepository(Path(sys.argv[1]), VersioningConfig()).commit("Quiet")
        assert dict(os.environ) == before
        assert logging.getLogger("dvc").level == logging.INFO
        assert logging.getLogger("dvc.progress").getEffectiveLevel() == logging.INFO
        print("done", file=sys.stderr)
    """)
    reader, terminal = os.openpty()
    done = subprocess.run([sys.executable, "-c", script, str(project)], stdout=terminal, stderr=terminal, check=False)
    os.close(terminal)
    seen = b""
    while chunk := _read(reader):
        seen += chunk
    os.close(reader)
    # Behind it colorama, which DVC imports, resets the terminal's colour when the process ends.
    assert (done.returncode, seen.decode().partition("done")[:2]) == (0, ("", "done"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how a terminal says that its other end is closed
        return b""


def test_variables_of_a_surrounding_git_command_do_not_lead_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", "elsewhere")
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(tmp_path / "elsewhere/.git"))
        hook.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/.git/index"))
        made = commit(project)
    assert git(project, "rev-parse", "HEAD") == made.commit_id
    assert status(project) == []
