"""Whether it is time to train again."""

from datetime import UTC, datetime

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.records import Splits
from ftzard.core.retrain_decision import RetrainDecision, RetrainEvidence, decide
from ftzard.core.versions import fingerprint

_SECONDS_PER_DAY = 86_400


@tracked_asset(
    "RETRAIN_DECISION",
    group="automation",
    kinds={"json"},
    io="decision",
    sections=("automation", "tracking"),
)
def retrain_decision(splits: Splits, step: Step) -> StepResult[RetrainDecision]:
    """Whether the labels that came since the champion are worth a training now, and the reasons for and against it.

    Its data version changes only when the answer is to retrain: that is what starts a training by itself.
    """
    registry = step.registry
    champion = registry.champion() if registry else None
    versions = registry.versions() if registry else ()
    train = splits.train["text_hash"]

    def num_unseen(version: RegisteredAdapter | None) -> int:
        seen = registry.evidence(version).train_hashes if registry and version else train.clear()
        return int((~train.is_in(seen.implode())).sum())

    age = (datetime.now(UTC) - champion.created_at).total_seconds() / _SECONDS_PER_DAY if champion else None
    evidence = RetrainEvidence(
        num_new_labels=num_unseen(champion),
        num_new_since_last_training=num_unseen(versions[-1]) if versions else None,
        days_since_champion=age,
    )
    value = decide(evidence, step.config.automation)
    answers = fingerprint([champion.checksum if champion else "", sorted(train)])
    return StepResult(
        value=value,
        metadata={"verdict": value.verdict, "sentence": value.sentence},
        metrics={"num_new_labels": evidence.num_new_labels},
        tags={"ftzard.verdict": value.verdict},
        data_version=answers if value.verdict == "retrain" else step.previous_version or "wait",
    )
