"""Labels that somebody took out of a project: the record that stays, and what of them an adapter has seen.

The labels themselves are gone from the data. What stays is who took out what, when and why, and the hashes of the texts
whose label is therefore another one or none: without those nobody could tell which adapters were trained on them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl
import pydantic.dataclasses
from pydantic import AwareDatetime, ConfigDict, NonNegativeInt

from ftzard.config import VersioningConfig
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.documents import JsonDocument
from ftzard.core.versions import fingerprint
from ftzard.errors import StorageError

_FOLDER: Final = "forgotten"
_SUFFIX: Final = ".json"


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Forgetting(JsonDocument):
    """What was taken out at one time.

    Attributes:
        at: When, in UTC.
        kind: `annotator`: what one person said. `batch`: a file of labelled rows.
        name: The annotator, or the file's POSIX path relative to the project folder.
        num_labels: How many labels the files had that are gone.
        text_hashes: Sorted: of every example that had another label before, or has none since.
        by: Who took them out.
        why: Why, in words; empty where nobody said.
    """

    at: AwareDatetime
    kind: Literal["annotator", "batch"]
    name: str
    num_labels: NonNegativeInt
    text_hashes: tuple[str, ...]
    by: str
    why: str

    @property
    def file_name(self) -> str:
        """What its file is called; in the order of time."""
        return f"{self.at:%Y%m%dT%H%M%S.%fZ}{_SUFFIX}"

    def to_json(self) -> str:
        """The record as `read_forgettings` reads it."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @property
    def sentence(self) -> str:
        """The record for a person."""
        because = f": {self.why}" if self.why else ""
        what = f"{self.num_labels} label(s) of the {self.kind} {self.name}"
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC, {self.by} took out {what}{because}"


@dataclass(frozen=True, eq=False)
class ForgottenLabels:
    """What was ever taken out, beside what is labelled now.

    Attributes:
        forgettings: Oldest first.
        labelled: `text_hash` of every example there is.
    """

    forgettings: tuple[Forgetting, ...]
    labelled: pl.Series

    def num_seen_by(self, adapter: RegisteredAdapter, seen: pl.Series) -> int:
        """Count the examples that an adapter was trained on with a label that was taken out.

        Of what was taken out after it was registered these are all that it has seen, also where the text has a label
        again: it was trained on the other one. Of what was taken out before, those that are still without a label: its
        training had begun already, or it took splits from before.

        Args:
            adapter: A version.
            seen: `text_hash` of every example that its weights have seen.
        """
        here = set(self.labelled)
        forgotten = {
            text_hash
            for forgetting in self.forgettings
            for text_hash in forgetting.text_hashes
            if forgetting.at > adapter.created_at or text_hash not in here
        }
        return len(forgotten & set(seen))


def forgotten_folder(project_dir: Path, config: VersioningConfig) -> Path:
    """Where a project keeps its records; it need not exist."""
    return project_dir / config.data_dir / _FOLDER


def read_forgettings(folder: Path) -> tuple[Forgetting, ...]:
    """Read all records, oldest first.

    Args:
        folder: It need not exist.

    Raises:
        StorageError: A file holds no record.
    """
    found = []
    for path in sorted(path for path in folder.glob(f"*{_SUFFIX}") if not path.name.startswith(".")):
        try:
            found.append(Forgetting.from_dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path} holds no record of labels that were taken out: {error}",
                fix="restore the file with `dvc checkout`",
            ) from error
    return tuple(found)


def forgettings_version(forgettings: Iterable[Forgetting]) -> str:
    """The version of what was taken out; empty where nothing was."""
    records = [forgetting.to_dict() for forgetting in forgettings]
    return fingerprint(records) if records else ""
