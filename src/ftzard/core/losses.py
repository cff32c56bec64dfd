"""What a training minimises: the loss of each example, and what each example counts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftzard.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig

Targets = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]

# From here to 1, a probability's distance from 1 is taken to be this: a power below 1 has an infinite slope at 0.
_SMALLEST_DISTANCE = 1e-6


def weighted_loss(
    logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor", config: "TrainingConfig"
) -> "torch.Tensor":
    """Sum of the examples' losses, each times its weight; a scalar.

    Args:
        logits: Shape (n, k), float32.
        targets: Label of each example, shape (n,), int64.
        weights: What each example counts, shape (n,).
        config: Label smoothing and focal gamma.
    """
    return (example_losses(logits, targets, config.label_smoothing, config.focal_gamma) * weights).sum()


def example_losses(
    logits: "torch.Tensor", targets: "torch.Tensor", label_smoothing: float, focal_gamma: float
) -> "torch.Tensor":
    """Focal loss of each example against its smoothed target.

    With p the softmax of the logits and q the target, sum_k q_k (1 - p_k)^gamma (-log p_k). The focal factor is that of
    Lin et al. 2017 (Focal Loss for Dense Object Detection, equation 4); q is 1 - e + e/K at the label and e/K elsewhere
    (Szegedy et al. 2016, Rethinking the Inception Architecture, section 7). With gamma 0 and e 0 it is cross entropy.

    Args:
        logits: Shape (n, k), float32.
        targets: Label of each example, shape (n,), int64.
        label_smoothing: e, in [0, 1).
        focal_gamma: gamma, 0 or above.

    Returns:
        Shape (n,), each 0 or above.
    """
    import torch

    if focal_gamma == 0:
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    log_probabilities = logits.log_softmax(dim=1)
    distances = (-torch.expm1(log_probabilities)).clamp_min(_SMALLEST_DISTANCE)
    terms = -log_probabilities * distances**focal_gamma
    at_label = terms.gather(1, targets[:, None])[:, 0]
    return (1 - label_smoothing) * at_label + label_smoothing * terms.mean(dim=1)


def example_weights(targets: Targets, labels: Sequence[str], config: "TrainingConfig") -> Weights:
    """What each example counts in the loss, shape (n,); 1 on average, so that the learning rate keeps its meaning.

    Args:
        targets: Label of each example, shape (n,), n > 0.
        labels: The label set, in the order of the targets' numbers.
        config: How labels are weighed.

    Raises:
        ConfigError: Explicit weights are not for exactly these labels.
    """
    if config.class_weights == "none":
        return np.ones(len(targets), dtype=np.float32)
    if config.class_weights == "balanced":
        return balanced_class_weights(targets, len(labels))[targets]
    check_explicit_weights(labels, config)
    weights = np.array([config.class_weight_values[label] for label in labels])[targets]
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def check_explicit_weights(labels: Sequence[str], config: "TrainingConfig") -> None:
    """Check that `training.class_weight_values` is for exactly these labels.

    Raises:
        ConfigError: It is not.
    """
    given = config.class_weight_values
    if set(given) != set(labels):
        raise ConfigError(
            f"training.class_weight_values has a weight for {sorted(given)}, and the labels are {list(labels)}",
            fix="give a weight for each of the labels and for no other",
        )


def balanced_class_weights(targets: Targets, num_labels: int) -> Weights:
    """Weights that let every label count the same in the loss.

    A label's weight is n / (k n_label), k being the labels that occur (King and Zeng 2001; scikit-learn's "balanced").
    Their mean over the examples is 1.

    Args:
        targets: Label of each example, shape (n,), n > 0.
        num_labels: Labels that may occur.

    Returns:
        Shape (num_labels,); 0 for a label that does not occur.
    """
    counts = np.bincount(targets, minlength=num_labels)
    num_occurring = np.count_nonzero(counts)
    weights = np.divide(len(targets), num_occurring * counts, out=np.zeros(num_labels), where=counts > 0)
    return np.asarray(weights, dtype=np.float32)
