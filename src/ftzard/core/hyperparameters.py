"""What a study chose, and a configuration with its choices in it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, Literal

import pydantic.dataclasses
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ftzard.config import FtzardConfig, SearchDimension
from ftzard.config.tuning import Metric
from ftzard.core.documents import JsonDocument
from ftzard.errors import ConfigError

Choice = bool | int | float | str

# What decides about a training; by then the data is read and split.
_TUNABLE_SECTIONS: Final = ("training", "model")
_STRICT = ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class TrialSummary(JsonDocument):
    """One trial of a study.

    Attributes:
        number: From 0, in the order in which the trials began.
        state: `complete`; `pruned` where it was given up; `failed` where the training diverged.
        score: What it is judged by, on the validation split; of a pruned one, its last; None of a failed one.
        values: What it trained with, by key of the configuration.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    score: float | None
    values: dict[str, Choice]


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class TunedHyperparameters(JsonDocument):
    """What a study chose.

    Attributes:
        values: The best trial's, by key of the configuration; empty where there was no study.
        metric: What trials are judged by: `loss`, of which less is better, or one of which more is.
        study: Its name in Optuna's storage; None where there was none.
        trials: In the order of their numbers.
        importances: Each key's share in what makes trials differ, sum 1; empty where they do not tell.
    """

    values: dict[str, Choice]
    metric: Metric
    study: str | None = None
    trials: tuple[TrialSummary, ...] = ()
    importances: dict[str, float] | None = None

    @property
    def best(self) -> TrialSummary | None:
        """The complete trial with the best score, the first of equal ones; None where there was no study."""
        return best_trial(self.trials, self.metric)

    @property
    def sentence(self) -> str:
        """What came out, in words."""
        if self.best is None:
            return "no study: the hyperparameters are those of the configuration (tuning=none)"
        counts = {state: sum(trial.state == state for trial in self.trials) for state in ("pruned", "failed")}
        others = "".join(f", {count} {state}" for state, count in counts.items() if count)
        return (
            f"trial {self.best.number} of {len(self.trials)}{others}: {self.metric} {self.best.score:.3f} on the "
            f"validation split with {', '.join(f'{key}={value}' for key, value in self.values.items())}"
        )


def best_trial(trials: tuple[TrialSummary, ...], metric: str) -> TrialSummary | None:
    """The complete trial with the best score, the first of equal ones; None where none is complete."""
    sign = 1 if metric == "loss" else -1
    scored = [
        (sign * trial.score, trial.number, trial)
        for trial in trials
        if trial.state == "complete" and trial.score is not None
    ]
    return min(scored)[-1] if scored else None


def with_values(config: FtzardConfig, values: Mapping[str, Choice]) -> FtzardConfig:
    """Put values into a configuration.

    Args:
        config: Stays as it is.
        values: By key, such as `training.lora.r`.

    Raises:
        ConfigError: There is no such key, it is none that a training depends on, or a value is not allowed.
    """
    if not values:
        return config
    fields = asdict(config)
    for key, value in values.items():
        _set(fields, key, value)
    try:
        return TypeAdapter(FtzardConfig).validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the rest of the configuration"
        chosen = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ConfigError(
            f"tuning.search_space holds a value that {key} cannot have ({chosen}): {first['msg']}",
            fix="change the dimension's choices or its range",
        ) from error


def check_search_space(config: FtzardConfig) -> None:
    """Check that every end and choice of every dimension is a value that its key may have.

    Raises:
        ConfigError: As `with_values`, before any trial has begun.
    """
    for key, dimension in config.tuning.search_space.items():
        for value in _ends(dimension):
            with_values(config, {key: value})


def _ends(dimension: SearchDimension) -> tuple[Choice, ...]:
    if dimension.choices:
        return dimension.choices
    ends = (dimension.low or 0.0, dimension.high or 0.0)
    return tuple(int(end) for end in ends) if dimension.integer else ends


def _set(fields: dict[str, Any], key: str, value: Choice) -> None:
    *sections, name = key.split(".")
    found: Any = fields if sections and sections[0] in _TUNABLE_SECTIONS else None
    for section in sections:
        found = found.get(section) if isinstance(found, dict) else None
    if not isinstance(found, dict) or name not in found:
        raise ConfigError(
            f"tuning.search_space names {key}, which is no key that a training depends on",
            fix=f"name a key below {' or '.join(_TUNABLE_SECTIONS)}; `ftzard config` prints them all",
        )
    if isinstance(found[name], tuple):
        value = (value,)  # type: ignore[assignment]  # such as target_modules, of which one name is a choice
    found[name] = value


def searched(config: FtzardConfig) -> dict[str, Any]:
    """What two studies must have in common to be one; the number of trials and where they are kept may change."""
    fields = asdict(config.tuning) | {"metric": config.tuning_metric}
    del fields["num_trials"], fields["storage"]
    return fields
