"""A test split grows on purpose: what is frozen, what waits for it, and `ftzard splits refreeze`.

The new test split goes into the data by one commit that says who wanted it and why. `splits` is stale by it, and where
a challenger then meets the champion on other test rows than before, the champion is scored on those first
(`ftzard.core.challenge`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.cleaning_answers import clean_for_task
from ftzard.core.frozen_test import FrozenTest, frozen_path, read_frozen
from ftzard.core.reading import read_batches
from ftzard.core.splitting import HELD_FOR_TEST, IN_TEST_SPLIT, drawn_anew, split
from ftzard.errors import FrozenTestError, TooFewExamplesError
from ftzard.label_store import labels_locked
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.file_changes import FileChanges, commit_file_changes
from ftzard.resources.git import person
from ftzard.resources.versioning import DvcRepository


@dataclass(frozen=True, eq=False)
class Refrozen:
    """What a refreeze did.

    Attributes:
        before: The test split until now.
        after: The test split from now on.
        commit: The data commit with it.
    """

    before: FrozenTest
    after: FrozenTest
    commit: DataCommit

    @property
    def num_added(self) -> int:
        """Rows that are new in it."""
        return _num_others(self.after, self.before)

    @property
    def num_dropped(self) -> int:
        """Rows that are in it no longer, because they are gone from the data."""
        return _num_others(self.before, self.after)


@dataclass(frozen=True, eq=False)
class SplitsStatus:
    """Where the splits of the labelled data stand, as the next materialization will make them.

    Attributes:
        frozen: None where the test split is not frozen yet, or grows.
        is_growing: Whether it is configured to grow.
        sizes: Rows of each split.
        quarantined: Rows by reason.
        num_gone: Frozen rows that are gone from the data.
        shortage: Why there can be no splits; None where there can.
    """

    frozen: FrozenTest | None
    is_growing: bool
    sizes: dict[str, int]
    quarantined: dict[str, int]
    num_gone: int
    shortage: str | None

    def lines(self) -> Iterator[str]:
        """The status for a person."""
        if self.is_growing:
            yield "The test split grows by itself (data.test_split=growing)."
        elif self.frozen is None:
            yield "The test split is not frozen yet; the first `ftzard materialize` freezes it."
        else:
            yield from (f"Test split: {freeze.sentence}" for freeze in self.frozen.freezes)
        if self.shortage:
            yield f"There can be no splits: {self.shortage}"
            return
        yield ", ".join(f"{name}: {rows}" for name, rows in self.sizes.items())
        if copies := self.quarantined.get(IN_TEST_SPLIT):
            yield f"{copies} row(s) are quarantined because they repeat a test row, exactly or nearly."
        if held := self.quarantined.get(HELD_FOR_TEST):
            yield f"{held} row(s) are held for the test split: `ftzard splits refreeze --reason TEXT` takes them in."
        if self.num_gone:
            yield f"{self.num_gone} frozen row(s) are gone from the data."


def splits_status(project_dir: Path, config: FtzardConfig) -> SplitsStatus:
    """Say what is frozen, and what of the labelled data is in which split.

    Raises:
        FtzardError: What there is cannot be read or cleaned.
    """
    frozen, examples = _frozen(project_dir, config), _examples(project_dir, config)
    num_gone = frozen.rows.join(examples, on="text_hash", how="anti").height if frozen else 0
    is_growing = config.data.test_split == "growing"
    try:
        made = split(examples, config.data, frozen.rows if frozen else None)
    except TooFewExamplesError as error:
        return SplitsStatus(frozen, is_growing, {}, {}, num_gone, error.what)
    sizes = {"train": made.train.height, "validation": made.validation.height, "test": made.test.height}
    reasons = dict(made.quarantined.group_by("reason").len().iter_rows())
    return SplitsStatus(frozen, is_growing, sizes, reasons, num_gone, None)


def refreeze(project_dir: Path, config: FtzardConfig, *, reason: str, now: datetime | None = None) -> Refrozen:
    """Freeze the test split anew by one data commit, all of it or nothing.

    Args:
        project_dir: The project folder.
        config: Says where things are and how examples are drawn.
        reason: Why, which is kept.
        now: When; the current time by default.

    Raises:
        FrozenTestError: Nothing is frozen, or the new test split would be the old one; nothing has changed.
        TooFewExamplesError: The data could not be split with it; nothing has changed.
        FtzardError: What there is cannot be read, or DVC or git refuses; nothing has changed.
    """
    repository = DvcRepository(project_dir, config.versioning)
    repository.check()
    with labels_locked(project_dir, config):
        before = _frozen(project_dir, config)
        if before is None:
            raise FrozenTestError(
                "there is no frozen test split"
                + (" (data.test_split=growing)" if config.data.test_split == "growing" else ""),
                fix="`ftzard materialize` freezes it at its first use, if data.test_split is `frozen`",
            )
        examples = _examples(project_dir, config)
        at, by = (now or datetime.now(UTC)).astimezone(UTC), person(project_dir)
        rows = drawn_anew(examples, config.data, before.rows)
        after = before.again(rows, why=" ".join(reason.split()), by=by, at=at)
        if after.current.fingerprint == before.current.fingerprint:
            raise FrozenTestError(
                f"the test split would be the same {rows.height} row(s) as before",
                fix="add labelled data first: a share of it is held for the test split (`ftzard splits status`)",
            )
        split(examples, config.data, after.rows)
        path = frozen_path(project_dir, config.versioning).relative_to(project_dir).as_posix()
        commit = commit_file_changes(repository, FileChanges({path: after.to_json()}, (), _message(before, after)))
    return Refrozen(before, after, commit)


def _frozen(project_dir: Path, config: FtzardConfig) -> FrozenTest | None:
    is_frozen = config.data.test_split == "frozen"
    return read_frozen(frozen_path(project_dir, config.versioning)) if is_frozen else None


def _examples(project_dir: Path, config: FtzardConfig) -> pl.DataFrame:
    return clean_for_task(read_batches(project_dir, config.data).examples, config.data).examples


def _num_others(one: FrozenTest, other: FrozenTest) -> int:
    return one.rows.join(other.rows, on="text_hash", how="anti").height


def _message(before: FrozenTest, after: FrozenTest) -> str:
    """Subject: what the test split is now; body: why, and which it was."""
    lines = [
        f"data: freeze the test split anew with {after.rows.height} rows",
        "",
        after.current.why,
        "",
        f"Refrozen-By: {after.current.by}",
        f"Test-Fingerprint: {after.current.fingerprint}",
        f"Test-Fingerprint-Before: {before.current.fingerprint}",
    ]
    return "\n".join(lines) + "\n"
