"""What every new project begins with: git, DVC, Dagster's settings and a choice among FTzard's configuration.

`ftzard init` and `ftzard demo` both make their projects here, and add what is their own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from ftzard.composition import bundled_conf_dir
from ftzard.dagster_instance import DAGSTER_YAML
from ftzard.resources.data_commit import Edit, commit_edits
from ftzard.resources.git import Git
from ftzard.resources.project_repository import init_git, init_project_repository

CONFIG = "conf/config.yaml"

_GITIGNORE = ".gitignore"
_ENVIRONMENT = ".env"
_FILES: Mapping[str, str] = {
    _GITIGNORE: """\
/data
/.dagster/*
!/.dagster/dagster.yaml
/.ftzard/
/dvc-remote/
/mlartifacts/
/mlflow.db*
/.env
/.tmp_dagster_home_*
__pycache__/
""",
    "pyproject.toml": """\
# Lets a bare `dagster dev` in this folder load the pipeline.
[tool.dagster]
module_name = "ftzard.definitions"
""",
    ".dagster/dagster.yaml": DAGSTER_YAML,
    _ENVIRONMENT: """\
# Dagster reads this file in the folder that it is started in. git ignores it, so that secrets can stand here too.
DAGSTER_HOME=${PWD}/.dagster
""",
}


def primary_config(choices: Mapping[str, str]) -> str:
    """FTzard's own primary configuration, with other choices for some of its groups.

    Args:
        choices: An option for each group that departs, such as `{"experiment": "demo"}`.
    """
    text = (bundled_conf_dir() / "config.yaml").read_text(encoding="utf-8")
    for group, option in choices.items():
        text = re.sub(rf"^(  - {re.escape(group)}):.*$", rf"\1: {option}", text, flags=re.MULTILINE)
    return text


def write_project(folder: Path, files: Mapping[str, str], message: str, *, remote: Path | str | None) -> None:
    """Make a folder a git repository of its own with DVC and the files of a project, all of them committed.

    What is there already stays as it is, so that a call that was killed can be repeated; a `.gitignore` gets the lines
    that it lacks.

    Args:
        folder: The project folder; made if missing. It may lie in somebody's repository.
        files: Content by path, on top of what every project has; written in this order and first.
        message: Of the commit.
        remote: As for `init_project_repository`.

    Raises:
        NotAGitRepositoryError: git is not installed.
        DataCommitError: git or DVC refused.
    """
    contents = {**files, **_FILES}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            path.write_text(content, encoding="utf-8")
    # A new one is in the first commit, which DVC's files need.
    kept = {_ENVIRONMENT} if _ignore(folder / _GITIGNORE) else {_ENVIRONMENT, _GITIGNORE}
    init_git(folder)
    init_project_repository(folder, remote=remote)
    edits = {name: _becomes((folder / name).read_bytes()) for name in contents if name not in kept}
    commit_edits(Git.find(folder), None, edits, message)


def _ignore(path: Path) -> bool:
    """Add to a `.gitignore` that somebody brought what a project's has; whether there was something to add."""
    content = path.read_bytes()
    missing = [line for line in _FILES[_GITIGNORE].encode().splitlines() if line not in content.splitlines()]
    if missing:
        separator = b"" if content.endswith(b"\n") or not content else b"\n"
        path.write_bytes(content + separator + b"\n".join(missing) + b"\n")
    return bool(missing)


def _becomes(content: bytes) -> Edit:
    return lambda _: content
