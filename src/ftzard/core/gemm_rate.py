"""How fast a device multiplies matrices of a model's shapes, now: what training could do at best."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ftzard.core.devices import Device

_PROBE_S = 1.0
# A larger matrix is multiplied no faster, only for longer, and takes memory that may not be there.
_MAX_SIZE = 2048
# A multiplication and an addition, forward and for the input's gradient.
_FLOP_PER_NUMBER = 4


def gemm_flops(
    shapes: Sequence[tuple[int, int]],
    dtype: "torch.dtype",
    device: "Device",
    num_tokens: int,
    seconds: float = _PROBE_S,
) -> float:
    """Floating-point operations a second of products at the model's shapes, forward and input gradient.

    One matrix of each shape is multiplied, in the proportion in which the model has them; ones take as long as other
    numbers. Sizes are cut where a larger one would make no difference.

    Args:
        shapes: Of the model's linear layers, (out, in) each.
        dtype: What is computed in.
        device: Where.
        num_tokens: At once.
        seconds: How long to multiply, after once to warm up.
    """
    import torch

    shapes = [(min(rows, _MAX_SIZE), min(columns, _MAX_SIZE)) for rows, columns in shapes]
    distinct = sorted(set(shapes))
    weights = {shape: torch.ones(shape, dtype=dtype, device=device) for shape in distinct}
    inputs = {size: torch.ones(num_tokens, size, dtype=dtype, device=device) for shape in distinct for size in shape}
    counts = {shape: max(1, round(shapes.count(shape) / min(map(shapes.count, distinct)))) for shape in distinct}

    def multiply() -> float:
        flop = 0.0
        for shape, times in counts.items():
            for _ in range(times):
                inputs[shape[1]].matmul(weights[shape].T)
                inputs[shape[0]].matmul(weights[shape])
                flop += _FLOP_PER_NUMBER * shape[0] * shape[1] * num_tokens
        if device == "cuda":
            torch.cuda.synchronize()
        return flop

    with torch.inference_mode():
        multiply()
        done, started = 0.0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += multiply()
        return done / (time.perf_counter() - started)
