"""A toy task that the tiny model learns in a second: one word decides the label."""

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ftzard.config import FtzardConfig, ModelConfig, TrainingConfig
from ftzard.core.records import EXAMPLE_SCHEMA, AdapterDirectory, Splits
from ftzard.core.training import TrainingResult, train_adapter

LABELS = ("negative", "positive")
# float32, so that equal computations are equal on every CPU; the prompt short, because the tiny model counts bytes.
TINY_MODEL: dict[str, Any] = {
    "base_model": "random:tiny-llama",
    "dtype": "float32",
    "max_length": 96,
    "prompt_template": "{text} ({labels}):",
}


def config(model: dict[str, Any] | None = None, **training: Any) -> FtzardConfig:
    """The tiny model, with what a test changes."""
    settings: dict[str, Any] = {"learning_rate": 5e-3, "num_train_epochs": 2, "device": "cpu", **training}
    return FtzardConfig(model=ModelConfig(**{**TINY_MODEL, **(model or {})}), training=TrainingConfig(**settings))


def examples(num: int, seed: int) -> pl.DataFrame:
    """`EXAMPLE_SCHEMA`; a third are positive."""
    rng = random.Random(seed)  # noqa: S311  # toy texts are no secret
    rows = []
    for row in range(1, num + 1):
        label = LABELS[row % 3 == 0]
        filler = " ".join(rng.choice(["day", "sun", "rain", "cat"]) for _ in range(rng.randint(1, 5)))
        text = f"{'good' if label == 'positive' else 'bad'} {filler} {rng.randrange(10**6)}"
        rows.append((hashlib.sha256(text.encode()).hexdigest()[:32], text, label, "toy.csv", row))
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")


@cache
def splits() -> Splits:
    """The toy task, split."""
    return Splits(train=examples(96, 1), validation=examples(30, 2), test=examples(30, 3))


def train(folder: Path, model: dict[str, Any] | None = None, **training: Any) -> TrainingResult:
    """Train the tiny model on the toy task."""
    return train_adapter(splits(), config(model, **training), LABELS, folder)


def file_bytes(adapter: AdapterDirectory) -> dict[str, bytes]:
    """Every file of an adapter."""
    return {file.name: file.read_bytes() for file in sorted(adapter.path.iterdir())}


def save_tiny_model(folder: Path) -> Path:
    """The tiny model as files, as any causal language model in a folder."""
    import torch

    from ftzard.core.tiny_model import build_tiny_llama

    model, tokenizer = build_tiny_llama(torch.float32, "eager")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
