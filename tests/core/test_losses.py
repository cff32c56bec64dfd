"""The loss is what the papers say, its special cases are each other, and weights mean their proportions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.model_scenario import train

from ftzard.composition import compose
from ftzard.config import TrainingConfig
from ftzard.core.losses import balanced_class_weights, example_losses, example_weights, weighted_loss
from ftzard.errors import ConfigError

_LABELS = ("a", "b", "c")
_FRACTIONS = st.floats(0, 0.9)
_GAMMAS = st.floats(0, 5)


@st.composite
def _batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of shape (n, k) that want a gradient, and targets of shape (n,)."""
    num, num_labels = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    row = st.lists(st.floats(-40, 40), min_size=num_labels, max_size=num_labels)
    logits = draw(st.lists(row, min_size=num, max_size=num))
    targets = draw(st.lists(st.integers(0, num_labels - 1), min_size=num, max_size=num))
    return torch.tensor(logits, dtype=torch.float32, requires_grad=True), torch.tensor(targets)


@given(_batches(), _FRACTIONS)
def test_without_focus_it_is_torchs_cross_entropy_with_label_smoothing(
    batch: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    expected = torch.nn.functional.cross_entropy(*batch, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(example_losses(*batch, smoothing, 0.0), expected)


@given(_batches(), _FRACTIONS)
def test_the_focal_loss_approaches_cross_entropy_as_gamma_approaches_zero(
    batch: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    expected = torch.nn.functional.cross_entropy(*batch, reduction="none", label_smoothing=smoothing)
    # The other path of the code: the formula itself, with a factor that is almost 1.
    torch.testing.assert_close(example_losses(*batch, smoothing, 1e-6), expected, rtol=1e-3, atol=1e-3)


@given(_batches(), _GAMMAS)
def test_without_smoothing_it_is_the_focal_loss_of_the_paper(
    batch: tuple[torch.Tensor, torch.Tensor], gamma: float
) -> None:
    logits, targets = batch
    right = logits.double().softmax(dim=1).gather(1, targets[:, None])[:, 0]
    expected = (1 - right) ** gamma * -right.log()
    torch.testing.assert_close(example_losses(logits, targets, 0.0, gamma).double(), expected, rtol=1e-3, atol=1e-3)


@given(_batches(), _FRACTIONS, _GAMMAS)
def test_a_loss_is_not_negative_and_its_gradient_finite_however_sure_the_model_is(
    batch: tuple[torch.Tensor, torch.Tensor], smoothing: float, gamma: float
) -> None:
    losses = example_losses(*batch, smoothing, gamma)
    (gradient,) = torch.autograd.grad(losses.sum(), batch[0])
    assert bool((losses >= -1e-6).all())
    assert bool(gradient.isfinite().all())


def test_a_well_classified_example_counts_less_the_greater_gamma_is() -> None:
    logits, targets = torch.tensor([[3.0, 0.0], [0.0, 0.1]]), torch.tensor([0, 0])
    easy, hard = zip(*(example_losses(logits, targets, 0.0, gamma).tolist() for gamma in (0.0, 1.0, 2.0)), strict=True)
    assert easy[0] / hard[0] > 5 * easy[1] / hard[1] > 25 * easy[2] / hard[2]


def test_a_batchs_loss_is_the_weighted_sum() -> None:
    logits, targets = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    config = TrainingConfig(label_smoothing=0.1, focal_gamma=2.0)
    one, other = example_losses(logits, targets, 0.1, 2.0).tolist()
    assert float(weighted_loss(logits, targets, torch.tensor([3.0, 0.5]), config)) == pytest.approx(
        3 * one + 0.5 * other
    )


def _explicit(**values: float) -> TrainingConfig:
    return TrainingConfig(class_weights="explicit", class_weight_values=values)


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=50),
    st.lists(st.floats(0.1, 10), min_size=3, max_size=3),
    st.floats(0.1, 10),
)
def test_of_explicit_weights_only_the_proportions_matter_and_an_example_counts_one_on_average(
    targets: list[int], values: list[float], factor: float
) -> None:
    array = np.array(targets)
    one = example_weights(array, _LABELS, _explicit(**dict(zip(_LABELS, values, strict=True))))
    other = example_weights(array, _LABELS, _explicit(**{a: v * factor for a, v in zip(_LABELS, values, strict=True)}))
    assert one == pytest.approx(other, rel=1e-4)
    assert one.mean() == pytest.approx(1.0, rel=1e-4)
    assert one / one[0] == pytest.approx([values[target] / values[targets[0]] for target in targets], rel=1e-4)


def test_no_weights_means_that_each_example_counts_one() -> None:
    assert example_weights(np.array([0, 0, 2]), _LABELS, TrainingConfig(class_weights="none")).tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_balanced_weights_give_each_label_the_same_sum_and_each_example_one_on_average(targets: list[int]) -> None:
    array = np.array(targets)
    weights = balanced_class_weights(array, 4)
    sums = [weights[label] * targets.count(label) for label in set(targets)]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-4)
    assert weights[array].mean() == pytest.approx(1.0, rel=1e-4)
    assert all(weights[label] == 0 for label in range(4) if label not in targets)


@pytest.mark.parametrize("values", [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}])
def test_weights_for_other_labels_than_the_examples_are_refused_by_their_names(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"training\.class_weight_values has a weight for .* labels are \['a', 'b'"):
        example_weights(np.array([0, 1]), _LABELS, _explicit(**values))


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["training.class_weights=explicit"], "together"),
        (["training.class_weight_values={a:1,b:2}"], "together"),
        (["training.class_weights=explicit", "training.class_weight_values={a:1,b:0}"], "greater than 0"),
        (
            ["training.class_weights=explicit", "training.class_weight_values={a:1,b:2}", "data.labels=[a,c]"],
            r"\['a', 'b'\].*\['a', 'c'\]",
        ),
        (["training.label_smoothing=1"], "less than 1"),
        (["training.focal_gamma=-1"], "greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_loss_are_refused_by_their_key(overrides: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        compose(overrides)


def test_a_training_minimises_the_loss_that_is_configured(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", num_train_epochs=1)
    settings: dict[str, dict[str, Any]] = {
        "smoothed": {"label_smoothing": 0.3},
        "focal": {"focal_gamma": 2.0},
        "weighted": {"class_weights": "explicit", "class_weight_values": {"negative": 1, "positive": 9}},
    }
    first = {name: train(tmp_path / name, num_train_epochs=1, **given) for name, given in settings.items()}
    checksums = {result.adapter.checksum for result in first.values()} | {plain.adapter.checksum}
    assert len(checksums) == 4
    assert first["focal"].curve["loss"][0] < plain.curve["loss"][0]
