"""What runs by itself: few conditions, and the sensors that see files and dead processes.

The chain of a new batch is: a sensor reports the content of the batch files as the data version of `labelled_batches`;
the cheap assets up to `retrain_decision` follow whenever a data version changes; the expensive ones follow the
decision alone, whose data version changes when it says that it is time. So nothing retrains because a file was
touched, and the reason not to is an asset that one can read.
"""

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_ON_ASSET_OR_OP_FAILURE_TAG

from ftzard.assets.pipeline import Pipeline
from ftzard.sensors import LABELLED_BATCHES

# `Any`, because its operators are typed for assets and checks together.
_Condition = dg.AutomationCondition[Any]

# Not `eager()` itself, which runs again when the same content is written again and when a check has failed.
_WHEN_INPUTS_CHANGE: Final[Any] = (
    dg.AutomationCondition.eager().replace("newly_updated", dg.AutomationCondition.data_version_changed())
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("its inputs have changed")

# Less than two rounds of Dagster's daemon, which come every five seconds: with ten, it would often be the third.
_EVALUATE_EVERY_S: Final = 9

# For a project whose batches were there before its first tick: `eager()` takes what is missing then for dealt with.
_WHEN_NEVER_MADE: Final[Any] = (
    (
        dg.AutomationCondition.missing()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.in_progress()
    )
    .newly_true()
    .with_label("it was never made")
)

# Age and drift grow without any input of the decision changing; this is when they are looked at.
_EACH_DAY: Final[Any] = dg.AutomationCondition.cron_tick_passed("0 4 * * *")
_DAILY: Final[Any] = (
    _EACH_DAY.since_last_handled()
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.in_progress()
    & ~dg.AutomationCondition.any_deps_in_progress()
).with_label("once a day")

DECISION: Final = "retrain_decision"

# A training goes on from its checkpoint, so that a machine that restarts several times in it costs little; what dies
# more often than that has a reason. An error is not tried again, whatever the instance has for other runs.
_RETRIES: Final[Mapping[str, str]] = {
    MAX_RETRIES_TAG: "5",
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "false",
}


def conditions(pipeline: Pipeline) -> Mapping[str, _Condition]:
    """When each asset runs by itself, by name; one that is not here is run by a sensor or by a person alone."""
    batches = dg.AssetSelection.assets(pipeline.asset_key(LABELLED_BATCHES))
    return {
        # Its other inputs are assets of the code location that write batches: what they wrote is seen with the batches.
        "raw_data": (_WHEN_INPUTS_CHANGE | _WHEN_NEVER_MADE).allow(batches),
        "cleaned": _WHEN_INPUTS_CHANGE,
        "splits": _WHEN_INPUTS_CHANGE,
        DECISION: _WHEN_INPUTS_CHANGE | _DAILY,
        # Both: without a study the hyperparameters never change.
        "tuned_hyperparameters": _when_decided(pipeline),
        "lora_adapter": _when_decided(pipeline),
        # What else these read may change without them having to follow.
        "predictions": _led_by("lora_adapter", pipeline),
        "metrics": _led_by("predictions", pipeline),
        "champion": _led_by("metrics", pipeline),
    }


def _led_by(leader: str, pipeline: Pipeline) -> _Condition:
    condition: Any = _WHEN_INPUTS_CHANGE.allow(dg.AssetSelection.assets(pipeline.asset_key(leader)))
    labelled: _Condition = condition.with_label(f"{leader} has changed")
    return labelled


def _when_decided(pipeline: Pipeline) -> _Condition:
    """When the decision has a new data version; that it is about to be made again is not enough."""
    decision = dg.AssetSelection.assets(pipeline.asset_key(DECISION))
    has_changed: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    condition: Any = (
        has_changed.allow(decision).since_last_handled()
        & ~dg.AutomationCondition.in_progress()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.any_deps_missing()
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    )
    labelled: _Condition = condition.with_label("it was decided to retrain")
    return labelled


def automation_sensor(
    pipeline: Pipeline, status: dg.DefaultSensorStatus, run_tags: Mapping[str, str]
) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of a pipeline, and of nothing else in the code location."""
    keys = [pipeline.asset_key(name) for name in conditions(pipeline)]
    return dg.AutomationConditionSensorDefinition(
        f"{pipeline.name}_automation",
        target=dg.AssetSelection.assets(*keys),
        run_tags={**_RETRIES, **run_tags},
        default_status=status,
        minimum_interval_seconds=_EVALUATE_EVERY_S,
        description="Runs what new data asks for, and trains when `retrain_decision` says so.",
    )
