"""`ftzard init`: a project of one's own, with a file of labelled texts in it that is known to be usable.

The project is made in a folder beside its place and moved there when it is complete, so that a failure leaves nothing.
"""

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.base_source import find_base_model
from ftzard.core.splitting import shortage, split
from ftzard.errors import (
    ConfigError,
    DataCommitError,
    FtzardError,
    NotAGitRepositoryError,
    OutputExistsError,
    SecretExposedError,
)
from ftzard.labelled_file import (
    AnswerColumns,
    LabelColumns,
    LabelledFile,
    doubts_about_labels,
    read_answer_file,
    read_labelled_file,
)
from ftzard.project_files import answer_conf_files, conf_files, configured_labels, readme
from ftzard.project_template import write_project
from ftzard.resources.credentials import holds_secret
from ftzard.resources.git import Git
from ftzard.resources.project_repository import missing_remote_package, outer_repository, refuse_unknown_remote

_NUM_SHOWN = 5
_COLUMNS = LabelColumns()
# `git@host:path`, which DVC would take for a folder.
_GIT_ADDRESS = re.compile(r"^[\w.-]+@[\w.-]+:|\.git/?$")
# What a repository begins with where it is made on a server, or by hand.
_BEGINNING = re.compile(r"(?i)\.git|\.gitignore|\.gitattributes|readme(\.\w+)?|licen[cs]e(\.\w+)?")
_PLACE = (
    "give a folder that does not exist yet, is empty, or is a new git repository, with no more than a README, a "
    "licence and a .gitignore, all of it committed"
)


@dataclass(frozen=True)
class NewProject:
    """A project that was made.

    Attributes:
        folder: Where it is.
        data: The labelled texts in it; None where none were given.
        notes: What the person should know before the first run, such as a package that is not installed.
    """

    folder: Path
    data: LabelledFile | None
    notes: tuple[str, ...]


def make_project(
    folder: Path,
    *,
    data: Path | None = None,
    columns: LabelColumns | AnswerColumns = _COLUMNS,
    remote: str | None = None,
) -> NewProject:
    """Make a project: git, DVC, configuration, folders, and what Dagster needs to open it.

    Args:
        folder: Where; it does not exist yet, is empty, or is a git repository of its own with no more than a README, a
            licence and a `.gitignore`, all of it committed. Its branch, its remotes and its README stay.
        data: A file with labelled texts, or with prompts and answers, of a kind that FTzard reads; it is copied.
        columns: Where in it what stands, and whether labels are learned or answers.
        remote: A folder or a URL to which DVC pushes the data; None for no remote.

    Raises:
        OutputExistsError: The folder holds something else.
        SecretExposedError: The remote's URL holds a password or a token.
        ConfigError: The two columns are one, or the remote is none that data can be pushed to.
        FtzardError: The data cannot be used: as `read_labelled_file` and `read_answer_file`.
    """
    folder = folder.expanduser().resolve()
    are_labels = isinstance(columns, LabelColumns)
    if isinstance(columns, LabelColumns) and (twice := {columns.text, columns.context}.intersection(columns.labels)):
        raise ConfigError(
            f"The texts and the labels are both to be read from the column {twice.pop()!r}",
            fix="name two columns, with --text and --label",
        )
    _check_place(folder)
    place = _remote_place(remote, folder)
    labelled, conf = _read_and_configured(folder.name, data, columns)
    with _made_beside(folder) as unfinished:
        text = readme(folder.name, has_data=data is not None, has_labels=are_labels)
        write_project(unfinished, {**conf, "README.md": text}, "Configure the project", remote=place)
        config = compose(project_dir=unfinished)
        _check_composed(config, columns, labelled)
        for name in (config.data.raw_dir, config.data.labelled_dir, config.data.incoming_dir):
            (unfinished / name).mkdir(parents=True, exist_ok=True)
        if labelled:
            shutil.copyfile(labelled.path, unfinished / config.data.raw_dir / labelled.path.name)
        notes = _notes(unfinished, config, labelled)
    return NewProject(folder, labelled, (*notes, *_place_notes(folder)))


def _read_and_configured(
    name: str, data: Path | None, columns: LabelColumns | AnswerColumns
) -> tuple[LabelledFile | None, dict[str, str]]:
    """The file, where there is one, and the `conf/` of a project of that name for such files."""
    if isinstance(columns, AnswerColumns):
        answered = read_answer_file(data, columns) if data else None
        return answered, answer_conf_files(name, columns, answered)
    labelled = read_labelled_file(data, columns) if data else None
    return labelled, conf_files(name, columns, labelled)


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputExistsError(f"{folder} is not a folder", fix=_PLACE)
    found = sorted(path.name for path in folder.iterdir())
    if found and not _is_new_repository(folder, found):
        is_project = (folder / "conf" / "config.yaml").is_file() or (folder / ".dvc").is_dir()
        more = f" and {len(found) - _NUM_SHOWN} more" if len(found) > _NUM_SHOWN else ""
        raise OutputExistsError(
            f"{folder} {'holds a project already' if is_project else 'is not empty'}; in it: "
            f"{', '.join(found[:_NUM_SHOWN])}{more}",
            fix=_PLACE,
        )


def _is_new_repository(folder: Path, names: list[str]) -> bool:
    if not (folder / ".git").is_dir() or not all(_BEGINNING.fullmatch(name) for name in names):
        return False
    try:
        git = Git.find(folder)
    except (DataCommitError, NotAGitRepositoryError):
        return False
    return git.top_level == folder and not git.run("status", "--porcelain")


def _remote_place(remote: str | None, folder: Path) -> Path | str | None:
    """The remote as DVC is to have it: a URL as it is, a folder by its absolute path."""
    if remote is None:
        return None
    if holds_secret(remote):
        raise SecretExposedError(
            "the URL of the remote holds a password or a token, and everybody who has the project could read it",
            fix="give the URL without it, and the secret by the environment or, in the project, by "
            "`dvc remote modify --local store OPTION VALUE`; then make the one that was typed here invalid",
        )
    if _GIT_ADDRESS.search(remote):
        raise ConfigError(
            f"--remote is where DVC pushes the data, and {remote!r} looks like a git repository",
            fix="give a folder or a URL such as s3://bucket/path; `git remote add origin URL` adds the other one later",
        )
    if "://" in remote:
        refuse_unknown_remote(remote)
        return remote
    place = Path(remote).expanduser().resolve()
    if place.is_relative_to(folder.resolve()) or (place.exists() and not place.is_dir()):
        raise ConfigError(
            f"the remote {place} is {'a file' if place.is_file() else 'inside the project that it is to keep safe'}",
            fix="give a folder outside of the project, at best on another disk",
        )
    return place


@contextmanager
def _made_beside(folder: Path) -> Iterator[Path]:
    """A folder to make the project in; it becomes `folder` at the end of the block, and is removed if that fails."""
    parent = folder
    while not parent.is_dir():
        parent = parent.parent
    unfinished = parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if parent == folder:
            shutil.copytree(folder, unfinished, symlinks=True, ignore=shutil.ignore_patterns(unfinished.name))
        else:
            unfinished.mkdir()
        yield unfinished
        if parent == folder:
            _move_content(unfinished, folder)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _move_content(source: Path, folder: Path) -> None:
    """Move what is in a folder up into the one that it lies in, which a shell may stand in; all of it or nothing.

    What has a name of theirs there goes aside, and in the end with the folder.
    """
    names = sorted(path.name for path in source.iterdir())
    aside = source / f"before-{uuid.uuid4().hex}"
    aside.mkdir()
    moves = [(folder / name, aside / name) for name in names if (folder / name).exists()]
    moves += [(source / name, folder / name) for name in names]
    done: list[tuple[Path, Path]] = []
    try:
        for path, target in moves:
            path.rename(target)
            done.append((path, target))
    except BaseException:
        for path, target in reversed(done):
            target.rename(path)
        raise


def _check_composed(config: FtzardConfig, columns: LabelColumns | AnswerColumns, labelled: LabelledFile | None) -> None:
    """Names from a file go through YAML and Hydra, which give some characters a meaning of their own."""
    wanted = columns.values
    if isinstance(columns, LabelColumns):
        wanted |= {"labels": configured_labels(labelled)}
    if odd := [key for key, value in wanted.items() if getattr(config.data, key) != value]:
        raise ConfigError(
            f"A name cannot be written into a configuration: {wanted[odd[0]]!r}, for data.{odd[0]}",
            fix="give columns and labels plain names in the file",
        )


def _notes(folder: Path, config: FtzardConfig, labelled: LabelledFile | None) -> tuple[str, ...]:
    """What would stop the first run, or makes it another one than the person may think."""
    notes = []
    try:
        find_base_model(config.model)
    except FtzardError as error:
        notes.append(f"{error.what}. To fix it: {error.fix}.")
    if missing := missing_remote_package(folder):
        notes.append(f"DVC cannot push yet: {missing}.")
    if labelled:
        notes += doubts_about_labels(labelled)
        if config.data.sample_fraction < 1:
            notes.append(
                f"The first experiment uses about {config.data.sample_fraction:.2%} of the {labelled.examples.height} "
                "examples, for a training of minutes; conf/experiment/first.yaml says how to take all."
            )
        try:
            told = shortage(split(labelled.examples, config.data), config.data)
        except FtzardError as error:
            notes.append(f"These are too few for a training: {error.what}. To fix it: {error.fix}.")
        else:
            notes += [f"{told[0].upper()}{told[1:]}."] if told else []
    return tuple(notes)


def _place_notes(folder: Path) -> list[str]:
    outer = outer_repository(folder)
    if outer is None:
        return []
    within = folder.relative_to(outer).as_posix()
    note = (
        f"The project is a git repository of its own inside of {outer}, which keeps none of its files: name /{within}/ "
        "in the .gitignore there and give the project a git remote of its own; or, to keep it there, remove "
        f"{within}/.git and commit {within}/ in {outer} before the first run."
    )
    return [note]
