"""How long a training takes at best: matrix products at their rate, and what comes on top of them.

On top come activations, which are written, read and turned into gradients, and for each micro-batch, however few tokens
it has, the calls of each layer's operations and a look at all weights. The efficiency that an earlier training had
scales all of them alike; what they are to each other lets it say something about another token budget, another
floating-point type and a model of another width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ftzard.core.outline import Outline
from ftzard.core.training_work import Work

if TYPE_CHECKING:
    import torch

    from ftzard.core.devices import Device

# Fitted to the seven trainings of `benchmarks/estimate.py` on two x86 cores with torch 2.13; two models, two types, 256
# to 4,096 tokens at once. On CUDA nothing was measured: there operations alone count, and the efficiency is a guess.
_LAYER_S: Final[Mapping[str, float]] = {"cpu": 0.00135, "cuda": 0.0}
_WEIGHT_BYTES_PER_S: Final[Mapping[str, float]] = {"cpu": 5e9, "cuda": math.inf}
_ACTIVATION_BYTES_PER_S: Final[Mapping[str, float]] = {"cpu": 2.5e9, "cuda": math.inf}
DEFAULT_EFFICIENCY: Final[Mapping[str, float]] = {"cpu": 0.9, "cuda": 0.5}
# Of TRL's trainers, which compute LoRA's matrices one by one, and in float32; on CUDA a guess too.
DEFAULT_EFFICIENCY_OF_TRL: Final[Mapping[str, float]] = {"cpu": 0.7, "cuda": 0.4}
# Weights are read forward and backward.
_NUM_READS: Final = 2
# The share of what comes on top that a pass without gradients takes.
_WITHOUT_GRADIENTS: Final = 0.5


@dataclass(frozen=True)
class Pace:
    """What a device needs at best.

    Attributes:
        flop_per_s: Floating-point operations a second of matrix products, on all devices together.
        token_s: Seconds for each token besides.
        batch_s: Seconds for each micro-batch besides.
    """

    flop_per_s: float
    token_s: float
    batch_s: float

    @classmethod
    def of(
        cls, counted: Outline, work: Work, model_config: Any, kind: "tuple[Device, torch.dtype]", flop_per_s: float
    ) -> "Pace":
        """The pace of a training.

        Args:
            counted: Its tensors, for the largest micro-batch of the work.
            work: What is to be computed.
            model_config: The base model's configuration, as transformers has it.
            kind: Where is computed, and in which floating-point type.
            flop_per_s: As measured.
        """
        device, dtype = kind
        token_bytes = counted.activation_bytes / sum(map(len, work.largest))
        # Through frozen layers no gradient goes.
        frozen = counted.num_frozen / counted.num_computed
        layers_s = _LAYER_S[device] * int(model_config.get_text_config().num_hidden_layers)
        weights_s = _NUM_READS * counted.num_computed * dtype.itemsize / _WEIGHT_BYTES_PER_S[device]
        batch_s = (layers_s + weights_s) * (1 - frozen + _WITHOUT_GRADIENTS * frozen)
        return cls(flop_per_s, token_bytes / _ACTIVATION_BYTES_PER_S[device], batch_s)

    def seconds(self, work: Work, flop: float) -> float:
        """For all of the work, whose texts are known and which takes so many operations."""
        num_tokens = (work.num_train_tokens or 0) + _WITHOUT_GRADIENTS * (work.num_validation_tokens or 0)
        num_batches = work.num_train_batches + _WITHOUT_GRADIENTS * work.num_validation_batches
        return flop / self.flop_per_s + num_tokens * self.token_s + num_batches * self.batch_s

    def seconds_per_example(self, work: Work, flop_per_token: float) -> float:
        """For a text of mean length in one epoch, without validations."""
        token_s = flop_per_token / self.flop_per_s + self.token_s
        return work.mean_tokens * token_s + work.batches_per_example * self.batch_s
