"""The section `automation`: when files are taken in and when it is time to train again."""

from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt


@dataclass(frozen=True, config=STRICT)
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
