"""The frozen test split: which texts are in it, since when and why; and what that means for everything else.

It is kept as a file of the data folder, committed with the data that it is part of. The texts are in it and not only
their hashes, because what nearly repeats one has to be found also when the row itself is gone from the data. So:

- A row whose label somebody corrects stays, with the new label; the test split has another fingerprint then, and the
  champion is scored anew.
- A row that is gone from the data (its batch was deleted or forgotten, or a later one contradicts its label) is missing
  in the test split and counted; its copies are still kept out of training. If the text comes back, so does the row.
- `ftzard splits refreeze` drops what is gone, and takes in what was drawn for the test split since.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pydantic.dataclasses
from pydantic import AwareDatetime, ConfigDict, NonNegativeInt

from ftzard.config import VersioningConfig
from ftzard.core.annotation_store import write_whole
from ftzard.core.cleaning import hash_texts
from ftzard.core.documents import JsonDocument
from ftzard.core.versions import fingerprint
from ftzard.errors import StorageError

FROZEN_SCHEMA: Final = pl.Schema({"text_hash": pl.String, "text": pl.String})

_FOLDER: Final = "test_split"
_NAME: Final = "frozen.json"


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Freeze(JsonDocument):
    """One time that the test split was frozen.

    Attributes:
        fingerprint: Of the texts; labels may be corrected.
        num_rows: How many texts.
        why: The reason; empty for the first time.
        by: Who did it; empty for the first time, which is when `splits` is materialized.
        at: When, in UTC; None for the first time, which the data commit dates.
    """

    fingerprint: str
    num_rows: NonNegativeInt
    why: str = ""
    by: str = ""
    at: AwareDatetime | None = None

    @property
    def sentence(self) -> str:
        """The record for a person."""
        what = f"{self.num_rows} row(s), fingerprint {self.fingerprint[:12]}"
        if self.at is None:
            return f"frozen at its first use: {what}"
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC, {self.by} froze it anew: {what}: {self.why}"


@dataclass(frozen=True, eq=False)
class FrozenTest:
    """A frozen test split.

    Attributes:
        freezes: Every time that it was frozen, oldest first; at least one.
        rows: `FROZEN_SCHEMA`, sorted by `text_hash`, as of the last time.
    """

    freezes: tuple[Freeze, ...]
    rows: pl.DataFrame

    @classmethod
    def first(cls, rows: pl.DataFrame) -> "FrozenTest":
        """Freeze for the first time.

        Args:
            rows: With the columns of `FROZEN_SCHEMA`.
        """
        rows = _in_order(rows)
        return cls((Freeze(text_fingerprint(rows), rows.height),), rows)

    def again(self, rows: pl.DataFrame, *, why: str, by: str, at: AwareDatetime) -> "FrozenTest":
        """Freeze anew.

        Args:
            rows: With the columns of `FROZEN_SCHEMA`.
            why: The reason.
            by: Who.
            at: When, in UTC.
        """
        rows = _in_order(rows)
        return FrozenTest((*self.freezes, Freeze(text_fingerprint(rows), rows.height, why, by, at)), rows)

    @property
    def current(self) -> Freeze:
        """The last time."""
        return self.freezes[-1]

    @property
    def refreeze_version(self) -> str:
        """What a person decided since the first time; empty for nothing, because the first time follows from the data.

        Whoever reads it becomes stale by a refreeze and by nothing else.
        """
        return fingerprint([freeze.to_dict() for freeze in self.freezes[1:]]) if len(self.freezes) > 1 else ""

    def to_json(self) -> str:
        """The file's content: a line for each row, so that what differs between two can be read."""
        freezes = json.dumps([freeze.to_dict() for freeze in self.freezes], ensure_ascii=False, indent=1)
        rows = ",\n".join(json.dumps([*row], ensure_ascii=False) for row in self.rows.iter_rows())
        return f'{{"freezes": {freezes},\n"rows": [\n{rows}\n]}}\n'


def frozen_path(project_dir: Path, config: VersioningConfig) -> Path:
    """Where a project keeps its frozen test split; it need not exist."""
    return project_dir / config.data_dir / _FOLDER / _NAME


def read_frozen(path: Path) -> FrozenTest | None:
    """Read it; None where nothing is frozen yet.

    Raises:
        StorageError: The file is damaged or was edited, or lies where pipelines with a prefix kept it once.
    """
    if not path.exists():
        if before := sorted(path.parent.glob(f"*/**/{_NAME}")):
            raise StorageError(
                f"the frozen test split is expected at {path}, and lies at {before[0]}, below a prefix of asset keys, "
                "which says nothing to a project any more",
                fix="move it there; without it, texts that the champion was judged on would be trained on",
            )
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        freezes = tuple(Freeze.from_dict(freeze) for freeze in content["freezes"])
        rows = pl.DataFrame(content["rows"], schema=FROZEN_SCHEMA, orient="row")
        is_sound = bool(freezes) and freezes[-1].fingerprint == text_fingerprint(rows)
        if not is_sound or not hash_texts(rows["text"]).equals(rows["text_hash"]):
            message = "its rows are not those of its fingerprint"
            raise ValueError(message)  # noqa: TRY301 - the caller is told the same way as of any other damage
    except (OSError, ValueError, LookupError, TypeError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{path} holds no frozen test split: {error}",
            fix="restore the file with `dvc checkout`; it is changed by `ftzard splits refreeze` only",
        ) from error
    return FrozenTest(freezes, rows)


def write_frozen(path: Path, frozen: FrozenTest) -> None:
    """Keep it, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    write_whole(path, frozen.to_json().encode(), replace=True)


def text_fingerprint(rows: pl.DataFrame) -> str:
    """Identify texts: SHA-256, in hexadecimal, of their sorted `text_hash`."""
    return fingerprint(rows["text_hash"].sort().to_list())


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(FROZEN_SCHEMA.names()).sort("text_hash")
