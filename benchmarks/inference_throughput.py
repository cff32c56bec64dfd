"""Speed of FTzard's predictions beside transformers' text-classification pipeline, and over what the CPU could do.

Both predict the same tweets with the same adapter on SmolLM2-135M. The pipeline is used as its documentation shows it,
`batch_size=16`, over the model with the adapter merged into it, which is faster than with the adapter beside; once in
float32 and once in bfloat16. FTzard computes as after a training, the adapter beside the base, in bfloat16. Loading is
in neither; tokenising is in both. The three take turns, and the figures are medians. `ftzard_of_gemm` is the share of
the rate of matrix products (2 N operations a token, see `benchmarks.tweet_task`) that becomes progress; prompts share
their beginning, which counts as if each had computed it.

A file of which nine rows in ten repeat others is predicted by both as well.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, at_least
from benchmarks.tweet_task import GIGA, TweetTask, gemm_gflops, make_task, quiet_transformers, training_flop_per_token
from ftzard.composition import compose
from ftzard.core.adapter_documents import read_labels
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.inference import compute_logits, trained_classifier
from ftzard.core.prompts import PromptTemplate, encode_prompts, label_words
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.training import train_adapter

_RECIPE = ("experiment=demo", "training.device=cpu")
# Enough for a few full batches: a file has more.
_NUM_TWEETS = 288
_NUM_ROUNDS = 3
_DTYPES = ("float32", "bfloat16")
_PIPELINE_BATCH_SIZE = 16
_REPEATS = 10
_MIN_RATIO, _MIN_RATIO_REPEATED, _MIN_OF_GEMM = 5.0, 8.0, 0.65


def run(overrides: Sequence[str] = _RECIPE, num_tweets: int = _NUM_TWEETS, num_rounds: int = _NUM_ROUNDS) -> Result:
    """Predict `num_tweets` tweets `num_rounds` times in each way.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    with quiet_transformers(), tempfile.TemporaryDirectory() as folder:
        task = make_task(compose(overrides), num_tweets, Path(folder))
        adapter = _train(task)
        pipelines = {dtype: _pipeline(task, adapter, dtype) for dtype in _DTYPES}
        with borrowed_base_model(task.config.model, "cpu") as base:
            texts = task.examples["text"].to_list()
            repeated = _repeated(texts)
            _measure(task, base, adapter, pipelines, texts[:_PIPELINE_BATCH_SIZE])
            rounds = [
                _measure(task, base, adapter, pipelines, texts)
                | _renamed(_measure(task, base, adapter, {"float32": pipelines["float32"]}, repeated), "repeated")
                for _ in range(num_rounds)
            ]
    figures = {name: statistics.median(measured[name] for measured in rounds) for name in rounds[0]}
    pairs = [(f"ftzard_over_pipeline_{dtype}", "ftzard", f"pipeline_{dtype}") for dtype in _DTYPES]
    pairs.append(("ftzard_over_pipeline_repeated", "repeated_ftzard", "repeated_pipeline_float32"))
    ratios = {
        name: statistics.median(one[f"{ours}_texts_per_s"] / one[f"{theirs}_texts_per_s"] for one in rounds)
        for name, ours, theirs in pairs
    }
    bars = {
        "ftzard_over_pipeline_float32": at_least(_MIN_RATIO),
        "ftzard_over_pipeline_repeated": at_least(_MIN_RATIO_REPEATED),
        "ftzard_of_gemm": at_least(_MIN_OF_GEMM),
    }
    return Result(figures | ratios, bars)


def _train(task: TweetTask) -> AdapterDirectory:
    """An adapter that has learned a little: which, is of no account for the speed."""
    few = task.examples.group_by("label", maintain_order=True).head(4)
    return train_adapter(
        Splits(few, few.clear(), few.clear()), task.config, task.labels, task.folder / "adapter"
    ).adapter


def _measure(
    task: TweetTask, base: BaseModel, adapter: AdapterDirectory, pipelines: Mapping[str, Any], texts: Sequence[str]
) -> dict[str, float]:
    words = label_words(task.labels, task.config.model)
    template = PromptTemplate.from_parts(task.config.model.prompt_template, words, task.config.model.max_length)
    with trained_classifier(adapter, read_labels(adapter.path), base) as classifier:
        started = time.perf_counter()
        prompts = encode_prompts(texts, template, base.tokenizer)
        compute_logits(classifier, prompts, task.config.training.max_tokens_per_batch)
        seconds = {"ftzard": time.perf_counter() - started}
    filled = [template.prefix + text + template.suffix for text in texts]
    for dtype, pipeline in pipelines.items():
        started = time.perf_counter()
        pipeline(filled, batch_size=_PIPELINE_BATCH_SIZE)
        seconds[f"pipeline_{dtype}"] = time.perf_counter() - started
    gflops = gemm_gflops(base, "bfloat16", task.config.training.max_tokens_per_batch)
    flop = training_flop_per_token(base) / 2 * int(prompts.lengths.sum())
    return {f"{name}_texts_per_s": len(texts) / taken for name, taken in seconds.items()} | {
        "ftzard_of_gemm": flop / seconds["ftzard"] / GIGA / gflops
    }


def _renamed(figures: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items() if name.endswith("_texts_per_s")}


def _repeated(texts: Sequence[str]) -> list[str]:
    """As many texts, of which all but a tenth occur before; in random order."""
    distinct = list(texts[: max(1, len(texts) // _REPEATS)])
    rng = np.random.default_rng(0)
    return [*distinct, *rng.choice(distinct, len(texts) - len(distinct)).tolist()]


def _pipeline(task: TweetTask, adapter: AdapterDirectory, dtype: str) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(task.folder / "base", local_files_only=True, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        task.folder / "base",
        num_labels=len(task.labels),
        pad_token_id=tokenizer.pad_token_id,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
    )
    merged = PeftModel.from_pretrained(model, str(adapter.path)).merge_and_unload()
    return pipeline("text-classification", model=merged.eval(), tokenizer=tokenizer, device="cpu")
