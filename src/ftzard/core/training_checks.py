"""What must hold of examples before a classifier is trained on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ftzard.core.label_names import label_names
from ftzard.errors import SingleClassError, TooFewExamplesError

if TYPE_CHECKING:
    import polars as pl

    from ftzard.config import FtzardConfig

_MIN_LABELS: Final = 2


def check_training_labels(train: "pl.DataFrame", labels: Sequence[str], task: str = "classification") -> None:
    """Check that there is something to tell apart.

    Raises:
        TooFewExamplesError: `train` is empty.
        SingleClassError: There is only one label, or only one occurs in `train`.
    """
    if train.is_empty():
        raise TooFewExamplesError(
            "there are no training examples", fix="add labelled data, or raise data.train_fraction"
        )
    occurring = label_names(train["label"], task).unique().drop_nulls().sort().to_list()
    if len(labels) < _MIN_LABELS or len(occurring) < _MIN_LABELS:
        raise SingleClassError(
            f"the training examples carry the label(s) {occurring} of {list(labels)}; with fewer than two there is "
            "nothing to learn",
            fix="add examples of another label",
        )


def check_validation(validation: "pl.DataFrame", config: "FtzardConfig") -> None:
    """Check that there are validation examples where something is decided by them.

    Raises:
        TooFewExamplesError: There are none.
    """
    if config.training.early_stopping_patience is not None and validation.is_empty():
        raise TooFewExamplesError(
            "training.early_stopping_patience is set, and there are no validation examples to stop by",
            fix="raise data.validation_fraction or add labelled data, or set training.early_stopping_patience=null",
        )
    if config.training.label_thresholds == "tuned" and validation.is_empty():
        raise TooFewExamplesError(
            "training.label_thresholds is `tuned`, and there are no validation examples to tune them on",
            fix="raise data.validation_fraction or add labelled data, or set training.label_thresholds=half",
        )
