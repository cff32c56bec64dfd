"""A toy task of writing that the tiny model learns in seconds: one word decides the answer."""

import hashlib
import random
from typing import Any

import polars as pl

from ftzard.config import DataConfig, FtzardConfig, GenerationConfig, LoraConfig, ModelConfig, TrainingConfig
from ftzard.core.base_model import BaseModel, load_base_model
from ftzard.core.records import EXAMPLE_SCHEMA, Splits
from ftzard.core.row_columns import write_pair

ANSWERS = {"bad": "no", "good": "yes"}
# That of SmolLM2 in short: each message between two special tokens.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def config(task: str = "generation", model: dict[str, Any] | None = None, **training: Any) -> FtzardConfig:
    """The tiny model, with what a test changes."""
    settings: dict[str, Any] = {
        "learning_rate": 1e-2,
        "num_train_epochs": 2,
        "device": "cpu",
        "lora": LoraConfig(r=8, lora_alpha=16),
        **training,
    }
    fields: dict[str, Any] = {
        "base_model": "random:tiny-llama",
        "dtype": "float32",
        "max_length": 64,
        "generation": GenerationConfig(prompt_format="plain", max_new_tokens=6),
        **(model or {}),
    }
    return FtzardConfig(
        data=DataConfig(task=task),  # type: ignore[arg-type]  # a literal
        model=ModelConfig(**fields),
        training=TrainingConfig(**settings),
    )


def examples(num: int, seed: int, task: str = "generation") -> pl.DataFrame:
    """`EXAMPLE_SCHEMA`; half of the prompts are good."""
    rng = random.Random(seed)  # noqa: S311  # toy texts are no secret
    rows = []
    for row in range(1, num + 1):
        word = ("bad", "good")[row % 2]
        text = f"{rng.randrange(10**4)} {word}"
        answer, other = ANSWERS[word], ANSWERS["good" if word == "bad" else "bad"]
        label = answer if task == "generation" else write_pair(answer, other)
        rows.append((hashlib.sha256(text.encode()).hexdigest()[:32], text, label, "toy.csv", row))
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")


def splits(task: str = "generation") -> Splits:
    """The toy task, split."""
    return Splits(examples(32, 1, task), examples(4, 2, task), examples(8, 3, task))


def few(task: str = "generation") -> Splits:
    """A single optimizer step, for what does not depend on what is learnt."""
    return Splits(examples(8, 1, task), examples(0, 2, task), examples(4, 3, task))


def tiny_base() -> BaseModel:
    """A tiny model of one's own, not the one that steps share."""
    return load_base_model(config().model, "cpu")
