"""What is trained on, and from where, when there is a champion and examples were added since.

Which examples are new is a question about a champion, the *predecessor*. It is the current one, unless that was trained
on all of these examples already: then it is the one that it followed. So the same examples always give the same
adapter, also after that adapter has become champion itself. Weights that have seen labels that were taken out since are
never gone on from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from ftzard.core.adapter_documents import SPLITS_KEY, read_manifest
from ftzard.core.champion_records import AdapterEvidence, RegisteredAdapter
from ftzard.core.replay import replayed
from ftzard.core.seen_examples import new_to, seen_in, with_earlier
from ftzard.errors import RegistryVersionError

if TYPE_CHECKING:
    from ftzard.config import RetrainingConfig, TrainingConfig
    from ftzard.core.forgetting import ForgottenLabels
    from ftzard.core.records import AdapterDirectory

# Where an adapter's manifest names the checksum of its predecessor, among its provenance.
PREDECESSOR_KEY: Final = "predecessor"
# Where it says how many labels, taken out since, that predecessor was trained on; absent where none.
FORGOTTEN_KEY: Final = "predecessor.forgotten"


class Lineage(Protocol):
    """What is asked of the model registry; see `ftzard.resources.registry.AdapterRegistry`."""

    def champion(self) -> RegisteredAdapter | None:
        """The version that serves."""

    def versions(self) -> tuple[RegisteredAdapter, ...]:
        """Every version, oldest first."""

    def evidence(self, registered: RegisteredAdapter) -> AdapterEvidence:
        """What a version was trained and judged on."""

    def load(self, registered: RegisteredAdapter) -> "AdapterDirectory":
        """The adapter of a version."""


@dataclass(frozen=True, eq=False)
class Predecessor:
    """The champion that a training follows.

    Attributes:
        adapter: The version.
        seen: `SEEN_SCHEMA`: every example that its weights have seen.
        num_forgotten: How many of them it saw with a label that was taken out since.
    """

    adapter: RegisteredAdapter
    seen: pl.DataFrame
    num_forgotten: int = 0

    @property
    def provenance(self) -> dict[str, str]:
        """What the manifest of an adapter that follows it says of it."""
        forgotten = {FORGOTTEN_KEY: str(self.num_forgotten)} if self.num_forgotten else {}
        return {PREDECESSOR_KEY: self.adapter.checksum, **forgotten}


@dataclass(frozen=True, eq=False)
class RetrainingPlan:
    """What is trained on.

    Attributes:
        examples: `EXAMPLE_SCHEMA`, sorted by `text_hash`; new examples as often as is configured.
        num_new: Examples that the predecessor was not trained on, or with another label; 0 where there is none.
        num_old: The other examples that are in it.
        continues: Whether it goes on from the predecessor's weights.
        num_forgotten: Labels for whose sake it does not, although it is configured to: the predecessor was trained on
            them, and they were taken out since.
    """

    examples: pl.DataFrame
    num_new: int
    num_old: int
    continues: bool
    num_forgotten: int = 0

    @property
    def sentence(self) -> str:
        """What is trained on, in words."""
        start = "the champion's weights" if self.continues else "the base model"
        if self.num_forgotten:
            start += f" (the champion's weights have seen {self.num_forgotten} label(s) that were taken out since)"
        times = (self.examples.height - self.num_old) // self.num_new if self.num_new else 1
        repeated = f", each {times} times" if times > 1 else ""
        return f"from {start} on {self.num_new} new example(s){repeated} and {self.num_old} old one(s)"


@dataclass(frozen=True, eq=False)
class TrainingStart:
    """Where a training starts from.

    Attributes:
        plan: What is trained on.
        predecessor: The champion that it follows; None where there is none.
        initial: The adapter whose weights it goes on from; None: a fresh one.
    """

    plan: RetrainingPlan
    predecessor: Predecessor | None
    initial: "AdapterDirectory | None"


def training_start(
    train: pl.DataFrame,
    config: "TrainingConfig",
    lineage: Lineage | None,
    forgotten: "ForgottenLabels | None" = None,
    *,
    task: str = "classification",
) -> TrainingStart:
    """Decide what a training is to see, and from which weights it starts.

    Args:
        train: `EXAMPLE_SCHEMA`, distinct texts.
        config: Its `retraining` and its seed.
        lineage: The model registry; None where there is none.
        forgotten: What was taken out; None: nothing.
        task: As for `retraining_plan`.
    """
    before = find_predecessor(train, lineage, forgotten) if lineage else None
    seen, num_forgotten = (before.seen, before.num_forgotten) if before else (None, 0)
    plan = retraining_plan(train, seen, config.retraining, config.seed, num_forgotten, task=task)
    initial = lineage.load(before.adapter) if lineage and before and plan.continues else None
    return TrainingStart(plan, before, initial)


def find_predecessor(
    train: pl.DataFrame, lineage: Lineage, forgotten: "ForgottenLabels | None" = None
) -> Predecessor | None:
    """Find the champion to which some of the examples are new, or some of whose own were taken out.

    Args:
        train: `EXAMPLE_SCHEMA`.
        lineage: The model registry.
        forgotten: What was taken out; None: nothing.

    Returns:
        The champion, or the nearest one before it that was not trained on all of `train`, or on more; None where there
        is none.
    """
    versions = {version.checksum: version for version in lineage.versions()}
    current = lineage.champion()
    visited: set[str] = set()
    while current is not None and current.checksum not in visited:
        evidence = lineage.evidence(current)
        num_forgotten = forgotten.num_seen_by(current, evidence.train_hashes) if forgotten else 0
        if num_forgotten or not new_to(evidence.seen, train).is_empty():
            return Predecessor(current, evidence.seen, num_forgotten)
        visited.add(current.checksum)
        current = versions.get(_provenance(current, lineage).get(PREDECESSOR_KEY, ""))
    return None


def predecessor_version(splits_version: str, lineage: Lineage) -> str:
    """Identify the predecessor of a training without looking at its examples.

    Args:
        splits_version: The data version of the splits.
        lineage: The model registry.

    Returns:
        The champion's checksum; that of its predecessor, or nothing, where the champion came from these very splits;
        nothing where there is no champion.
    """
    champion = lineage.champion()
    if champion is None:
        return ""
    provenance = _provenance(champion, lineage)
    return provenance.get(PREDECESSOR_KEY, "") if provenance.get(SPLITS_KEY) == splits_version else champion.checksum


def followed_version(config: "RetrainingConfig", splits_version: str, lineage: Lineage | None) -> str:
    """As `predecessor_version`, where what is trained depends on the predecessor at all; else nothing."""
    is_independent = config.start_from == "base" and config.new_example_factor == 1
    return "" if lineage is None or is_independent else predecessor_version(splits_version, lineage)


def retraining_plan(
    train: pl.DataFrame,
    seen: pl.DataFrame | None,
    config: "RetrainingConfig",
    seed: int,
    num_forgotten: int = 0,
    *,
    task: str = "classification",
) -> RetrainingPlan:
    """Choose the examples of a training.

    Args:
        train: `EXAMPLE_SCHEMA`, distinct texts.
        seen: `SEEN_SCHEMA`: what the predecessor was trained on; None where there is none.
        config: Where it starts from, the share of old examples that is replayed, and how often new ones occur.
        seed: Of the replay (`ftzard.core.replay`).
        num_forgotten: Examples that the predecessor saw with a label that was taken out since.
        task: `data.task`: says of what an example is one among others in the replay.

    Returns:
        All examples once, from the base, where there is no predecessor or nothing is new to it; all of them, from the
        base, where it has seen what was taken out.
    """
    ordered = train.sort("text_hash")
    new = ordered.clear() if seen is None else new_to(seen, ordered)
    obstacle = num_forgotten if config.start_from == "champion" else 0
    if new.is_empty():
        return RetrainingPlan(ordered, 0, ordered.height, continues=False, num_forgotten=obstacle)
    continues = config.start_from == "champion" and not num_forgotten
    old = ordered.join(new, on=["text_hash", "label"], how="anti", maintain_order="left")
    if continues:
        old = replayed(old, config.replay_fraction, seed, task)
    # Whole examples are repeated, so that class weights and the number of steps see them as often as the loss does.
    examples = pl.concat([old, *[new] * config.new_example_factor]).sort("text_hash", maintain_order=True)
    return RetrainingPlan(examples, new.height, old.height, continues, obstacle)


def seen_by(adapter: "AdapterDirectory", train: pl.DataFrame, lineage: Lineage) -> pl.DataFrame:
    """Name every example that an adapter's weights have seen.

    Args:
        adapter: Its manifest says how it was trained.
        train: What it was trained on, `EXAMPLE_SCHEMA`; for one that went on from a champion, the train split of its
            time, of which it saw the new examples itself and the old ones through the champion or in the replay.
        lineage: The model registry.

    Returns:
        `SEEN_SCHEMA`, sorted.

    Raises:
        RegistryVersionError: It went on from an adapter that is no longer registered.
    """
    own = seen_in(train)
    manifest = read_manifest(adapter.path)
    predecessor = manifest.provenance.get(PREDECESSOR_KEY)
    how = manifest.config.get("training", {}).get("retraining", {})
    if predecessor is None or how.get("start_from") != "champion" or FORGOTTEN_KEY in manifest.provenance:
        return own
    before = next((version for version in lineage.versions() if version.checksum == predecessor), None)
    if before is None:
        raise RegistryVersionError(
            f"the adapter {adapter.checksum} goes on from {predecessor}, which is not registered any more",
            fix="train again, from the base model: training.retraining.start_from=base",
        )
    return with_earlier(own, lineage.evidence(before).seen)


def num_new_examples(train: pl.DataFrame, seen: pl.DataFrame | None) -> int:
    """Count the examples that are not among those seen, or were with another label; all where nothing was seen."""
    return train.height if seen is None else new_to(seen, train).height


def estimated_minutes(last: Mapping[str, float], num_examples: int) -> float | None:
    """How long a training takes, if it takes as long for each example as the last one did.

    Args:
        last: The metrics of the last training, among them `seconds` and `num_train_examples`.
        num_examples: Of the training to come.

    Returns:
        Minutes; None where the metrics do not say.
    """
    seconds, num_trained = last.get("seconds"), last.get("num_train_examples")
    return seconds / num_trained * num_examples / 60 if seconds is not None and num_trained else None


def _provenance(version: RegisteredAdapter, lineage: Lineage) -> dict[str, str]:
    return read_manifest(lineage.load(version).path).provenance
