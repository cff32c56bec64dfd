"""The section `training`: the adapter and how it is trained."""

from dataclasses import field
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Seed


@dataclass(frozen=True, config=STRICT)
class LoraConfig:
    """The adapter; names and meanings are those of `peft.LoraConfig`."""

    r: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    # Names of modules, or `all-linear` alone.
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("all-linear",)
    # Parameters that are no linear layers and get an adapter too, by the end of their names: such as the experts of a
    # mixture, which lie in one tensor (`mlp.experts.gate_up_proj`). With `all-linear` PEFT adds those of some itself.
    target_parameters: tuple[str, ...] = ()
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


@dataclass(frozen=True, config=STRICT)
class RetrainingConfig:
    """How an adapter is trained where there is a champion and examples were added since it was trained."""

    # `base`: a fresh adapter, on all examples. `champion`: on from the champion's weights, on the new examples and a
    # share of the old ones.
    start_from: Literal["base", "champion"] = "base"
    # Share of the old training examples that is trained on again where training starts from the champion.
    replay_fraction: Fraction = 0.25
    # How often each new example occurs in an epoch, in both ways.
    new_example_factor: PositiveInt = 1


@dataclass(frozen=True, config=STRICT)
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
    max_tokens_per_batch: PositiveInt = 2048
    train_batch_size: PositiveInt = 16
    # What a label counts in the loss: `balanced` lets each label count the same, `none` each example, and `explicit` is
    # by `class_weight_values`: a weight for every label, such as {negative: 1, positive: 3}; only proportions matter.
    # For multi_label it is what having a label counts beside not having it, `balanced` letting both count the same.
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
    # For the task `multi_label`: what a label's probability has to reach. `half` is 0.5; `tuned` is, for each label,
    # what gives it the best F1 on the validation split, and stays with the adapter.
    label_thresholds: Literal["half", "tuned"] = "half"
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
    seed: Seed = 0

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
