"""What differs between classifiers that choose one label and those that choose any number: targets, loss, answers.

The loop of the training, the batches, the head and the adapter are the same for both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ftzard.core.adapter_documents import AdapterLabels, AdapterLabelSets
from ftzard.core.label_sets import indicators, set_members
from ftzard.core.losses import example_weights, weighted_loss
from ftzard.core.metrics import confusion_matrices, macro_f1
from ftzard.core.predictions import predictions_frame, softmax
from ftzard.core.set_losses import set_weights, weighted_set_loss
from ftzard.core.set_metrics import label_counts, row_log_losses
from ftzard.core.set_metrics import macro_f1 as macro_f1_of_sets
from ftzard.core.set_predictions import set_predictions_frame, sigmoid
from ftzard.core.set_thresholds import HALF, given_labels, tuned_thresholds
from ftzard.errors import AdapterMismatchError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig

Targets = npt.NDArray[Any]
Logits = npt.NDArray[np.floating]

# Below this a probability's logarithm is cut off: one confident mistake shall not make the mean infinite.
_SMALLEST_PROBABILITY: Final = 1e-12


@dataclass(frozen=True)
class Objective:
    """What a classifier of a task learns, and how its outputs are read.

    Attributes:
        unknown: Takes cells and the label set; says which cells are not made of its labels, null included.
        targets: Takes cells and the label set; gives what the outputs shall say, with n rows.
        weights: What the targets count in the loss; takes them, the label set and the section `training`.
        loss: As `ftzard.core.losses.weighted_loss`.
        scores: Takes logits and targets; gives the `loss` without weights, and `macro_f1`.
        thresholds: Takes logits and targets of the validation split; gives what tuning makes of them.
        described: Takes what all adapters say of their labels, and thresholds; gives what `labels.json` says.
        frame: Takes text hashes, cells, logits, and what `labels.json` says; gives the predictions.
    """

    unknown: Callable[[pl.Series, Sequence[str]], pl.Series]
    targets: Callable[[pl.Series, Sequence[str]], Targets]
    weights: Callable[..., npt.NDArray[np.float32]]
    loss: Callable[..., Any]
    scores: Callable[[Logits, Targets], dict[str, float]]
    thresholds: Callable[[Logits, Targets], tuple[float, ...]]
    described: Callable[[AdapterLabels, Sequence[float]], AdapterLabels]
    frame: Callable[[Sequence[str], Sequence[str | None], Logits, AdapterLabels], pl.DataFrame]


def _single_unknown(cells: pl.Series, labels: Sequence[str]) -> pl.Series:
    return ~cells.is_in(list(labels)).fill_null(value=False)


def _single_targets(cells: pl.Series, labels: Sequence[str]) -> Targets:
    index = {label: position for position, label in enumerate(labels)}
    return np.array([index[label] for label in cells], dtype=np.int64)


def _single_scores(logits: Logits, targets: Targets) -> dict[str, float]:
    """Mean cross entropy and macro-F1."""
    probabilities = softmax(logits.astype(np.float64))[np.arange(len(targets)), targets]
    confusion = confusion_matrices(targets, logits.argmax(axis=1), logits.shape[1])
    loss = float(-np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY)).mean())
    return {"loss": loss, "macro_f1": float(macro_f1(confusion))}


def _single_frame(
    text_hashes: Sequence[str], cells: Sequence[str | None], logits: Logits, labels: AdapterLabels
) -> pl.DataFrame:
    return predictions_frame(text_hashes, cells, logits, labels.labels)


def _no_thresholds(logits: Logits, targets: Targets) -> tuple[float, ...]:
    """The likeliest label is chosen, however probable it is."""
    del logits, targets
    return ()


def _set_unknown(cells: pl.Series, labels: Sequence[str]) -> pl.Series:
    num_known = pl.Series(indicators(cells, labels).sum(axis=1), dtype=pl.Int64)
    return (set_members(cells).list.len().cast(pl.Int64) != num_known).fill_null(value=True)


def _set_targets(cells: pl.Series, labels: Sequence[str]) -> Targets:
    return indicators(cells, labels).astype(np.float32)


def _set_scores(logits: Logits, targets: Targets) -> dict[str, float]:
    """Mean binary cross entropy over examples and labels, and macro-F1 from a probability of 0.5 on."""
    probabilities, truth = sigmoid(logits.astype(np.float64)), targets == 1
    given = given_labels(probabilities, np.full(truth.shape[1], HALF))
    counts = label_counts(truth, given, np.arange(len(truth))[None])
    return {
        "loss": float(row_log_losses(probabilities, truth).mean()),
        "macro_f1": float(macro_f1_of_sets(counts)[0]),
    }


def _set_thresholds(logits: Logits, targets: Targets) -> tuple[float, ...]:
    return tuple(tuned_thresholds(sigmoid(logits.astype(np.float64)), targets == 1).tolist())


def _set_described(labels: AdapterLabels, thresholds: Sequence[float]) -> AdapterLabels:
    return AdapterLabelSets(
        labels.labels,
        labels.label_words,
        labels.prompt_template,
        labels.max_length,
        labels.head,
        thresholds=tuple(thresholds) or (HALF,) * len(labels.labels),
    )


def _set_frame(
    text_hashes: Sequence[str], cells: Sequence[str | None], logits: Logits, labels: AdapterLabels
) -> pl.DataFrame:
    thresholds = labels.thresholds if isinstance(labels, AdapterLabelSets) else (HALF,) * len(labels.labels)
    return set_predictions_frame(text_hashes, cells, logits, labels.labels, thresholds)


_ONE_LABEL: Final = Objective(
    unknown=_single_unknown,
    targets=_single_targets,
    weights=example_weights,
    loss=weighted_loss,
    scores=_single_scores,
    thresholds=_no_thresholds,
    described=lambda labels, _: labels,
    frame=_single_frame,
)
_LABEL_SETS: Final = Objective(
    unknown=_set_unknown,
    targets=_set_targets,
    weights=set_weights,
    loss=weighted_set_loss,
    scores=_set_scores,
    thresholds=_set_thresholds,
    described=_set_described,
    frame=_set_frame,
)


def objective_of(config: "FtzardConfig") -> Objective:
    """That of the configured task, whose answers are labels."""
    return _LABEL_SETS if config.data.task == "multi_label" else _ONE_LABEL


def check_objective(labels: AdapterLabels, config: "FtzardConfig") -> None:
    """Check that an adapter gives what the configured task asks for: one label, or a set of them.

    Raises:
        AdapterMismatchError: It does not.
    """
    gives_sets = isinstance(labels, AdapterLabelSets)
    if gives_sets != (config.data.task == "multi_label"):
        made_for = "multi_label" if gives_sets else "classification"
        raise AdapterMismatchError(
            f"the adapter was trained for data.task={made_for}, and data.task={config.data.task} is configured",
            fix=f"set data.task={made_for}, or train an adapter for this task (with another "
            "tracking.registered_model, so that it has a champion of its own)",
        )
