"""What is known of registered adapters and of who made which of them champion."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl
import pydantic.dataclasses
from pydantic import AwareDatetime, ConfigDict

from ftzard.core.documents import JsonDocument

# One answer that an example was trained on with. `example_hash` is that of text and answer together; null in what was
# registered before it was kept.
SEEN_SCHEMA: Final = pl.Schema({"text_hash": pl.String(), "example_hash": pl.String()})


@dataclass(frozen=True)
class RegisteredAdapter:
    """A version in the model registry.

    Attributes:
        name: The registered model.
        version: The registry's number of the version.
        checksum: The adapter's content version.
        created_at: When it was registered, in UTC.
        run_id: The MLflow run that holds the adapter and the evidence.
        test_fingerprint: Of the test split that it was judged on.
    """

    name: str
    version: str
    checksum: str
    created_at: datetime
    run_id: str
    test_fingerprint: str


@dataclass(frozen=True)
class AdapterEvidence:
    """What a version was judged on, so that a later challenger can be compared with it row by row.

    Attributes:
        predictions: `prediction_schema`, one row per test example of its time.
        seen: `SEEN_SCHEMA`, sorted: every example that its weights have seen. For one that was trained on from a
            champion, the champion's too, of each text what was seen last.
    """

    predictions: pl.DataFrame
    seen: pl.DataFrame

    @property
    def train_hashes(self) -> pl.Series:
        """`text_hash` of every example that its weights have seen: String, sorted, without duplicates."""
        return self.seen["text_hash"].unique().sort()


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AliasMove(JsonDocument):
    """One move of the alias `champion`.

    Attributes:
        at: When, in UTC.
        kind: `promotion` by the gate, or `rollback` by a person.
        from_version: The champion until then; None where there was none.
        to_version: The champion from then on.
        by: Who moved it.
        why: Why, in words.
    """

    at: AwareDatetime
    kind: Literal["promotion", "rollback"]
    from_version: str | None
    to_version: str
    by: str
    why: str
