"""How sequences are put to a decoder, and its hidden state at the last token of each.

Packed in one row where the architecture allows it, else padded at the right, which needs no mask; and the hidden state
at a position that is known instead of looked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ftzard.core.batching import pad_right
from ftzard.core.packed_attention import AttentionLayout, can_pack, packed_attention
from ftzard.core.packing import PackedBatch, pack
from ftzard.core.prompts import Tokens

if TYPE_CHECKING:
    import torch

    from ftzard.core.frozen_prefix import FrozenPrefix


def last_hidden_states(
    decoder: Any, sequences: Sequence[Tokens], prefix: "FrozenPrefix | None" = None
) -> "torch.Tensor":
    """The decoder's last hidden state at each sequence's last token.

    Args:
        decoder: With or without an adapter in it.
        sequences: The token ids of n sequences.
        prefix: What its first layers make of sequences that are known.

    Returns:
        Shape (n, hidden), float32, on the decoder's device.
    """
    is_packable = can_pack(decoder, max(map(len, sequences)))
    return _packed_states(decoder, sequences, prefix) if is_packable else _padded_states(decoder, sequences)


def packed_states(decoder: Any, packed: PackedBatch) -> "torch.Tensor":
    """The last hidden state of each token of a packed row: shape (m, hidden), in the decoder's own type."""
    import torch

    weight = decoder.get_input_embeddings().weight
    ids, positions = (torch.from_numpy(values).to(weight.device) for values in (packed.input_ids, packed.position_ids))
    with packed_attention(decoder) as otherwise:
        output = decoder(
            input_ids=ids[None],
            position_ids=positions[None],
            use_cache=False,
            packed_layout=AttentionLayout.of(packed, weight, is_fused=otherwise == "sdpa"),
        )
    states: torch.Tensor = output.last_hidden_state[0]
    return states


def _packed_states(decoder: Any, sequences: Sequence[Tokens], prefix: "FrozenPrefix | None") -> "torch.Tensor":
    import torch

    packed = pack(sequences)
    last = torch.from_numpy(packed.last_token).to(decoder.get_input_embeddings().weight.device)
    is_known = prefix is not None and prefix.knows(sequences)
    with (
        prefix.put_into(decoder, prefix.row(packed, sequences)) if prefix and is_known else nullcontext(),
        _last_mlp_of(decoder, last),
    ):
        states = packed_states(decoder, packed)
    return states[last].float()


@contextmanager
def _last_mlp_of(decoder: Any, tokens: "torch.Tensor") -> Iterator[None]:
    """Within it the last layer's MLP computes some tokens alone: what it makes of the others, nothing looks at.

    Attention has let tokens see each other before; an MLP is half and more of a layer, and treats them one by one.

    Args:
        decoder: With a packed row to come.
        tokens: Places in the row, shape (n,).
    """
    import torch

    mlp = decoder.layers[-1].mlp
    compute = mlp.forward

    def forward(states: "torch.Tensor") -> "torch.Tensor":
        some = compute(states.index_select(1, tokens))
        return torch.zeros_like(states).index_copy(1, tokens, some)

    with computing(mlp, forward):
        yield


@contextmanager
def computing(module: Any, forward: Any) -> Iterator[None]:
    """Within it a module computes what a function does; afterwards what it did before."""
    # An instance's attribute hides the class's method, and goes with it. Others may have put one there, too.
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _padded_states(decoder: Any, sequences: Sequence[Tokens]) -> "torch.Tensor":
    """In a causal model no token sees a later one, so what pads a row at its right changes nothing before it."""
    import torch

    padded = pad_right(sequences)
    device = decoder.get_input_embeddings().weight.device
    ids, last = (torch.from_numpy(values).to(device) for values in (padded.input_ids, padded.last_token))
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
    pooled: torch.Tensor = hidden[torch.arange(len(last), device=device), last]
    return pooled.float()
