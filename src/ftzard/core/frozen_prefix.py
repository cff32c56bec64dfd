"""The layers below the lowest one that is trained, computed once: what they make of a text is the same in every epoch.

With LoRA in the top layers alone, nothing below them ever changes. Their hidden states are kept for each text that is
trained on or validated with, and taken from there by every epoch, and by every trial of a study with the same texts.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ftzard.core.batching import micro_batches
from ftzard.core.byte_sizes import in_words
from ftzard.core.decoder_states import computing, packed_states
from ftzard.core.device_memory import free_bytes
from ftzard.core.packed_attention import can_pack
from ftzard.core.packing import PackedBatch, pack
from ftzard.core.prompts import Tokens
from ftzard.core.token_budget import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig
    from ftzard.core.base_model import BaseModel
    from ftzard.core.classifier import Classifier
    from ftzard.core.devices import Device

_logger = logging.getLogger(__name__)

# Of the memory that is free, at most; the rest is for training.
MAX_SHARE = 0.25
_NUMBER_OF_LAYER = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True, eq=False)
class FrozenPrefix:
    """Hidden states after a decoder's first layers.

    Attributes:
        num_layers: How many layers.
        states: A text's token ids as bytes -> shape (tokens, hidden), on the decoder's device.
    """

    num_layers: int
    states: "dict[bytes, torch.Tensor]"

    def knows(self, sequences: Sequence[Tokens]) -> bool:
        """Whether the states of all these texts are kept."""
        return all(ids.tobytes() in self.states for ids in sequences)

    def row(self, packed: PackedBatch, sequences: Sequence[Tokens]) -> "torch.Tensor":
        """The states of packed sequences, shape (1, m, hidden)."""
        import torch

        states = [self.states[ids.tobytes()] for ids in sequences]
        p = packed.prefix_length
        return torch.cat([states[0][:p], *(part[p:] for part in states)])[None]

    @contextmanager
    def put_into(self, decoder: Any, row: "torch.Tensor") -> Iterator[None]:
        """Within it the first layers hand on what is kept, whatever they are given."""
        first = decoder.layers[: self.num_layers]
        with _computing_nothing(first[:-1]), computing(first[-1], lambda *_, **__: row):
            yield


def with_kept_prefix(
    base: "BaseModel", classifier: "Classifier", sequences: Sequence[Tokens], config: "TrainingConfig"
) -> "Classifier":
    """A classifier whose layers below the trained ones are computed once for each of the texts.

    The texts are computed in an order of their own before anything is trained, so that the states do not depend on what
    is trained on when, nor on where a training is gone on with.

    Args:
        base: What the classifier is on; it keeps the states for a next training on the same texts.
        classifier: With its adapter on it.
        sequences: Token ids of the texts.
        config: Whether states are kept, and how many tokens are computed at once.

    Returns:
        The same classifier where they are not to be kept, where there are no such layers, where the architecture is
        none that is packed, or where the states would take more than a quarter of the memory that is free.
    """
    max_tokens = config.max_tokens_per_batch
    distinct = list({ids.tobytes(): ids for ids in sequences}.values())
    if not config.keep_frozen_layers or not distinct:
        return classifier
    # Only of what is packed is it known where the layers are.
    is_packed = can_pack(classifier.decoder, max(map(len, distinct)))
    num_layers = num_frozen_layers(classifier.decoder) if is_packed else 0
    if not num_layers:
        return classifier
    key = num_layers, max_tokens, _checksum(distinct)
    if key not in base.prefixes:
        # One is kept: those of earlier texts are as large.
        base.prefixes.clear()
        states = _computed_if_there_is_room(classifier, distinct, num_layers, max_tokens)
        if states is not None:
            base.prefixes[key] = FrozenPrefix(num_layers, states)
    return replace(classifier, prefix=base.prefixes.get(key))


def num_frozen_layers(decoder: Any) -> int:
    """Layers at the bottom of a decoder that are the same throughout a training: no weight changes, and no dropout."""
    import torch

    if any(part.requires_grad for part in decoder.get_input_embeddings().parameters()):
        return 0
    trained = [name for name, part in decoder.named_parameters() if part.requires_grad]
    found = [match for name in trained if (match := _NUMBER_OF_LAYER.search(name))]
    if not found:
        return 0
    num = min(int(match[1]) for match in found)
    modules = [module for layer in decoder.layers[:num] for module in layer.modules()]
    has_dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in modules)
    attention_dropout: float = getattr(decoder.config.get_text_config(), "attention_dropout", None) or 0.0
    return 0 if has_dropout or attention_dropout > 0 else num


def _computed_if_there_is_room(
    classifier: "Classifier", sequences: Sequence[Tokens], num_layers: int, max_tokens: int
) -> "dict[bytes, torch.Tensor] | None":
    weight = classifier.decoder.get_input_embeddings().weight
    size = sum(map(len, sequences)) * classifier.hidden_size * weight.element_size()
    if size > MAX_SHARE * free_bytes(cast("Device", classifier.device)):
        _logger.info("the %d frozen layers are computed each time: to keep them takes %s", num_layers, in_words(size))
        return None
    try:
        states = _computed(classifier, sequences, num_layers, max_tokens)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _logger.warning("memory ran out: the %d frozen layers are computed each time", num_layers)
        return None
    _logger.info("what the %d frozen layers make of %d texts is kept: %s", num_layers, len(states), in_words(size))
    return states


def _computed(
    classifier: "Classifier", sequences: Sequence[Tokens], num_layers: int, max_tokens: int
) -> "dict[bytes, torch.Tensor]":
    import torch

    decoder, lengths = classifier.decoder, np.array([len(ids) for ids in sequences], dtype=np.int64)
    states: dict[bytes, torch.Tensor] = {}
    rows: list[torch.Tensor] = []
    # The layers above are not needed, and whatever comes after them is small.
    with torch.no_grad(), _computing_nothing(decoder.layers[num_layers:]), ExitStack() as stack:
        hook = decoder.layers[num_layers - 1].register_forward_hook(lambda _module, _input, output: rows.append(output))
        stack.callback(hook.remove)
        for batch in micro_batches(np.arange(len(sequences)), lengths, max_tokens):
            some = [sequences[index] for index in batch]
            packed = pack(some)
            packed_states(decoder, packed)
            row = rows.pop()[0]
            beginning, rest = row[: packed.prefix_length], row[packed.prefix_length :]
            for ids, own in zip(some, torch.split(rest, packed.lengths.tolist()), strict=True):
                states[ids.tobytes()] = torch.cat([beginning, own])
    return states


@contextmanager
def _computing_nothing(layers: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(computing(layer, lambda hidden_states, *_, **__: hidden_states))
        yield


def _checksum(sequences: Sequence[Tokens]) -> str:
    digest = hashlib.sha256()
    for ids in sequences:
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    return digest.hexdigest()
