"""How far the estimate of a training's memory and time is from what the training then takes.

Each case is estimated and trained in a process of its own, as a run of the project is: the memory that a process has
kept from an earlier training would be none of the next one's. The error is that of the memory that the training takes
beyond what the process had before it, relative to what it took; above 0 the estimate was too high. The first training
of each model, type and task is estimated with the default share of the rate of matrix products, and is what the time of
the others is estimated by; only these have a bar.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.report import Result, at_most
from ftzard.composition import compose
from ftzard.core.answer_training import train_answers
from ftzard.core.cleaning import labels_of
from ftzard.core.cleaning_answers import clean_for_task
from ftzard.core.device_memory import PeakMemory
from ftzard.core.estimate import estimate
from ftzard.core.records import RAW_SCHEMA, Splits
from ftzard.core.row_columns import write_pair
from ftzard.core.training import train_adapter
from ftzard.core.tweets import sample_tweets
from ftzard.errors import FtzardError

_TINY = ("experiment=tiny", "data=tweets", "model.max_length=300", "training.device=cpu")
_SMOLLM = {
    "classification": ("experiment=demo", "training.device=cpu"),
    "generation": ("experiment=tweets_generation", "training.device=cpu"),
    "preference": ("data=preferences", "model=smollm2_135m_gguf", "model.max_length=300", "training.device=cpu"),
}
_MAX_ERROR = 0.25
_SEED = 0


@dataclass(frozen=True)
class Case:
    """A training: a model, a floating-point type, a budget, how many tweets, and what is made of them."""

    model: str
    dtype: str
    max_tokens: int
    num_tweets: int
    task: str = "classification"

    @property
    def overrides(self) -> tuple[str, ...]:
        """The configuration; an optimizer step is large enough to fill the budget."""
        recipe = _TINY if self.model == "tiny" else _SMOLLM[self.task]
        return (
            *recipe,
            f"model.dtype={self.dtype}",
            f"training.max_tokens_per_batch={self.max_tokens}",
            f"training.train_batch_size={self.num_tweets // 2}",
        )

    @property
    def name(self) -> str:
        """What its figures are called."""
        task = "" if self.task == "classification" else f"{self.task}_"
        return f"{task}{self.model}_{self.dtype}_{self.max_tokens}"


CASES = (
    Case("tiny", "float32", 1024, 64),
    Case("tiny", "float32", 4096, 96),
    Case("smollm2_135m", "bfloat16", 256, 24),
    Case("smollm2_135m", "bfloat16", 1024, 48),
    Case("smollm2_135m", "bfloat16", 2048, 72),
    Case("smollm2_135m", "float32", 256, 24),
    Case("smollm2_135m", "float32", 1024, 48),
    Case("smollm2_135m", "bfloat16", 256, 24, "generation"),
    Case("smollm2_135m", "bfloat16", 1024, 32, "generation"),
    Case("smollm2_135m", "bfloat16", 2048, 48, "generation"),
    Case("smollm2_135m", "float32", 256, 24, "generation"),
    Case("smollm2_135m", "float32", 1024, 32, "generation"),
    Case("smollm2_135m", "bfloat16", 512, 16, "preference"),
    Case("smollm2_135m", "bfloat16", 2048, 24, "preference"),
)


def run(cases: Sequence[Case] = CASES) -> Result:
    """Estimate and train each case.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    rows: list[dict[str, Any]] = []
    learned: dict[tuple[str, str, str], float] = {}
    for case in cases:
        key = (case.model, case.dtype, case.task)
        measured = _measured(case, learned.get(key))
        rows.append(
            {
                "name": case.name,
                "task": case.task,
                "model": case.model,
                "dtype": case.dtype,
                "max_tokens": case.max_tokens,
                "estimated_mib": round(measured["estimated_bytes"] / 2**20),
                "peak_mib": round(measured["peak_bytes"] / 2**20),
                "memory_error": round(measured["estimate_memory_error"], 3),
                "time_error": round(measured["estimate_time_error"], 3),
                "has_earlier_run": key in learned,
            }
        )
        learned[key] = measured["efficiency"]
    figures = {f"{row['name']}_memory_error": abs(float(row["memory_error"])) for row in rows}
    timed = {f"{row['name']}_time_error": abs(float(row["time_error"])) for row in rows if row["has_earlier_run"]}
    both = figures | timed
    return Result(both, dict.fromkeys(both, at_most(_MAX_ERROR)), table=pl.DataFrame(rows).drop("name"))


def _measured(case: Case, efficiency: float | None) -> dict[str, float]:
    arguments = [case.model, case.dtype, str(case.max_tokens), str(case.num_tweets), case.task, str(efficiency or "")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.estimate", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise FtzardError(f"{case} could not be measured: {reason[0]}", fix="run it alone and read its output")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(case: Case, efficiency: float | None) -> dict[str, float]:
    config = compose(case.overrides)
    raw = sample_tweets(case.num_tweets, seed=_SEED).with_columns(
        batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1)
    )
    if case.task == "preference":
        raw = raw.with_columns(label=pl.col("label").map_elements(_pair, return_dtype=pl.String))
    examples = clean_for_task(raw.select(list(RAW_SCHEMA)), config.data).examples
    labels, nothing = labels_of(examples, config.data), examples.clear()
    splits = Splits(examples, nothing, nothing)
    expected = estimate(config, splits, labels, efficiency)
    with tempfile.TemporaryDirectory() as folder, PeakMemory(expected.device) as peak:
        adapter = Path(folder) / "adapter"
        is_classifier = config.data.has_labels
        result = (
            train_adapter(splits, config, labels, adapter) if is_classifier else train_answers(splits, config, adapter)
        )
    return {
        "estimated_bytes": expected.peak_bytes,
        "peak_bytes": peak.num_bytes,
        **expected.errors(peak.num_bytes, result.seconds),
    }


def _pair(label: str) -> str:
    """The label as what is wanted, and another one as what is not."""
    return write_pair(label, "positive" if label != "positive" else "negative")


if __name__ == "__main__":
    model, dtype, max_tokens, num_tweets, task, efficiency = sys.argv[1:]
    case = Case(model, dtype, int(max_tokens), int(num_tweets), task)
    print(json.dumps(_measure(case, float(efficiency) if efficiency else None)))
