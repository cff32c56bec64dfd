"""What tracking costs a training: the seconds that calls to MLflow take, as a share of the training's.

The demo's model is trained on a few of the demo's tweets, as the asset `lora_adapter` does it: the learning curve is
reported after each optimizer step into a SQLite store, and system metrics are sampled beside it. Counted is the time
inside every call, also those of the sampling thread; what comes before the training and after it, such as the
configuration and the figures, is not.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from benchmarks.report import Result, at_most
from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.progress import Progress
from ftzard.core.records import RAW_SCHEMA, Splits
from ftzard.core.training import train_adapter
from ftzard.core.tweets import sample_tweets
from ftzard.resources.outbox import RunSender
from ftzard.resources.run_operations import LogMetrics, RunOperation
from ftzard.resources.system_metrics import system_metrics_logged
from ftzard.resources.tracking import Tracking

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TRAIN, _NUM_VALIDATION = 400, 50
_MAX_SHARE = 0.01


@dataclass(eq=False)
class _TimedSender(RunSender):
    """Counts operations, points of metrics, and the seconds that sending takes."""

    seconds: list[float] = field(default_factory=list)
    num_points: int = 0

    def send(self, operation: RunOperation) -> None:
        started = time.perf_counter()
        super().send(operation)
        self.seconds.append(time.perf_counter() - started)
        self.num_points += len(operation.points) if isinstance(operation, LogMetrics) else 0


def run(
    overrides: Sequence[str] = _RECIPE, num_train: int = _NUM_TRAIN, num_validation: int = _NUM_VALIDATION
) -> Result:
    """Train once and report into a store.

    Args:
        overrides: The recipe.
        num_train: Training tweets.
        num_validation: Validation tweets.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    config = compose(overrides)
    splits = _splits(config, num_train, num_validation)
    with tempfile.TemporaryDirectory() as folder:
        tracked = Tracking(config.tracking, Path(folder)).open_run("TRAINING", tags={})
        sender = _TimedSender(None, tracked.run_id, lambda: tracked.client, lambda _, run_id: run_id, tracked.client)
        timed = replace(tracked, sender=sender)

        def report(progress: Progress) -> None:
            if progress.loss is not None:
                timed.report({"loss": progress.loss, "tokens_per_s": progress.tokens_per_s}, progress.done)

        with system_metrics_logged(timed, config.tracking.system_metrics_interval_s):
            started = time.perf_counter()
            labels = labels_of(splits.train, config.data)
            train_adapter(splits, config, labels, Path(folder) / "adapter", on_progress=report)
            training_s = time.perf_counter() - started
        timed.log_metrics({})
        sent_s = sum(sender.seconds)
        figures = {
            "training_s": training_s,
            "num_calls": len(sender.seconds),
            "num_metric_points": sender.num_points,
            "tracking_s": sent_s,
            "tracking_of_training": sent_s / training_s,
        }
    return Result(figures, {"tracking_of_training": at_most(_MAX_SHARE)})


def _splits(config: FtzardConfig, num_train: int, num_validation: int) -> Splits:
    raw = sample_tweets(2 * (num_train + num_validation), seed=0)
    raw = raw.with_columns(batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1))
    examples = clean(raw.select(list(RAW_SCHEMA)), config.data).examples
    return Splits(examples[:num_train], examples[num_train : num_train + num_validation], examples[:0])
