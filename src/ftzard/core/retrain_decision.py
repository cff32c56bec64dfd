"""Whether it is time to train again: the one place where that is decided, and a pure function.

Nothing here looks anything up. What is known is gathered in a `RetrainEvidence`, what is worth how much stands in the
configuration, and the decision says both what speaks for training and what speaks against it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, FiniteFloat, NonNegativeInt
from pydantic.dataclasses import dataclass

from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation_report import Interval

if TYPE_CHECKING:
    from ftzard.config import AutomationConfig

_STRICT = ConfigDict(extra="forbid")

RetrainVerdict = Literal["retrain", "wait"]


@dataclass(frozen=True, config=_STRICT)
class RetrainEvidence:
    """What is known when it is decided.

    Attributes:
        num_new_labels: Training examples that the champion was not trained on, or with another label; all of them
            without a champion.
        num_new_since_last_training: Likewise of the adapter trained last, champion or not; None where none was trained
            yet.
        days_since_champion: Since the champion was registered; None without a champion.
        drift: Cliff's delta of the champion's confidence on what came in over that on its test split, with its
            interval; None without a champion, or where nothing came in.
        live_accuracy: Of the champion, on randomly drawn rows that people labelled since, with its interval; None where
            there are none.
        estimated_minutes: How long training would take; None where it is not known.
        num_forgotten: Examples that the champion was trained on with a label that was taken out since.
        num_forgotten_since_last_training: Likewise for the adapter trained last, champion or not; None where none was
            trained yet.
    """

    num_new_labels: NonNegativeInt
    num_new_since_last_training: NonNegativeInt | None = None
    days_since_champion: FiniteFloat | None = None
    drift: Interval | None = None
    live_accuracy: Interval | None = None
    estimated_minutes: FiniteFloat | None = Field(default=None, ge=0)
    num_forgotten: NonNegativeInt = 0
    num_forgotten_since_last_training: NonNegativeInt | None = None


@dataclass(frozen=True, config=_STRICT)
class RetrainDecision(JsonDocument):
    """Whether to train again, and why.

    Attributes:
        verdict: `retrain` or `wait`.
        reasons_to_retrain: Sentences with the numbers; also given where it is decided to wait.
        reasons_to_wait: Likewise.
        evidence: What the reasons rest on.
    """

    verdict: RetrainVerdict
    reasons_to_retrain: tuple[str, ...]
    reasons_to_wait: tuple[str, ...]
    evidence: RetrainEvidence

    @property
    def reasons(self) -> tuple[str, ...]:
        """All of them, those that decided it first."""
        both = (self.reasons_to_retrain, self.reasons_to_wait)
        return sum(both if self.verdict == "retrain" else both[::-1], ())

    @property
    def sentence(self) -> str:
        """The verdict and what decided it, in a line."""
        reasons = self.reasons_to_retrain if self.verdict == "retrain" else self.reasons_to_wait
        return f"{self.verdict}: {'; '.join(reasons)}"


def decide(evidence: RetrainEvidence, config: "AutomationConfig") -> RetrainDecision:
    """Decide whether to train again.

    A reason to train counts only where nothing forbids it: too few examples that no training has seen (so that a
    challenger that the gate refused does not come back at every look), or a training that would take too long. Labels
    that were taken out are something that no training has seen, until one was made without them.

    Args:
        evidence: What is known.
        config: What is worth how much.
    """
    reasons = tuple(_reasons(evidence, config))
    vetoes = tuple(_vetoes(evidence, config))
    verdict: RetrainVerdict = "retrain" if reasons and not vetoes else "wait"
    against = (*vetoes, *_non_reasons(evidence, config))
    return RetrainDecision(verdict, reasons, against, evidence)


def _reasons(evidence: RetrainEvidence, config: "AutomationConfig") -> Iterator[str]:
    num_new, days = evidence.num_new_labels, evidence.days_since_champion
    if days is None:
        yield "there is no champion"
        return
    if evidence.num_forgotten >= config.min_forgotten_labels:
        yield f"{evidence.num_forgotten} label(s) that the champion was trained on were taken out since"
    if num_new >= config.min_new_labels:
        yield f"{num_new} new label(s), {config.min_new_labels} are enough"
    if num_new < config.min_labels_for_any_reason:
        return
    if days > config.max_days:
        yield f"the champion is {days:.1f} days old, over {config.max_days:g}, and there are {num_new} new label(s)"
    if _has_drifted(evidence, config):
        yield f"drift of {_told(evidence.drift)}, beyond {config.max_drift:g}, with {num_new} new label(s)"
    if _is_too_inaccurate(evidence, config):
        yield (
            f"live accuracy of {_told(evidence.live_accuracy)}, shown to be below {config.min_live_accuracy:g}, "
            f"with {num_new} new label(s)"
        )


def _vetoes(evidence: RetrainEvidence, config: "AutomationConfig") -> Iterator[str]:
    unseen, minutes = evidence.num_new_since_last_training, evidence.estimated_minutes
    needed = min(config.min_new_labels, config.min_labels_for_any_reason)
    is_trained_without = (evidence.num_forgotten_since_last_training or 0) < config.min_forgotten_labels
    if unseen == 0 and is_trained_without:
        yield "nothing new since the last training"
    elif unseen is not None and unseen < needed and is_trained_without:
        yield f"only {unseen} new label(s) since the last training, under {needed}"
    if config.max_training_minutes is not None and minutes is not None and minutes > config.max_training_minutes:
        yield f"training would take about {minutes:.0f} minutes, over the {config.max_training_minutes:g} allowed"


def _non_reasons(evidence: RetrainEvidence, config: "AutomationConfig") -> Iterator[str]:
    """What was looked at and is no reason to train."""
    days = evidence.days_since_champion
    if days is None:
        return
    yield from _too_few(evidence, config)
    if days <= config.max_days:
        yield f"the champion is {days:.1f} days old, not over {config.max_days:g}"
    if evidence.drift is None:
        yield "drift is not known: the champion has predicted nothing that came in"
    elif not _has_drifted(evidence, config):
        yield f"drift of {_told(evidence.drift)} is not shown or not beyond {config.max_drift:g}"
    if evidence.live_accuracy is None:
        yield "live accuracy is not known: no randomly drawn row has been labelled"
    elif config.min_live_accuracy is None:
        yield f"live accuracy of {_told(evidence.live_accuracy)} is only reported"
    elif not _is_too_inaccurate(evidence, config):
        yield (
            f"live accuracy of {_told(evidence.live_accuracy)} is not shown to be below {config.min_live_accuracy:g}"
        )


def _too_few(evidence: RetrainEvidence, config: "AutomationConfig") -> Iterator[str]:
    num_new, num_forgotten = evidence.num_new_labels, evidence.num_forgotten
    if 0 < num_forgotten < config.min_forgotten_labels:
        told = f"{num_forgotten} label(s) that the champion was trained on were taken out since"
        yield f"{told}, under {config.min_forgotten_labels}"
    if num_new < config.min_new_labels:
        yield f"{num_new} new label(s), under {config.min_new_labels}"
    if num_new < config.min_labels_for_any_reason:
        yield f"no other reason counts under {config.min_labels_for_any_reason} new label(s)"


def _has_drifted(evidence: RetrainEvidence, config: "AutomationConfig") -> bool:
    """Beyond the threshold, in either direction, and more than chance: of few rows a delta of 0.5 is soon seen."""
    drift = evidence.drift
    return drift is not None and abs(drift.value) > config.max_drift and not drift.low <= 0 <= drift.high


def _is_too_inaccurate(evidence: RetrainEvidence, config: "AutomationConfig") -> bool:
    accuracy, minimum = evidence.live_accuracy, config.min_live_accuracy
    return accuracy is not None and minimum is not None and accuracy.high < minimum


def _told(interval: Interval | None) -> str:
    return "unknown" if interval is None else f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
