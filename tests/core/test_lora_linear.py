"""A LoRA layer in one operation is PEFT's layer: the same values, the same gradients, and PEFT's again afterwards."""

import contextlib
import copy
from typing import Any

import peft
import pytest
import torch

from ftzard.core.lora_linear import fused_lora


def _model(*, bias: bool = False, **lora: Any) -> Any:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(12, 20, bias=bias), torch.nn.SiLU(), torch.nn.Linear(20, 5, bias=bias))
    config = peft.LoraConfig(target_modules=["0", "2"], r=3, lora_alpha=7, **lora)
    model = peft.get_peft_model(module, config).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return model


def _results(model: Any, x: torch.Tensor) -> list[torch.Tensor]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    y = model(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("shape", [(4, 12), (2, 3, 12), (1, 12)])
def test_values_and_gradients_are_pefts(shape: tuple[int, ...], bias: bool, use_rslora: bool) -> None:
    model = _model(bias=bias, use_rslora=use_rslora)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    expected = _results(model, x)
    with fused_lora(model) as num_fused:
        found = _results(model, x)
    assert num_fused == 2
    for first, second in zip(expected, found, strict=True):
        torch.testing.assert_close(second, first)


def test_the_gradient_is_that_of_finite_differences() -> None:
    model = _model(bias=True)
    x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    with fused_lora(model):
        assert torch.autograd.gradcheck(model, (x,))


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_layers_that_are_not_plain_stay_as_they_are(lora: dict[str, Any]) -> None:
    model = _model(bias=True, **lora).eval()
    x = torch.randn(4, 12, dtype=torch.float64)
    expected = model(x)
    with fused_lora(model) as num_fused:
        assert num_fused == 0
        assert torch.equal(model(x), expected)


def test_afterwards_the_layers_are_pefts_again_also_after_a_failure() -> None:
    model = _model()
    untouched = copy.deepcopy(model)
    x = torch.randn(4, 12, dtype=torch.float64)
    with contextlib.suppress(RuntimeError), fused_lora(model):
        raise RuntimeError
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(model(x), untouched(x))
