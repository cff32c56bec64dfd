"""The section `labelling`: what is asked of a person."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Fraction, PositiveInt, Seed


@dataclass(frozen=True, config=STRICT)
class LabellingConfig:
    """Which rows without a label are worth a person's time."""

    query_strategy: Literal["least_confidence", "margin", "entropy", "random", "diverse"] = "least_confidence"
    # Only rows at least as uncertain as this quantile of their file are queued; 0 lets every row in.
    uncertainty_quantile: Fraction = 0.75
    # Rows a file may put into the queue, the control arm included.
    max_rows_per_file: PositiveInt = 100
    # Share of the queue that is drawn at random from the whole file, whatever the strategy thinks of it.
    control_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    seed: Seed = 0
