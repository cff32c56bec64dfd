"""A toy task of sets of labels that the tiny model learns in seconds: each of three words brings its label."""

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from tests.core.model_scenario import TINY_MODEL

from ftzard.config import DataConfig, FtzardConfig, ModelConfig, TrainingConfig
from ftzard.core.label_sets import join_set
from ftzard.core.records import EXAMPLE_SCHEMA, Splits
from ftzard.core.training import TrainingResult, train_adapter

LABELS = ("food", "music", "travel")
_WORDS = {"food": "bread", "music": "song", "travel": "train"}


def config(data: dict[str, Any] | None = None, **training: Any) -> FtzardConfig:
    """The tiny model for sets of labels, with what a test changes."""
    settings: dict[str, Any] = {"learning_rate": 1e-2, "num_train_epochs": 6, "device": "cpu", **training}
    return FtzardConfig(
        data=DataConfig(task="multi_label", **(data or {})),
        model=ModelConfig(**TINY_MODEL),
        training=TrainingConfig(**settings),
    )


def examples(num: int, seed: int) -> pl.DataFrame:
    """`EXAMPLE_SCHEMA`; an eighth have none of the labels, as many have all."""
    rng = random.Random(seed)  # noqa: S311  # toy texts are no secret
    rows = []
    for row in range(1, num + 1):
        labels = [label for place, label in enumerate(LABELS) if row >> place & 1]
        words = [*(_WORDS[label] for label in labels), rng.choice(["day", "sun", "rain"])]
        rng.shuffle(words)
        text = f"{' '.join(words)} {rng.randrange(10**6)}"
        rows.append((hashlib.sha256(text.encode()).hexdigest()[:32], text, join_set(labels), "toy.csv", row))
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")


@cache
def splits() -> Splits:
    """The toy task, split."""
    return Splits(train=examples(160, 1), validation=examples(40, 2), test=examples(40, 3))


def train(folder: Path, data: dict[str, Any] | None = None, **training: Any) -> TrainingResult:
    """Train the tiny model on the toy task."""
    return train_adapter(splits(), config(data, **training), LABELS, folder)
