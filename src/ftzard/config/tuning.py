"""The section `tuning`: the search for hyperparameters."""

from dataclasses import field
from typing import Literal, Self

from pydantic import field_validator, model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Name, PositiveInt, Seed, without_password

# What trials can be judged by.
Metric = Literal["macro_f1", "loss", "preference_accuracy"]


@dataclass(frozen=True, config=STRICT)
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


@dataclass(frozen=True, config=STRICT)
class TuningConfig:
    """Whether and how hyperparameters are searched for before training."""

    # `none` trains with the configuration as it is.
    method: Literal["none", "optuna"] = "none"
    num_trials: PositiveInt = 4
    # A key of the configuration, such as `training.lora.r` -> the values to choose from.
    search_space: dict[str, SearchDimension] = field(default_factory=dict)
    # What a trial is judged by, on the validation split; null: `macro_f1`, where labels are told apart, and `loss`
    # elsewhere. `preference_accuracy` is for the task `preference`.
    metric: Metric | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    # Which trials are given up before their end. `median`: from the half of a training on, those worse than the median
    # of the ones before. `successive_halving`: at a quarter and at the half, the worse half of those that came there.
    pruner: Literal["median", "successive_halving", "none"] = "median"
    # Any storage Optuna knows; a relative SQLite path is taken from the project folder.
    storage: Name = "sqlite:///.ftzard/tuning.db"
    seed: Seed = 0

    @field_validator("storage")
    @classmethod
    def _holds_no_password(cls, storage: str) -> str:
        return without_password(storage, "give it by the database's own means, such as a password file")

    def searches(self, section: str) -> bool:
        """Whether there is a study over some key of a section of the configuration."""
        return self.method != "none" and any(key.startswith(f"{section}.") for key in self.search_space)

    @model_validator(mode="after")
    def _has_something_to_search(self) -> Self:
        if self.method == "optuna" and not self.search_space:
            message = "search_space must name at least one key where method is 'optuna'"
            raise ValueError(message)
        return self
