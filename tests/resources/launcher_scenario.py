"""A small training for the launchers to start, and a Dagster step that is interrupted in the middle of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from tests.core.model_scenario import LABELS, config, splits

from ftzard.config import LauncherConfig
from ftzard.core.progress import Progress
from ftzard.core.records import Splits
from ftzard.core.training_job import TrainingJob
from ftzard.resources.launcher import trainer

TIMEOUT_S = 120.0


def small_job(num_train_epochs: int = 2, **training: Any) -> TrainingJob:
    # Batches of 13, so that the last of an epoch is small, and some are computed in several pieces.
    settings = config(num_train_epochs=num_train_epochs, train_batch_size=13, max_tokens_per_batch=256, **training)
    # As splits are stored.
    parts = Splits(*(part.sort("text_hash") for part in (splits().train, splits().validation, splits().test)))
    return TrainingJob(parts, settings, LABELS, {"data_commit": "abc"})


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def interrupted_at(
    step: int, launcher: LauncherConfig, project: Path, output: Path, checkpoints: Path, key_prefix: str = ""
) -> list[Progress]:
    """A Dagster step that is interrupted when it hears of an optimizer step: what it had heard by then."""
    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.done >= step:
            raise KeyboardInterrupt

    @dg.asset(key_prefix=key_prefix or None)
    def adapter(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        trainer(launcher, project, context)(small_job(40), output, checkpoint_dir=checkpoints, on_progress=on_progress)
        return dg.MaterializeResult()

    # An instance of its own: one that another test has left in Dagster's context may be gone.
    with dg.DagsterInstance.ephemeral() as instance:
        try:
            dg.materialize([adapter], instance=instance)
        except KeyboardInterrupt:
            return seen
    message = "it was not interrupted"
    raise AssertionError(message)
