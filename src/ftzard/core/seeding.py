"""Random numbers that are ours while we need them, and the caller's again afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ftzard.core.devices import Device


@contextmanager
def torch_seeded(seed: int, device: Device) -> Iterator[None]:
    """Seed torch's global generators for a block; then they are as if the block had not run.

    PEFT and dropout draw from the global generators only, so a generator of our own cannot be handed to them.

    Args:
        seed: At least 0.
        device: With `cuda`, the generators of all CUDA devices are covered too.
    """
    import torch

    devices = range(torch.cuda.device_count()) if device == "cuda" else ()
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if device == "cuda":
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def all_seeded(seed: int, device: Device) -> Iterator[None]:
    """As `torch_seeded`, with Python's and NumPy's global generators too: transformers' trainers seed all three."""
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002  # the one that trainers use
    try:
        with torch_seeded(seed, device):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)  # noqa: NPY002
