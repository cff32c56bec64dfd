"""Files that arrive without labels: taken in once for each content, and never while they are still being written.

What is taken in is copied under the hash of its bytes, so that nothing later depends on a file that a person may
rename, change or delete. What cannot be read is moved aside with the reason beside it, and the others go on.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.batch_folder import files_below
from ftzard.core.batch_names import check_name, kind_of, printable, remedy_for
from ftzard.core.cleaning_questions import clean_unlabelled
from ftzard.core.file_digests import sha256_of
from ftzard.core.open_files import is_being_written, state_of
from ftzard.core.quarantine import unreadable_frame
from ftzard.core.reading import read_batch
from ftzard.core.records import Cleaned
from ftzard.errors import FtzardError, MalformedBatchError, StorageError

_logger = logging.getLogger(__name__)

# Where copies lie until they are done with, below the project folder.
STAGING_DIR: Final = ".ftzard/incoming"

_NUM_KEY_DIGITS: Final = 32
# What is configured for sets of labels alone has no place where there are none.
_WITHOUT_SETS: Final[Mapping[str, Any]] = {
    "label_separator": DataConfig.label_separator,
    "no_label": DataConfig.no_label,
    "label_columns": (),
}
_REASON_SUFFIX: Final = ".reason.txt"
# File systems take names of 255 bytes.
_MAX_STEM_BYTES: Final = 200
_MAX_SUFFIX_LENGTH: Final = 10
# Beside the copy: the name under which it arrived.
_NAME_FILE: Final = "arrived-as"


@dataclass(frozen=True)
class Sighting:
    """A file as it was last seen.

    Attributes:
        signature: Size, time of change in ns, inode: what changes when somebody writes.
        since_s: When it was first seen so, in seconds since the epoch.
        key: Its content key, once it was taken in.
    """

    signature: tuple[int, int, int]
    since_s: float
    key: str | None = None


@dataclass(frozen=True)
class Arrival:
    """A file that was taken in.

    Attributes:
        key: The first 32 hexadecimal digits of the SHA-256 of its bytes.
        name: POSIX path relative to the project folder, under which it was found.
        path: The copy.
    """

    key: str
    name: str
    path: Path


@dataclass(frozen=True)
class Rejection:
    """A file that cannot be read: its name, where it was moved, and why."""

    name: str
    moved_to: str
    reason: str


@dataclass(frozen=True)
class Intake:
    """What one look at the folder brought.

    Attributes:
        arrivals: Taken in now, by name.
        rejections: Moved aside now.
        waiting: Names of files that may still be being written.
        sightings: What to hand to the next look, by name.
    """

    arrivals: tuple[Arrival, ...]
    rejections: tuple[Rejection, ...]
    waiting: tuple[str, ...]
    sightings: Mapping[str, Sighting]


def take_in(
    project_dir: Path,
    config: DataConfig,
    staging_dir: Path,
    sightings: Mapping[str, Sighting],
    *,
    settle_s: float,
    now_s: float,
) -> Intake:
    """Look at `data.incoming_dir` once.

    A file is ready when it is as it was seen at least `settle_s` ago and nobody has it open for writing, as far as the
    file system tells. A content that was taken in before is an arrival again under each new name; the key says so.

    Args:
        project_dir: The project folder.
        config: Names the folders, and says how files are read and cleaned.
        staging_dir: Where the copies go, on the project's file system.
        sightings: What the last look left; files that are gone are forgotten.
        settle_s: In seconds.
        now_s: In seconds since the epoch.

    Raises:
        StorageError: A folder cannot be read or written.
    """
    arrivals: list[Arrival] = []
    rejections: list[Rejection] = []
    waiting: list[str] = []
    seen: dict[str, Sighting] = {}
    for path in sorted(files_below(project_dir, config.incoming_dir)):
        name = path.relative_to(project_dir).as_posix()
        sighting = _look_at(path, sightings.get(name), now_s)
        if sighting is None:
            continue
        seen[name] = sighting
        if sighting.key is not None:
            continue
        if now_s - sighting.since_s < settle_s or is_being_written(path):
            waiting.append(name)
            continue
        try:
            arrival = _stage(path, name, staging_dir, config)
        except FtzardError as error:
            if isinstance(error, StorageError):
                raise
            rejections.append(_move_aside(path, name, project_dir / config.rejected_dir, project_dir, str(error)))
            del seen[name]
        else:
            if arrival is None:
                waiting.append(name)
            else:
                arrivals.append(arrival)
                seen[name] = replace(sighting, key=arrival.key)
    return Intake(tuple(arrivals), tuple(rejections), tuple(waiting), seen)


def read_unlabelled(path: Path, name: str, config: DataConfig) -> Cleaned:
    """Read and clean a file without labels; a label column that it may have is not looked at.

    Rows that cannot be read are among those rejected, with their reason and what stands there: who asks about ten
    thousand texts gets an answer for all but the one that is none, and is told so. With more of them than
    `data.max_quarantined_fraction` it is the file that is refused.

    Args:
        path: The file; its suffix says what it is.
        name: What to call it.
        config: Says how to read and clean.

    Raises:
        FtzardError: As `read_batch` and `clean_unlabelled`.
    """
    rows, source = read_batch(path, name, _questions_alone(config), answered=False)
    cleaned = clean_unlabelled(rows.with_columns(label=pl.lit(None, pl.String)), config)
    unreadable = unreadable_frame(source.bad, name).select(
        pl.col("value").alias("text"), pl.lit(None, pl.String).alias("label"), "batch", "row", "reason"
    )
    return replace(cleaned, rejected=pl.concat([cleaned.rejected, unreadable]).sort("batch", "row"))


def _questions_alone(config: DataConfig) -> DataConfig:
    """The same, with the answer looked for where the question is, and nothing that would place it in a split."""
    config = replace(config, group_column=None, time_column=None)
    if config.has_labels:
        return replace(config, task="classification", label_column=config.text_column, **_WITHOUT_SETS)
    return replace(config, task="generation", completion_column=config.prompt_column)


def find_content(project_dir: Path, config: DataConfig, staging_dir: Path, key: str) -> tuple[Path, str]:
    """The file with a content: the copy that was taken in, or else the one in `data.incoming_dir`; and its name there.

    Raises:
        StorageError: There is neither.
    """
    folder = staging_dir / key
    if (copy := _copy_in(folder)) is not None and content_key(copy) == key:
        return copy, (folder / _NAME_FILE).read_text(encoding="utf-8")
    for path in sorted(files_below(project_dir, config.incoming_dir)):
        if content_key(path) == key:
            return path, path.relative_to(project_dir).as_posix()
    raise StorageError(
        f"no file in {config.incoming_dir} has the content {key}",
        fix="put the file there again; it is known by its content, not by its name",
    )


def forget_copy(staging_dir: Path, key: str) -> None:
    """Remove the copy of a content that is no longer needed."""
    shutil.rmtree(staging_dir / key, ignore_errors=True)


def content_key(path: Path) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of a file's bytes."""
    return sha256_of(path)[:_NUM_KEY_DIGITS]


def _copy_in(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("content.*"))), None)


def _look_at(path: Path, before: Sighting | None, now_s: float) -> Sighting | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    signature = state_of(status)
    return before if before is not None and before.signature == signature else Sighting(signature, now_s)


def _stage(path: Path, name: str, staging_dir: Path, config: DataConfig) -> Arrival | None:
    """Copy a file under its content key and see that it can be read; None when it changed meanwhile."""
    kind = kind_of(path.name)
    if kind is None:
        raise MalformedBatchError(f"{printable(name)} is of a kind that is not read here", fix=remedy_for(path.name))
    check_name(name)
    incomplete = staging_dir / f".{os.getpid()}.incomplete"
    shutil.rmtree(incomplete, ignore_errors=True)
    try:
        incomplete.mkdir(parents=True)
        copy = incomplete / f"content{kind.suffix}"
        shutil.copyfile(path, copy)
        key = content_key(copy)
        if content_key(path) != key:
            return None
        (incomplete / _NAME_FILE).write_text(name, encoding="utf-8")
        read_unlabelled(copy, name, config)
        return _keep(incomplete, copy.name, staging_dir, key, name)
    except FileNotFoundError:
        return None  # Taken away while it was copied.
    except OSError as error:
        raise StorageError(
            f"{name} cannot be taken in: {error.strerror or error}", fix="look at the permissions and the free space"
        ) from error
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


def _keep(incomplete: Path, file_name: str, staging_dir: Path, key: str, name: str) -> Arrival:
    folder = staging_dir / key
    # The same content under another name or suffix: what is there stays, so that a run that reads it is not disturbed.
    if not folder.exists():
        incomplete.rename(folder)
        return Arrival(key, name, folder / file_name)
    return Arrival(key, name, _copy_in(folder) or folder / file_name)


def _move_aside(path: Path, name: str, rejected_dir: Path, project_dir: Path, reason: str) -> Rejection:
    """Move a file into the folder for rejected ones, under a name that is free there, with the reason beside it."""
    shown = printable(name)
    try:
        rejected_dir.mkdir(parents=True, exist_ok=True)
        target = _free_target(rejected_dir, path.name)
        # The reason first: whatever interrupts this, a file in that folder has one.
        with target.with_name(target.name + _REASON_SUFFIX).open("x", encoding="utf-8") as file:
            file.write(f"{shown}\n{reason}\n")
        path.rename(target)
    except OSError as error:
        raise StorageError(
            f"{shown} cannot be read and cannot be moved to {rejected_dir}: {error.strerror or error}",
            fix="look at the permissions of both folders",
        ) from error
    moved_to = printable(target.relative_to(project_dir).as_posix())
    _logger.warning("%s was moved to %s: %s", shown, moved_to, reason)
    return Rejection(shown, moved_to, reason)


def _free_target(folder: Path, name: str) -> Path:
    """A place for a file of that name and for its reason; a name that leaves no room for that is cut."""
    suffix = kind.suffix if (kind := kind_of(name)) else Path(name).suffix[:_MAX_SUFFIX_LENGTH]
    stem = os.fsdecode(os.fsencode(name.removesuffix(name[len(name) - len(suffix) :]))[:_MAX_STEM_BYTES])
    number = 0
    target = folder / f"{stem}{suffix}"
    # A link that leads nowhere is there as well, and would be written through.
    while os.path.lexists(target) or os.path.lexists(target.with_name(target.name + _REASON_SUFFIX)):
        number += 1
        target = folder / f"{stem}-{number}{suffix}"
    return target
