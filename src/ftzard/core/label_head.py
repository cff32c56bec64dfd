"""The classifier's first weights: what the language model already knows about the labels' words.

A causal language model scores the next token by the scalar product of its last hidden state with the token's row of
the output embedding. With a prompt that ends where the label would come, the rows of the labels' words are therefore a
classifier before any training (the idea of verbalizers, Schick and Schuetze 2021). On few examples this start matters
more than any other choice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftzard.core.prompts import label_word_tokens, unusable_words

if TYPE_CHECKING:
    import torch

    from ftzard.core.base_model import BaseModel

_logger = logging.getLogger(__name__)

# Spread of a random head where the model's configuration names none; the usual one of transformers.
_INITIALIZER_RANGE = 0.02


@dataclass(frozen=True, eq=False)
class LabelHead:
    """The head a classifier starts from.

    Attributes:
        weight: Shape (k, hidden), float32, on the CPU; a row for each label.
        kind: Where it comes from.
        reason: Why it is random; None where it is not, or where random was asked for.
    """

    weight: "torch.Tensor"
    kind: Literal["label_words", "random"]
    reason: str | None


def make_label_head(
    base: "BaseModel", labels: Sequence[str], words: Sequence[str], requested: Literal["label_words", "random"]
) -> LabelHead:
    """Make the head's first weights.

    A random head is drawn from torch's global generator, which the caller has seeded.

    Args:
        base: The language model; its output embedding is read.
        labels: The k labels.
        words: Their words.
        requested: `label_words` becomes a random head where a label has no usable word; `reason` and the log say so.
    """
    if requested == "random":
        return LabelHead(_random_weight(base, len(labels)), "random", None)
    unusable = unusable_words(labels, words, base.tokenizer)
    if unusable:
        named = "; ".join(f"label {label!r}: {reason}" for label, reason in unusable.items())
        reason = f"the head starts from random weights, because not every label has a usable word ({named})"
        _logger.warning("%s; give words with model.label_words", reason)
        return LabelHead(_random_weight(base, len(labels)), "random", reason)
    return LabelHead(_word_weight(base, words), "label_words", None)


def _word_weight(base: "BaseModel", words: Sequence[str]) -> "torch.Tensor":
    """A word's row is the mean over its tokens; the mean over the labels is taken off, as it moves all logits alike."""
    import torch

    embedding = base.model.get_output_embeddings().weight.detach()
    tokens = label_word_tokens(words, base.tokenizer)
    rows = torch.stack([embedding[ids].float().mean(dim=0) for ids in tokens])
    return (rows - rows.mean(dim=0)).cpu()


def _random_weight(base: "BaseModel", num_labels: int) -> "torch.Tensor":
    import torch

    config = base.model.config.get_text_config()
    spread = getattr(config, "initializer_range", _INITIALIZER_RANGE)
    return torch.randn(num_labels, config.hidden_size) * spread
