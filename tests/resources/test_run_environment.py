"""What stands in a run about the code, the machine and the libraries that made it."""

from pathlib import Path

from tests.project_scenario import git

from ftzard.resources.run_environment import code_state, hardware, library_versions

_ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@localhost")


def _with_code(project: Path) -> Path:
    (project / "train.py").write_text("one = 1\n", encoding="utf-8")
    (project / ".env.shared").write_text("TOKEN=one\n", encoding="utf-8")
    git(project, "add", "train.py", ".env.shared")
    git(project, *_ADA, "commit", "--quiet", "--message", "Code")
    return project


def test_clean_code_is_its_commit_and_branch(project: Path) -> None:
    state = code_state(_with_code(project), "data")
    assert (state.commit, state.branch) == (git(project, "rev-parse", "HEAD"), git(project, "branch", "--show-current"))
    assert not state.is_dirty
    assert state.diff == ""


def test_a_change_staged_or_not_is_in_the_diff_and_the_index_stays(project: Path) -> None:
    _with_code(project)
    (project / "train.py").write_text("one = 2\n", encoding="utf-8")
    git(project, "add", "train.py")
    (project / "train.py").write_text("one = 3\n", encoding="utf-8")
    index = (project / ".git" / "index").read_bytes()
    state = code_state(project, "data")
    assert state.is_dirty
    assert "+one = 3" in state.diff
    assert (project / ".git" / "index").read_bytes() == index


def test_what_ftzard_commits_is_no_change_of_the_code(project: Path) -> None:
    _with_code(project)
    (project / "data.dvc").write_text("outs: []\n", encoding="utf-8")
    git(project, "add", "data.dvc")
    assert not code_state(project, "data").is_dirty


def test_files_and_urls_with_secrets_do_not_get_into_the_diff(project: Path) -> None:
    _with_code(project)
    (project / ".env.shared").write_text("TOKEN=s3cret\n", encoding="utf-8")
    (project / "train.py").write_text("url = 'https://ada:s3cret@host/x'\n", encoding="utf-8")
    state = code_state(project, "data")
    assert state.is_dirty
    assert "host/x" in state.diff
    assert "s3cret" not in state.diff


def test_a_secret_that_was_meant_for_dvcs_local_configuration_does_not_get_into_the_diff(project: Path) -> None:
    _with_code(project)
    with (project / ".dvc" / "config").open("a", encoding="utf-8") as file:
        file.write("['remote \"store\"']\nurl = s3://bucket/x\nsecret_access_key = s3cret\n")
    (project / "train.py").write_text("changed = True\n", encoding="utf-8")
    state = code_state(project, "data")
    assert "changed = True" in state.diff
    assert "s3cret" not in state.diff


def test_a_large_diff_is_cut_and_says_so(project: Path) -> None:
    _with_code(project)
    (project / "train.py").write_text("".join(f"x = {number:0100d}\n" for number in range(9_000)), encoding="utf-8")
    (project / ".env.shared").write_text("", encoding="utf-8")
    for name in ("two.py", "three.py"):
        (project / name).write_text("".join(f"y = {number:0100d}\n" for number in range(9_000)), encoding="utf-8")
        git(project, "add", name)
    state = code_state(project, "data")
    assert len(state.diff) < 1_001_000
    assert "bytes are left out" in state.diff


def test_libraries_and_machine_are_named() -> None:
    assert {"python", "ftzard", "torch", "mlflow", "dvc"} <= library_versions().keys()
    assert int(hardware()["memory_bytes"]) > 0
