"""The section `evaluation`: how predictions are judged."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Fraction, Seed


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """What a challenger has to show before it becomes champion."""

    # Two-sided level of the tests, and the chance with which a true gain of the size observed should be found.
    significance: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.8
    # By how much a challenger's F1 of one label may lie below the champion's.
    max_class_f1_drop: Fraction = 0.05


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """How predictions are judged."""

    num_bootstrap_samples: Annotated[int, Field(ge=100)] = 2000
    num_calibration_bins: Annotated[int, Field(ge=2, le=100)] = 10
    # For the task `generation`: what the gate compares.
    generation_metric: Literal["token_f1", "exact_match", "chrf"] = "token_f1"
    # The same for the task `preference`: which answer is likelier as a whole, which favours short ones, or by token.
    preference_metric: Literal["preference_accuracy", "preference_accuracy_per_token"] = "preference_accuracy"
    gate: GateConfig = field(default_factory=GateConfig)
    seed: Seed = 0
