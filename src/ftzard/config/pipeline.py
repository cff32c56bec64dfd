"""All sections together, and what they must agree on."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import reduce
from typing import Any, Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.automation import AutomationConfig
from ftzard.config.data import DataConfig
from ftzard.config.evaluation import EvaluationConfig
from ftzard.config.fields import STRICT
from ftzard.config.labelling import LabellingConfig
from ftzard.config.launcher import LauncherConfig
from ftzard.config.model import ModelConfig
from ftzard.config.tracking import TrackingConfig
from ftzard.config.training import TrainingConfig
from ftzard.config.tuning import Metric, TuningConfig
from ftzard.config.versioning import VersioningConfig

_CLASSIFIERS = ("classification", "multi_label")
# What only some tasks look at. Where another one is configured, such a key must have its default.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "model.prompt_template": _CLASSIFIERS,
    "model.head": _CLASSIFIERS,
    "model.label_words": _CLASSIFIERS,
    "model.generation": ("generation", "preference"),
    # DPO compares the model with what it was before, and draws no dropout in either.
    "training.lora.lora_dropout": (*_CLASSIFIERS, "generation"),
    "training.lora.modules_to_save": _CLASSIFIERS,
    "training.class_weights": _CLASSIFIERS,
    "training.label_smoothing": _CLASSIFIERS,
    "training.focal_gamma": _CLASSIFIERS,
    "training.num_validations_per_epoch": _CLASSIFIERS,
    "training.early_stopping_patience": _CLASSIFIERS,
    "training.early_stopping_threshold": _CLASSIFIERS,
    "training.metric_for_best_model": _CLASSIFIERS,
    "training.label_thresholds": ("multi_label",),
    "training.keep_frozen_layers": _CLASSIFIERS,
    "training.packing": ("generation",),
    "training.beta": ("preference",),
    "evaluation.generation_metric": ("generation",),
    "evaluation.preference_metric": ("preference",),
    # Of queued rows that people labelled, which answers have none of.
    "automation.min_live_accuracy": _CLASSIFIERS,
}
_SECTIONS: Mapping[str, type[Any]] = {
    "model": ModelConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "automation": AutomationConfig,
}
# What the trials of a study can be judged by, the first where nothing is said.
_METRICS: Mapping[str, tuple[Metric, ...]] = {
    **dict.fromkeys(_CLASSIFIERS, ("macro_f1", "loss")),
    "generation": ("loss",),
    "preference": ("loss", "preference_accuracy"),
}
# Keys of which each value has a measure of its own for the loss of a task.
_OWN_LOSSES: Mapping[str, tuple[str, ...]] = {
    "generation": ("model.base_model", "model.revision"),
    "preference": ("training.beta",),
}
# Keys that are younger than projects of other tasks than theirs. In what those keep, such as the fingerprints of their
# steps, the keys are left out, so that a new version of FTzard finds what an old one has done.
_YOUNGER: Mapping[str, str] = {
    "data.label_separator": "multi_label",
    "data.no_label": "multi_label",
    "training.label_thresholds": "multi_label",
    "evaluation.preference_metric": "preference",
}
# Keys that are younger than projects of their own tasks: likewise left out where nobody uses them.
_UNUSED_IF_EMPTY: tuple[str, ...] = (
    "data.context_column",
    "data.label_columns",
    "training.lora.target_parameters",
)


def decisive(section: str, values: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The values of a section of the configuration that something hangs on where a task is configured.

    Args:
        section: Its name.
        values: All of its keys, as plain values.
        task: `data.task`.
    """
    kept = {key: value for key, value in values.items() if _YOUNGER.get(f"{section}.{key}", task) == task}
    for name in _UNUSED_IF_EMPTY:
        own_section, *path = name.split(".")
        kept = _without_if_empty(kept, path) if own_section == section else kept
    # Said or not, it is the same study.
    return kept | {"metric": kept["metric"] or _METRICS[task][0]} if section == "tuning" else kept


def _without_if_empty(values: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The values, in them those below them, without the key that a path leads to if there is nothing."""
    key, *rest = path
    if rest:
        return {**values, key: _without_if_empty(values[key], rest)}
    return {name: value for name, value in values.items() if name != key or value}


def _value(section: Any, names: str) -> Any:
    """The value of a key in a section; dots lead into sections of it."""
    return reduce(getattr, names.split("."), section)


@dataclass(frozen=True, config=STRICT)
class FtzardConfig:
    """The whole configuration of one pipeline."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    automation: AutomationConfig = field(default_factory=AutomationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    versioning: VersioningConfig = field(default_factory=VersioningConfig)

    @property
    def tuning_metric(self) -> Metric:
        """What the trials of a study are judged by."""
        return self.tuning.metric or _METRICS[self.data.task][0]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        unknown = sorted(set(self.model.label_words) - set(self.data.labels)) if self.data.labels else []
        if unknown:
            message = f"model.label_words names unknown label(s) {unknown}; allowed by data.labels: {self.data.labels}"
            raise ValueError(message)
        if self.training.early_stopping_patience is not None and self.data.validation_fraction == 0:
            message = "training.early_stopping_patience needs validation examples: data.validation_fraction above 0"
            raise ValueError(message)
        if self.training.label_thresholds == "tuned" and self.data.validation_fraction == 0:
            message = "training.label_thresholds=tuned needs validation examples: data.validation_fraction above 0"
            raise ValueError(message)
        weighed = self.training.class_weight_values
        if self.data.labels and weighed and set(weighed) != set(self.data.labels):
            message = (
                f"training.class_weight_values has a weight for {sorted(weighed)}; "
                f"it must have one for each of data.labels and no other: {list(self.data.labels)}"
            )
            raise ValueError(message)
        self._check_task()
        return self

    def _check_task(self) -> None:
        """Refuse what a task would pass over in silence."""
        task, generation = self.data.task, self.model.generation
        if not self.data.has_labels and self.model.dtype == "float16":
            message = f"model.dtype must not be 'float16' where data.task is {task!r}: no gradients are scaled there"
            raise ValueError(message)
        if not self.data.has_labels and self.training.lora.starts_from_base:
            start = self.training.lora.init_lora_weights
            message = f"training.lora.init_lora_weights must not be {start!r} where data.task is {task!r}"
            raise ValueError(message)
        if not self.data.has_labels and self.launcher.num_processes > 1:
            message = f"launcher.num_processes must be 1 where data.task is {task!r}: it trains in one process"
            raise ValueError(message)
        for key, tasks in _ONLY_FOR.items():
            section, names = key.split(".", 1)
            default = _value(_SECTIONS[section](), names)
            if task not in tasks and _value(getattr(self, section), names) != default:
                where = " or ".join(repr(name) for name in tasks)
                message = f"{key} has no effect where data.task is {task!r}: leave it out, or set data.task to {where}"
                raise ValueError(message)
        if self.tuning.method != "none":
            self._check_study()
        if self.data.messages_column is not None and generation.prompt_format != "chat":
            message = "model.generation.prompt_format must be 'chat' where data.messages_column is given"
            raise ValueError(message)
        if self.data.messages_column is not None and generation.prompt_template != "{text}":
            message = "model.generation.prompt_template must be '{text}' where data.messages_column is given"
            raise ValueError(message)

    def _check_study(self) -> None:
        """Refuse a study whose trials could not be compared."""
        task, metric = self.data.task, self.tuning_metric
        if metric not in _METRICS[task]:
            message = f"tuning.metric must be one of {_METRICS[task]} where data.task is {task!r}, not {metric!r}"
            raise ValueError(message)
        for key in sorted(self.tuning.search_space):
            tasks = _ONLY_FOR.get(key, (task,))
            if task not in tasks:
                message = f"tuning.search_space must not hold {key} where data.task is {task!r}: it has no effect there"
                raise ValueError(message)
        for key in _OWN_LOSSES.get(task, ()):
            if metric == "loss" and key in self.tuning.search_space:
                others = [name for name in _METRICS[task] if name != "loss"]
                instead = f"set tuning.metric to {others[0]!r}" if others else "leave it out"
                message = f"tuning.search_space must not hold {key} where trials are judged by their loss: {instead}"
                raise ValueError(message)
