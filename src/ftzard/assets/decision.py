"""Whether it is time to train again."""

import logging
from datetime import UTC, datetime

import polars as pl

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.forgetting import forgettings_version
from ftzard.core.records import Splits
from ftzard.core.retrain_decision import RetrainDecision, RetrainEvidence, decide
from ftzard.core.versions import content_version, fingerprint

_logger = logging.getLogger(__name__)

_SECONDS_PER_DAY = 86_400
_TRAINING_STEPS = ("TRAINING", "RETRAINING")


def _taken_out(step: Step) -> str:
    """What was taken out since is a reason to train, also where no other label has changed."""
    return forgettings_version(step.forgettings)


@tracked_asset(
    "RETRAIN_DECISION",
    group="automation",
    kinds={"polars", "json"},
    io="decision",
    sections=("automation", "tracking", "tuning"),
    outside_version=_taken_out,
)
def retrain_decision(splits: Splits, step: Step) -> StepResult[RetrainDecision]:
    """Whether the labels that came since the champion are worth a training now, and the reasons for and against it.

    Its data version changes only when the answer is to retrain, for examples and a champion that it was not yet given
    for: that is what starts a training by itself. Materializing by hand trains whatever it says.
    """
    champion = step.registry.champion() if step.registry else None
    value = decide(_evidence(splits, champion, step), step.config.automation)
    _logger.info(value.sentence)
    examples = content_version(splits.train.select("text_hash", "label"))
    answered = fingerprint([value.verdict, champion.checksum if champion else "", examples])
    known = value.evidence
    numbers = {
        "num_new_labels": known.num_new_labels,
        "num_forgotten": known.num_forgotten,
        "days_since_champion": known.days_since_champion,
        "drift": known.drift.value if known.drift else None,
        "live_accuracy": known.live_accuracy.value if known.live_accuracy else None,
        "estimated_minutes": known.estimated_minutes,
    }
    return StepResult(
        value=value,
        metadata={"verdict": value.verdict, "sentence": value.sentence, "reasons": _table(value)},
        metrics={name: number for name, number in numbers.items() if number is not None},
        tags={"ftzard.verdict": value.verdict, "ftzard.sentence": value.sentence},
        data_version=answered if value.verdict == "retrain" else step.previous_version or "wait",
    )


def _evidence(splits: Splits, champion: RegisteredAdapter | None, step: Step) -> RetrainEvidence:
    from ftzard.core.drift import confidence_drift
    from ftzard.core.live_accuracy import live_accuracy
    from ftzard.core.retraining import estimated_minutes, num_new_examples, retraining_plan

    registry, serving, training = step.registry, step.serving, step.config.training
    if registry is None:
        return RetrainEvidence(splits.train.height)
    forgotten, versions = step.forgotten_labels(splits), registry.versions()
    last = registry.evidence(versions[-1]) if versions else None
    judged = registry.evidence(champion) if champion else None
    seen = judged.seen if judged else None
    predicted = serving.predictions(champion.version) if serving and champion else None
    live = live_accuracy(serving.sidecars(), splits.labelled, champion.version) if serving and champion else None
    age = datetime.now(UTC) - champion.created_at if champion else None
    # Each trial of a study is a training too, if it is not given up.
    num_trainings = 1 if step.config.tuning.method == "none" else 1 + step.config.tuning.num_trials
    num_forgotten = forgotten.num_seen_by(champion, judged.train_hashes) if champion and judged else 0
    task = step.config.data.task
    plan = retraining_plan(splits.train, seen, training.retraining, training.seed, num_forgotten, task=task)
    planned = plan.examples.height
    return RetrainEvidence(
        num_new_labels=num_new_examples(splits.train, seen),
        num_new_since_last_training=None if last is None else num_new_examples(splits.train, last.seen),
        days_since_champion=age.total_seconds() / _SECONDS_PER_DAY if age else None,
        drift=confidence_drift(judged.predictions, predicted) if judged and predicted is not None else None,
        live_accuracy=live.accuracy if live else None,
        estimated_minutes=estimated_minutes(registry.tracking.last_metrics(_TRAINING_STEPS), planned * num_trainings),
        num_forgotten=num_forgotten,
        num_forgotten_since_last_training=None
        if last is None
        else forgotten.num_seen_by(versions[-1], last.train_hashes),
    )


def _table(decision: RetrainDecision) -> pl.DataFrame:
    sides = {"to retrain": decision.reasons_to_retrain, "to wait": decision.reasons_to_wait}
    rows = [(side, reason) for side, reasons in sides.items() for reason in reasons]
    return pl.DataFrame(rows, schema={"speaks for": pl.String, "reason": pl.String}, orient="row")
