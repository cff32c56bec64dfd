"""Packed sequences give what each sequence alone gives, in values and in gradients, in every family that is packed."""

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ftzard.core.decoder_states import last_hidden_states
from ftzard.core.packed_attention import can_pack, packed_attention
from ftzard.core.prompts import Tokens

_SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}
_GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
_FAMILIES: dict[str, dict[str, Any]] = {
    "arcee": _GROUPED,
    "gemma": _GROUPED | {"head_dim": 8},
    "glm": _GROUPED | {"head_dim": 8},
    "glm4": _GROUPED | {"head_dim": 8},
    "gpt_neox": {},
    "helium": _GROUPED | {"head_dim": 8},
    "hunyuan_v1_dense": _GROUPED | {"head_dim": 8},
    "llama": _GROUPED,
    "ministral": _GROUPED | {"sliding_window": 64, "head_dim": 8},
    "mistral": _GROUPED | {"sliding_window": None},
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "olmo3": _GROUPED | {"sliding_window": 64, "head_dim": 8},
    "phi": _GROUPED,
    "phi3": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 8},
    "seed_oss": _GROUPED | {"head_dim": 8, "attention_dropout": 0.0, "residual_dropout": 0.0},
    "smollm3": _GROUPED,
    "starcoder2": _GROUPED | {"sliding_window": None},
}
_SEQUENCES = {
    "a common beginning": [[9, 8, 7, 1, 2, 3], [9, 8, 7, 4], [9, 8, 7, 5, 6, 7, 8], [9, 8, 7, 4]],
    "no common beginning": [[1, 2, 3, 4], [5], [6, 7]],
    "equal lengths": [[1, 2, 3], [4, 5, 6]],
    "one": [[1, 2, 3, 4, 5]],
}


def _decoder(family: str, attention: str = "eager", **values: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**_SMALL, **_FAMILIES.get(family, {}), **values})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    return model.eval().base_model


def _tokens(rows: list[list[int]]) -> list[Tokens]:
    return [np.array(row, dtype=np.int32) for row in rows]


def _alone(decoder: Any, rows: list[list[int]]) -> torch.Tensor:
    """As transformers computes each sequence by itself."""
    return torch.cat([decoder(input_ids=torch.tensor([row])).last_hidden_state[:, -1] for row in rows])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("rows", _SEQUENCES.values(), ids=_SEQUENCES.keys())
def test_values_and_gradients_are_those_of_each_sequence_alone(
    family: str, rows: list[list[int]], attention: str
) -> None:
    decoder = _decoder(family, attention)
    assert can_pack(decoder, 8)
    parameters = [parameter for parameter in decoder.parameters() if parameter.requires_grad]
    alone, packed = _alone(decoder, rows), last_hidden_states(decoder, _tokens(rows))
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 1, alone.numel()).view_as(alone)
    expected, found = (
        torch.autograd.grad((states * weights).sum(), parameters, allow_unused=True) for states in (alone, packed)
    )
    for first, second in zip(expected, found, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_last_layers_mlp_computes_the_last_tokens_alone_and_afterwards_all(family: str) -> None:
    decoder, rows = _decoder(family), _SEQUENCES["a common beginning"]
    seen: list[int] = []
    for layer in decoder.layers:
        linear = next(module for module in layer.mlp.modules() if isinstance(module, torch.nn.Linear))
        linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2]))
    last_hidden_states(decoder, _tokens(rows))
    # Three tokens are common, and nine are not.
    assert seen == [3 + 9, len(rows)]
    seen.clear()
    _alone(decoder, rows[:1])
    assert seen == [len(rows[0])] * 2


def test_a_forward_that_somebody_else_gave_the_mlp_is_computed_and_still_there_afterwards() -> None:
    decoder, rows = _decoder("llama"), _SEQUENCES["one"]
    mlp = decoder.layers[-1].mlp
    own, num_calls = mlp.forward, [0]

    def counted(states: torch.Tensor) -> Any:
        num_calls[0] += 1
        return own(states)

    mlp.forward = counted
    torch.testing.assert_close(last_hidden_states(decoder, _tokens(rows)), _alone(decoder, rows), rtol=1e-5, atol=1e-5)
    assert num_calls == [2]


@pytest.mark.parametrize(("family", "values"), [("mistral", {"sliding_window": 3}), ("gpt2", {}), ("falcon", {})])
def test_what_is_not_packed_is_padded_and_right_as_well(family: str, values: dict[str, Any]) -> None:
    decoder = _decoder(family, **values)
    rows = _SEQUENCES["a common beginning"]
    assert not can_pack(decoder, 7)
    torch.testing.assert_close(last_hidden_states(decoder, _tokens(rows)), _alone(decoder, rows), rtol=1e-5, atol=1e-5)


def test_afterwards_the_decoder_has_its_own_attention_also_after_a_failure() -> None:
    decoder = _decoder("llama")
    rows = [[1, 2], [3]]
    before = _alone(decoder, rows)
    last_hidden_states(decoder, _tokens(rows))
    with contextlib.suppress(RuntimeError), packed_attention(decoder):
        raise RuntimeError
    assert torch.equal(_alone(decoder, rows), before)


def test_many_sequences_give_a_prefix_its_gradient_in_bfloat16_too() -> None:
    """Added up one by one, hundreds of small gradients would be rounded away."""
    decoder = _decoder("llama").to(torch.bfloat16)
    rows = [[9, 8, 7, 1 + number % 50] for number in range(300)]
    embedding = decoder.get_input_embeddings().weight
    gradients = []
    for computed in (_alone(decoder, rows).float(), last_hidden_states(decoder, _tokens(rows))):
        (gradient,) = torch.autograd.grad(computed.square().mean(), embedding)
        gradients.append(gradient.float()[[7, 8, 9]])
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert error < 0.05
