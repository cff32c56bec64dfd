"""What of a training takes how much memory: what was counted, and shares that were measured.

The shares are those of trainings beside `benchmarks/estimate.py`, on two x86 cores with torch 2.13, TRL 1.16 and glibc.
On CUDA nothing was measured: there the temporaries of torch's own allocator are guessed.
"""

from collections.abc import Mapping

from ftzard.core.devices import Device
from ftzard.core.outline import Outline
from ftzard.core.training_work import Work

_FLOAT32 = 4
# float32 masters, their gradients, and AdamW's two moments.
_OPTIMIZER_TENSORS = 4
# Memory over what the forward pass keeps, at the peak of the backward pass: temporaries, and on the CPU the pieces that
# the C library's allocator cannot reuse. SmolLM2-135M, 256 to 2,048 tokens: 1.63 to 1.69 in float32, 1.27 to 1.33 in
# bfloat16. Of TRL's trainers, which train transformers' own layers, beside the output layer's: 1.87 in float32, 1.2 to
# 1.35 in bfloat16.
_OVER_ACTIVATIONS = {("cpu", "float32"): 1.65, ("cpu", "bfloat16"): 1.3}
_OVER_ACTIVATIONS_OF_TRL = {("cpu", "float32"): 1.87, ("cpu", "bfloat16"): 1.25}
_OVER_ACTIVATIONS_ELSEWHERE = 1.15
# What libraries take the first time that they compute, those that TRL brings along included. Measured with the tiny
# model, whose own tensors are next to nothing; on CUDA the context is not part of what torch reports as allocated.
_LIBRARIES: Mapping[str, int] = {"cpu": 18 * 2**20, "cuda": 16 * 2**20}
_LIBRARIES_OF_TRL: Mapping[str, int] = {"cpu": 115 * 2**20, "cuda": 16 * 2**20}
# TRL's output layer: tokens of answers and words at once, in float32, and how many such tensors its backward pass has;
# measured by itself (7.5 to 8.0). On CUDA it has kernels of its own, which write one.
_TILE = (4096, 32768)
_NUM_TILES: Mapping[str, float] = {"cpu": 7.75, "cuda": 1.0}
# And how many copies of so many words' weights, in float32, a training was found to take on top.
_NUM_WEIGHT_TILES: Mapping[str, float] = {"cpu": 3.5, "cuda": 1.0}


def memory_parts(counted: Outline, work: Work, kind: tuple[Device, str]) -> dict[str, int]:
    """Bytes by what they are for; together the peak of the training.

    Args:
        counted: The training's tensors, for the largest micro-batch.
        work: Which that is.
        kind: Where is computed, and in which floating-point type.
    """
    optimizer = _OPTIMIZER_TENSORS * _FLOAT32 * counted.num_trainable
    if counted.output_shape is None:
        over = _OVER_ACTIVATIONS.get(kind, _OVER_ACTIVATIONS_ELSEWHERE)
        # Weights and gradients in the type that is computed in, beside the masters.
        return _parts(counted, 2 * counted.adapter_bytes + optimizer, over, _LIBRARIES[kind[0]])
    over = _OVER_ACTIVATIONS_OF_TRL.get(kind, _OVER_ACTIVATIONS_ELSEWHERE)
    num_tokens, num_words = min(work.num_scored, _TILE[0]), min(counted.output_shape[0], _TILE[1])
    width = _NUM_TILES[kind[0]] * num_tokens + _NUM_WEIGHT_TILES[kind[0]] * counted.output_shape[1]
    output = round(width * num_words * _FLOAT32)
    return _parts(counted, optimizer, over, _LIBRARIES_OF_TRL[kind[0]]) | {"output layer": output}


def _parts(counted: Outline, optimizer: int, over: float, libraries: int) -> dict[str, int]:
    return {
        "base weights": counted.weight_bytes,
        "adapter and optimizer": optimizer,
        "activations": counted.activation_bytes,
        "temporaries": round((over - 1) * counted.activation_bytes),
        "libraries": libraries,
    }
