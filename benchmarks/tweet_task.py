"""What the throughput benchmarks work on: tweets as model input, and what the processor could do.

What it could do is its rate of matrix products at the model's shapes: forward and input gradient of each linear layer
of the decoder, 4 N floating-point operations a token, N being its parameters without embeddings (frozen weights need no
gradient of their own; attention, norms and LoRA are not counted).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.config import FtzardConfig
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.prompts import PromptTemplate, encode_prompts, label_words
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.tweets import sample_tweets

if TYPE_CHECKING:
    import torch

GIGA = 1e9

_SEED = 0
_FLOP_PER_PARAMETER_AND_TOKEN = 4


@dataclass(frozen=True, eq=False)
class TweetTask:
    """What is trained on what.

    Attributes:
        config: Model and training.
        examples: `EXAMPLE_SCHEMA`.
        labels: The label set.
        rows: The same examples as the Trainer takes them: `input_ids` and `labels`.
        folder: For what is written; `base` in it is the base model as safetensors.
    """

    config: FtzardConfig
    examples: pl.DataFrame
    labels: Sequence[str]
    rows: list[dict[str, Any]]
    folder: Path

    @property
    def num_tokens(self) -> int:
        """Real tokens of one epoch."""
        return sum(len(row["input_ids"]) for row in self.rows)

    def warm_up(self) -> "TweetTask":
        """The same task with one example of each label: enough for what libraries set up at their first step."""
        chosen = [self.examples["label"].to_list().index(label) for label in self.labels]
        return replace(self, examples=self.examples[chosen], rows=[self.rows[index] for index in chosen])


def make_task(config: FtzardConfig, num_tweets: int, folder: Path) -> TweetTask:
    """Tweets with the prompt of a configuration; the base model is written to `base` in the folder."""
    raw = sample_tweets(num_tweets, seed=_SEED).with_columns(
        batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1)
    )
    examples = clean(raw.select(list(RAW_SCHEMA)), config.data).examples
    labels = labels_of(examples, config.data)
    template = PromptTemplate.from_parts(
        config.model.prompt_template, label_words(labels, config.model), config.model.max_length
    )
    with borrowed_base_model(config.model, "cpu") as base:
        base.model.save_pretrained(folder / "base")
        base.tokenizer.save_pretrained(folder / "base")
        prompts = encode_prompts(examples["text"].to_list(), template, base.tokenizer)
    rows = [
        {"input_ids": ids.tolist(), "labels": labels.index(label)}
        for ids, label in zip(prompts.input_ids, examples["label"], strict=True)
    ]
    return TweetTask(config, examples, labels, rows, folder)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep its notes on a new head and its bars from among the figures."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _linear_weights(base: BaseModel) -> "list[torch.Tensor]":
    """The weights of the decoder's linear layers, shape (out, in) each."""
    import torch

    modules = base.model.base_model.modules()
    return [module.weight.detach() for module in modules if isinstance(module, torch.nn.Linear)]


def training_flop_per_token(base: BaseModel) -> int:
    """Of forward and input gradient together; a forward pass alone takes half of it."""
    return _FLOP_PER_PARAMETER_AND_TOKEN * sum(weight.numel() for weight in _linear_weights(base))


def gemm_gflops(base: BaseModel, dtype: str, num_tokens: int) -> float:
    """Rate of the decoder's matrix products, forward and input gradient, on `num_tokens` tokens at once."""
    import torch

    weights = [weight.to(getattr(torch, dtype)) for weight in _linear_weights(base)]
    sizes = {size for weight in weights for size in weight.shape}
    inputs = {size: torch.randn(num_tokens, size).to(weights[0].dtype) for size in sizes}
    with torch.inference_mode():
        _multiply(weights, inputs)
        started = time.perf_counter()
        _multiply(weights, inputs)
        seconds = time.perf_counter() - started
    return training_flop_per_token(base) * num_tokens / seconds / GIGA


def _multiply(weights: "Sequence[torch.Tensor]", inputs: "Mapping[int, torch.Tensor]") -> None:
    for weight in weights:
        num_out, num_in = weight.shape
        inputs[num_in].matmul(weight.T)
        inputs[num_out].matmul(weight)
