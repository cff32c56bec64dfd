"""What a training minimises where a text has any number of labels: for each label, whether the text has it.

The outputs are independent of each other (binary relevance): each is the logit of its label, through a sigmoid.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftzard.core.losses import check_explicit_weights

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig

# 1 where an example has the label, else 0; shape (n, k).
SetTargets = npt.NDArray[np.float32]
SetWeights = npt.NDArray[np.float32]


def weighted_set_loss(
    logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor", config: "TrainingConfig"
) -> "torch.Tensor":
    """Sum over the examples of the mean over the labels of their losses, each times its weight; a scalar.

    Args:
        logits: Shape (n, k), float32.
        targets: 1 or 0, shape (n, k), float32.
        weights: What having, or not having, a label counts, shape (n, k).
        config: Label smoothing and focal gamma.
    """
    losses = label_losses(logits, targets, config.label_smoothing, config.focal_gamma)
    return (losses * weights).mean(dim=1).sum()


def label_losses(
    logits: "torch.Tensor", targets: "torch.Tensor", label_smoothing: float, focal_gamma: float
) -> "torch.Tensor":
    """Focal loss of each label of each example against its smoothed target.

    With p the sigmoid of the logit and q the target, q (1 - p)^gamma (-log p) + (1 - q) p^gamma (-log(1 - p)): the
    focal loss of Lin et al. 2017 (Focal Loss for Dense Object Detection, equation 4) in the form that it was made for.
    q is (1 - e) y + e / 2, label smoothing over the two answers that there are. With gamma 0 and e 0 it is binary cross
    entropy.

    Args:
        logits: Shape (n, k), float32.
        targets: y, 1 or 0, shape (n, k), float32.
        label_smoothing: e, in [0, 1).
        focal_gamma: gamma, 0 or above.

    Returns:
        Shape (n, k), each 0 or above.
    """
    import torch

    smoothed = targets * (1 - label_smoothing) + label_smoothing / 2
    if focal_gamma == 0:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    log_has, log_lacks = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    # (1 - p)^gamma by its logarithm, which has no infinite slope where p is 1.
    has = -log_has * torch.exp(focal_gamma * log_lacks)
    lacks = -log_lacks * torch.exp(focal_gamma * log_has)
    return smoothed * has + (1 - smoothed) * lacks


def set_weights(targets: SetTargets, labels: Sequence[str], config: "TrainingConfig") -> SetWeights:
    """What each label of each example counts in the loss, shape (n, k); 1 on average.

    Args:
        targets: 1 or 0, shape (n, k), n > 0.
        labels: The label set, in the order of the columns.
        config: `balanced` lets having and not having a label count the same (scikit-learn's "balanced", label by label;
            a `pos_weight` of those without over those with it); `explicit` gives what having it counts beside not
            having it.

    Raises:
        ConfigError: Explicit weights are not for exactly these labels.
    """
    if config.class_weights == "none":
        return np.ones_like(targets)
    if config.class_weights == "explicit":
        check_explicit_weights(labels, config)
        factors = np.array([config.class_weight_values[label] for label in labels])
        weights = np.where(targets == 1, factors, 1.0)
        return np.asarray(weights / weights.mean(), dtype=np.float32)
    num_rows, num_with = len(targets), targets.sum(axis=0, dtype=np.float64)
    is_told = (num_with > 0) & (num_with < num_rows)
    # What all examples have, or none, has nothing to be balanced with.
    has = np.divide(num_rows, 2 * num_with, out=np.ones_like(num_with), where=is_told)
    lacks = np.divide(num_rows, 2 * (num_rows - num_with), out=np.ones_like(num_with), where=is_told)
    return np.asarray(np.where(targets == 1, has, lacks), dtype=np.float32)
