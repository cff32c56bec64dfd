"""The loss of sets of labels: binary cross entropy, smoothed, focal and weighted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from ftzard.config import TrainingConfig
from ftzard.core.set_losses import label_losses, set_weights, weighted_set_loss
from ftzard.errors import ConfigError

_LABELS = ("a", "b", "c")


@st.composite
def _batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    num = draw(st.integers(1, 6))
    logits = draw(st.lists(st.floats(-30, 30, width=32), min_size=3 * num, max_size=3 * num))
    targets = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=3 * num, max_size=3 * num))
    return torch.tensor(logits).view(num, 3), torch.tensor(targets).view(num, 3)


@given(_batches())
def test_without_smoothing_and_focus_it_is_torchs_binary_cross_entropy(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    expected = torch.nn.functional.binary_cross_entropy_with_logits(*batch, reduction="none")
    torch.testing.assert_close(label_losses(*batch, 0.0, 0.0), expected)


@given(_batches(), st.floats(0, 0.9))
def test_smoothing_moves_each_target_towards_one_half(
    batch: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    logits, targets = batch
    smoothed = targets + smoothing * (0.5 - targets)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    torch.testing.assert_close(label_losses(logits, targets, smoothing, 0.0), expected, rtol=1e-4, atol=1e-5)
    # The other path of the code: the formula itself, with a factor that is almost 1.
    torch.testing.assert_close(label_losses(logits, targets, smoothing, 1e-7), expected, rtol=1e-3, atol=1e-3)


@given(_batches(), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_the_focal_loss_is_that_of_the_paper(batch: tuple[torch.Tensor, torch.Tensor], gamma: float) -> None:
    logits, targets = batch
    right = torch.where(targets == 1, logits.double(), -logits.double()).sigmoid()
    expected = (1 - right) ** gamma * -right.log()
    torch.testing.assert_close(label_losses(logits, targets, 0.0, gamma).double(), expected, rtol=1e-3, atol=1e-4)


def test_gradients_are_finite_where_the_model_is_certain() -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    (gradient,) = torch.autograd.grad(label_losses(logits, targets, 0.1, 0.5).sum(), logits)
    assert torch.isfinite(gradient).all()


def test_the_loss_of_examples_is_summed_and_that_of_labels_averaged() -> None:
    logits, targets = torch.zeros(2, 3), torch.ones(2, 3)
    weights = torch.tensor([[6.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    loss = weighted_set_loss(logits, targets, weights, TrainingConfig())
    assert float(loss) == pytest.approx(3 * np.log(2))


def test_balanced_weights_are_those_of_scikit_learn_label_by_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((50, 3)) < [0.1, 0.5, 0.8]).astype(np.float32)
    weights = set_weights(targets, _LABELS, TrainingConfig())
    for column, weight in zip(targets.T, weights.T, strict=True):
        lacks, has = compute_class_weight("balanced", classes=np.array([0, 1]), y=column)
        assert weight == pytest.approx(np.where(column == 1, has, lacks))
        # Having the label and not having it weigh the same, and an example one on average.
        assert weight[column == 1].sum() == pytest.approx(weight[column == 0].sum(), rel=1e-5)
    assert weights.mean() == pytest.approx(1, rel=1e-5)


def test_a_label_that_all_examples_have_or_none_is_weighed_as_it_is() -> None:
    targets = np.array([[1, 0, 1], [1, 0, 0]], dtype=np.float32)
    assert set_weights(targets, _LABELS, TrainingConfig()).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert set_weights(targets, _LABELS, TrainingConfig(class_weights="none")).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_explicit_weights_say_what_having_a_label_counts_beside_not_having_it() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 1]], dtype=np.float32)
    config = TrainingConfig(class_weights="explicit", class_weight_values={"a": 4.0, "b": 1.0, "c": 1.0})
    weights = set_weights(targets, _LABELS, config)
    assert weights[0, 0] == pytest.approx(4 * weights[1, 0])
    assert weights[0, 1] == pytest.approx(weights[1, 1])
    assert weights.mean() == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"weight for \['a', 'b', 'c'\], and the labels are \['a', 'b'\]"):
        set_weights(targets[:, :2], ("a", "b"), config)
