"""Training speed of FTzard's loop beside transformers' Trainer with PEFT, and both over what the CPU could do.

Both train the same LoRA (same rank, targets and dropout) on SmolLM2-135M, with the same prompts around the same tweets
and as many examples a step. The Trainer is used as its documentation shows it: padding to the longest by
`DataCollatorWithPadding`, batches as they come, the default attention; once in float32 and once in bfloat16 (base in
bfloat16, mixed precision, PEFT's float32 adapters). A fourth training, `trainer_with_our_parts`, is a subclass of the
Trainer that is given what FTzard's loop has: its batches, its packed rows and its fused layers (ADR 5). Speed is real
tokens, padding not counted, over the time of the loop as each of the two reports it; loading and tokenising are in
neither. They take turns after a short warm-up each, and the figures are medians.

The same is measured with 64 examples a step for both, and a token budget that a step fits into (`large_`): the more
tokens there are at once, the less it costs to call operations; and the more padding the Trainer computes.

What the CPU could do is its rate of matrix products at the model's shapes, measured in the same rounds: forward and
input gradient of each linear layer, 4 N floating-point operations a token, N being the parameters without embeddings
(frozen weights need no gradient of their own; attention, norms and LoRA are not counted). `_of_gemm` is the share of
that rate, in the same floating-point type, that a training turns into progress.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, at_least
from benchmarks.tweet_task import GIGA, TweetTask, gemm_gflops, make_task, quiet_transformers, training_flop_per_token
from ftzard.composition import compose
from ftzard.core.base_model import borrowed_base_model
from ftzard.core.batching import optimizer_steps
from ftzard.core.classifier import lora_classifier
from ftzard.core.label_head import make_label_head
from ftzard.core.records import Splits
from ftzard.core.training import train_adapter

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_ROUNDS = 3
# So many that what a training does once is small beside its steps.
_NUM_TWEETS = 144
_LARGE = ("training.train_batch_size=64", "training.max_tokens_per_batch=4096")
_NUM_LARGE, _NUM_LARGE_ROUNDS = 256, 2
_DTYPES = ("float32", "bfloat16")
_MIN_RATIOS = {"float32": 6.0, "bfloat16": 5.0}
_MIN_OF_GEMM = 0.65


@dataclass(frozen=True)
class _Speed:
    """How fast a training was: real tokens a second, and the floating-point type that it computed in."""

    tokens_per_s: float
    dtype: str


def run(
    overrides: Sequence[str] = _RECIPE,
    num_tweets: int = _NUM_TWEETS,
    num_rounds: int = _NUM_ROUNDS,
    num_large: int = _NUM_LARGE,
) -> Result:
    """Measure trainings of each kind, one epoch on `num_tweets` tweets and, with larger steps, on `num_large`.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    with quiet_transformers(), tempfile.TemporaryDirectory() as name:
        folders = [Path(name, size) for size in ("usual", "large")]
        for folder in folders:
            folder.mkdir()
        usual = make_task(compose(overrides), num_tweets, folders[0])
        large = make_task(compose((*overrides, *_LARGE)), num_large, folders[1])
        _measure_round(usual.warm_up())
        rounds = [_measure_round(usual) for _ in range(num_rounds)]
        large_rounds = [_measure_round(large) for _ in range(min(num_rounds, _NUM_LARGE_ROUNDS))]
    figures = _figures(rounds) | {f"large_{name}": value for name, value in _figures(large_rounds).items()}
    bars = {f"ftzard_over_trainer_{dtype}": at_least(ratio) for dtype, ratio in _MIN_RATIOS.items()}
    bars["ftzard_of_gemm"] = at_least(_MIN_OF_GEMM)
    return Result(figures, bars | {f"large_{name}": bar for name, bar in bars.items()})


def _figures(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians of what was measured, and of its ratios in each round."""
    figures = {name: statistics.median(measured[name] for measured in rounds) for name in rounds[0]}
    others = [*(f"trainer_{dtype}" for dtype in _DTYPES), "trainer_with_our_parts"]
    return figures | {
        f"ftzard_over_{other}": statistics.median(
            measured["ftzard_tokens_per_s"] / measured[f"{other}_tokens_per_s"] for measured in rounds
        )
        for other in others
    }


def _measure_round(task: TweetTask) -> dict[str, float]:
    """One training of each kind and the rate of matrix products, by figure."""
    num_tokens = task.config.training.max_tokens_per_batch
    with borrowed_base_model(task.config.model, "cpu") as base:
        flop_per_token = training_flop_per_token(base)
        rates = {dtype: gemm_gflops(base, dtype, num_tokens) for dtype in _DTYPES}
    speeds = {"ftzard": _ftzard_speed(task)}
    speeds |= {f"trainer_{dtype}": _trainer_speed(task, dtype) for dtype in _DTYPES}
    speeds["trainer_with_our_parts"] = _subclass_speed(task)
    return {
        **{f"gemm_{dtype}_gflops": rate for dtype, rate in rates.items()},
        **{f"{name}_tokens_per_s": speed.tokens_per_s for name, speed in speeds.items()},
        **{
            f"{name}_of_gemm": speed.tokens_per_s * flop_per_token / GIGA / rates[speed.dtype]
            for name, speed in speeds.items()
        },
    }


def _ftzard_speed(task: TweetTask) -> _Speed:
    nothing = task.examples.clear()
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        result = train_adapter(Splits(task.examples, nothing, nothing), task.config, task.labels, Path(folder))
    return _Speed(result.tokens_per_s, result.dtype)


def _trainer_speed(task: TweetTask, dtype: str) -> _Speed:
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer

    tokenizer = AutoTokenizer.from_pretrained(task.folder / "base", local_files_only=True, trust_remote_code=False)
    trainer = Trainer(
        model=_peft_classifier(task, dtype, tokenizer.pad_token_id),
        args=_arguments(task, is_mixed=dtype == "bfloat16"),
        train_dataset=task.rows,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    return _Speed(_tokens_per_s(task, trainer), dtype)


def _subclass_speed(task: TweetTask) -> _Speed:
    """The Trainer with a sampler, a collator and a loss of ours; clipping, schedule and AdamW are its own."""
    import torch
    from transformers import Trainer

    training = task.config.training
    lengths = np.array([len(row["input_ids"]) for row in task.rows], dtype=np.int64)

    class Subclass(Trainer):  # type: ignore[misc]  # transformers types it as Any
        def _get_train_sampler(self, *_: Any) -> Any:
            steps = optimizer_steps(lengths, training.train_batch_size, np.random.default_rng(training.seed))
            return [int(index) for step in steps for index in step]

        def compute_loss(self, _model: Any, inputs: Any, **_: Any) -> Any:
            logits = classifier.logits(inputs["sequences"])
            return torch.nn.functional.cross_entropy(logits, inputs["targets"])

    with borrowed_base_model(task.config.model, "cpu") as base:
        head = make_label_head(base, task.labels, list(task.labels), "random")
        with lora_classifier(base, head, training.lora) as classifier:
            trainer = Subclass(
                model=classifier.peft_model,
                args=_arguments(task, is_mixed=False),
                train_dataset=task.rows,
                data_collator=lambda rows: {
                    "sequences": [np.array(row["input_ids"], dtype=np.int32) for row in rows],
                    "targets": torch.tensor([row["labels"] for row in rows]),
                },
            )
            return _Speed(_tokens_per_s(task, trainer), classifier.compute_dtype)


def _arguments(task: TweetTask, *, is_mixed: bool) -> Any:
    from transformers import TrainingArguments

    training = task.config.training
    return TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        per_device_train_batch_size=training.train_batch_size,
        num_train_epochs=training.num_train_epochs,
        learning_rate=training.learning_rate,
        bf16=is_mixed,
        use_cpu=True,
        seed=training.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        # What the subclass's collator makes is not named as the model's arguments are.
        remove_unused_columns=False,
    )


def _tokens_per_s(task: TweetTask, trainer: Any) -> float:
    from transformers.trainer_callback import PrinterCallback

    # It would print a line of its own among the benchmark's.
    trainer.remove_callback(PrinterCallback)
    seconds = trainer.train().metrics["train_runtime"]
    return task.num_tokens * task.config.training.num_train_epochs / float(seconds)


def _peft_classifier(task: TweetTask, dtype: str, pad_token_id: int) -> Any:
    """The base model with a new head and LoRA, as PEFT's documentation makes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    lora = task.config.training.lora
    model = AutoModelForSequenceClassification.from_pretrained(
        task.folder / "base",
        num_labels=len(task.labels),
        pad_token_id=pad_token_id,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
    )
    peft_config = LoraConfig(
        task_type="SEQ_CLS",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules="all-linear",
    )
    return get_peft_model(model, peft_config)
