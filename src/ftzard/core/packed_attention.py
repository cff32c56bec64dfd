"""Attention over sequences that lie packed in one row, for models that let somebody else compute it.

Everything else in a decoder (linear layers, norms, activations) treats tokens one by one, so a packed row goes through
transformers' own modules as it is, without a token of padding. Only attention has to know where a sequence begins. For
that transformers has an interface: a function under a name, which the model calls in the place of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.packing import PackedBatch

if TYPE_CHECKING:
    import torch

_NAME = "ftzard_packed"
# The families whose attention is the plain one and that hand everything on to the function; each is tested.
_FAMILIES = frozenset(
    {
        "arcee",
        "gemma",
        "glm",
        "glm4",
        "gpt_neox",
        "helium",
        "hunyuan_v1_dense",
        "llama",
        "ministral",
        "mistral",
        "olmo",
        "olmo2",
        "olmo3",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "seed_oss",
        "smollm3",
        "starcoder2",
    }
)


@dataclass(frozen=True, eq=False)
class AttentionLayout:
    """Where attention finds the sequences of a packed row; p tokens of prefix, then n sequences of at most l tokens.

    Attributes:
        prefix_length: p.
        num_sequences: n.
        longest: l.
        to_rectangle: Shape (n l,); the token, counted after the prefix, for each place of a rectangle of n rows, whose
            surplus places repeat the row's first token. None where all sequences are equally long.
        from_rectangle: The place in the rectangle of each token after the prefix; None likewise.
        mask: Shape (l, p + l); 0 where a token may look, minus infinity where not.
        is_fused: Whether torch's fused attention computes it, which needs no room for the weights of long sequences; on
            a CPU its gradients take longer.
    """

    prefix_length: int
    num_sequences: int
    longest: int
    to_rectangle: "torch.Tensor | None"
    from_rectangle: "torch.Tensor | None"
    mask: "torch.Tensor"
    is_fused: bool

    @classmethod
    def of(cls, packed: PackedBatch, like: "torch.Tensor", *, is_fused: bool) -> "AttentionLayout":
        """The layout of a batch, on the device and in the floating-point type of a tensor."""
        import torch

        lengths, longest = packed.lengths, int(packed.lengths.max())
        prefix = packed.prefix_length
        mask = torch.full((longest, prefix + longest), float("-inf"), device=like.device, dtype=like.dtype)
        to_rectangle = from_rectangle = None
        if int(lengths.min()) != longest:
            starts = lengths.cumsum() - lengths
            places = np.arange(longest)[None, :]
            is_real = places < lengths[:, None]
            to_rectangle = torch.from_numpy((starts[:, None] + np.where(is_real, places, 0)).ravel()).to(like.device)
            from_rectangle = torch.from_numpy(np.flatnonzero(is_real.ravel())).to(like.device)
        return cls(prefix, len(lengths), longest, to_rectangle, from_rectangle, mask.triu_(prefix + 1), is_fused)

    def rectangle(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """The tokens after the prefix, shape (m - p, width), as a rectangle of shape (n, l, width)."""
        if self.to_rectangle is not None:
            tokens = tokens.index_select(0, self.to_rectangle)
        return tokens.view(self.num_sequences, self.longest, -1)

    def row(self, rectangle: "torch.Tensor") -> "torch.Tensor":
        """The opposite of `rectangle`."""
        tokens = rectangle.reshape(self.num_sequences * self.longest, -1)
        return tokens if self.from_rectangle is None else tokens.index_select(0, self.from_rectangle)


def can_pack(decoder: Any, longest: int) -> bool:
    """Whether a decoder computes packed sequences of up to so many tokens right.

    A family that has not been tried is not packed, nor a sequence that a sliding window would cut.
    """
    config = decoder.config
    window = getattr(config, "sliding_window", None)
    return (
        config.model_type in _FAMILIES
        and bool(getattr(decoder, "_supports_attention_backend", False))
        and (window is None or longest <= window)
    )


@contextmanager
def packed_attention(decoder: Any) -> Iterator[str]:
    """Within it the decoder calls `attend`, and expects a `packed_layout`; afterwards it is as it was.

    Yields:
        The name of the attention that it has otherwise.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, attend)
    before = decoder.config._attn_implementation  # noqa: SLF001 - the setter would look for a kernel of that name
    decoder.config._attn_implementation = _NAME  # noqa: SLF001
    try:
        yield str(before)
    finally:
        decoder.config._attn_implementation = before  # noqa: SLF001


def attend(  # noqa: PLR0913 - transformers' signature
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None,
    *,
    packed_layout: AttentionLayout,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Causal attention of each sequence to the prefix and to itself.

    Args:
        module: The attention layer.
        query: Shape (1, h, m, d).
        key: Shape (1, h / g, m, d); g query heads share one key head.
        value: As `key`.
        attention_mask: None; who sees whom is in the layout.
        packed_layout: Where the sequences are.
        scaling: Of the scores.
        dropout: Of the attention's weights.

    Returns:
        Shape (1, m, h d), and None for the weights.
    """
    import torch

    del module, attention_mask
    layout, p = packed_layout, packed_layout.prefix_length
    num_keys = key.shape[1]
    queries, keys, values = (part[0].transpose(0, 1).flatten(1) for part in (query * scaling, key, value))
    own_keys, own_values = layout.rectangle(keys[p:]), layout.rectangle(values[p:])
    if p:
        # Expanded, so that the gradients of all sequences meet in one sum, and not one by one in few bits.
        n = layout.num_sequences
        own_keys = torch.cat([keys[:p].expand(n, p, keys.shape[1]), own_keys], dim=1)
        own_values = torch.cat([values[:p].expand(n, p, values.shape[1]), own_values], dim=1)
    attend_heads = partial(_causal, num_keys=num_keys, dropout=dropout, is_fused=layout.is_fused)
    attended = layout.row(attend_heads(layout.rectangle(queries[p:]), own_keys, own_values, layout.mask))
    if p:
        among_prefix = layout.mask.new_full((p, p), float("-inf")).triu_(1)
        prefix = attend_heads(queries[None, :p], keys[None, :p], values[None, :p], among_prefix)
        attended = torch.cat([prefix[0], attended])
    return attended[None], None


def _causal(
    queries: "torch.Tensor",
    keys: "torch.Tensor",
    values: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    num_keys: int,
    dropout: float,
    is_fused: bool,
) -> "torch.Tensor":
    """Attention of scaled queries, shape (n, l, h d), to keys and values of shape (n, k, h d / g): (n, l, h d)."""
    import torch

    n, length, width = queries.shape
    head = keys.shape[2] // num_keys
    groups = width // keys.shape[2]
    # The query heads that share a key head lie one below the other, so that its keys are read once for all of them.
    stacked = queries.view(n, length, num_keys, groups, head).permute(0, 2, 3, 1, 4)
    keys = keys.view(n, -1, num_keys, head).transpose(1, 2)
    values = values.view(n, -1, num_keys, head).transpose(1, 2)
    if is_fused:
        heads = stacked.reshape(n, num_keys * groups, length, head)
        attended = torch.nn.functional.scaled_dot_product_attention(
            heads, keys, values, attn_mask=mask, dropout_p=dropout, scale=1.0, enable_gqa=groups > 1
        ).view(n, num_keys, groups, length, head)
    else:
        keys, values = (part.reshape(n * num_keys, -1, head) for part in (keys, values))
        shared = mask.repeat(groups, 1).expand(n * num_keys, groups * length, -1)
        stacked = stacked.reshape(n * num_keys, groups * length, head)
        weights = torch.baddbmm(shared, stacked, keys.transpose(1, 2)).softmax(dim=-1)
        weights = torch.nn.functional.dropout(weights, dropout) if dropout else weights
        attended = torch.bmm(weights, values).view(n, num_keys, groups, length, head)
    return attended.permute(0, 3, 1, 2, 4).reshape(n, length, width)
