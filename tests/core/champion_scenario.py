"""A model registry for what only asks who was champion."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from ftzard.core.champion_records import AdapterEvidence, RegisteredAdapter
from ftzard.core.records import AdapterDirectory


@dataclass
class Champions:
    """A model registry in memory, each version of which was champion in its turn."""

    champions: list[RegisteredAdapter] = field(default_factory=list)
    seen: dict[str, pl.DataFrame] = field(default_factory=dict)
    adapters: dict[str, AdapterDirectory] = field(default_factory=dict)

    def add(self, adapter: AdapterDirectory, seen: pl.DataFrame) -> RegisteredAdapter:
        """Make it the champion; `seen` is what it was trained on, `SEEN_SCHEMA`."""
        number = str(len(self.champions) + 1)
        version = RegisteredAdapter("toy", number, adapter.checksum, datetime.now(UTC), "run", "test")
        self.champions.append(version)
        self.seen[number], self.adapters[number] = seen, adapter
        return version

    def champion(self) -> RegisteredAdapter | None:
        """The last one."""
        return self.champions[-1] if self.champions else None

    def versions(self) -> tuple[RegisteredAdapter, ...]:
        """All of them, oldest first."""
        return tuple(self.champions)

    def evidence(self, registered: RegisteredAdapter) -> AdapterEvidence:
        """What a version was trained on."""
        return AdapterEvidence(pl.DataFrame(), self.seen[registered.version])

    def load(self, registered: RegisteredAdapter) -> AdapterDirectory:
        """The adapter of a version."""
        return self.adapters[registered.version]
