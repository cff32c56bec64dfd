"""Two processes with one thread each beside one process with two threads, and how soon a killed process is told.

Both train the demo's model on the same tweets with the same examples a step, in processes that the launchers start;
speed is real tokens over the time of the loop, as each training reports it, so that starting, loading and tokenising
are in neither. The two take turns, and the ratio is that of a round.

`failure_after_kill_s` is how long after the SIGKILL of one of two processes the training has failed, everything that
belonged to it being over.
"""

import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import Result, at_least, at_most
from benchmarks.tweet_task import TweetTask, make_task, quiet_transformers
from ftzard.composition import compose
from ftzard.config import LauncherConfig
from ftzard.core.base_model import forget_base_model
from ftzard.core.records import Splits
from ftzard.core.training_job import TrainingJob
from ftzard.errors import TrainingProcessError
from ftzard.resources.launcher import ProcessTrainer
from ftzard.resources.rank_reports import read_reports

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TWEETS = 192
_NUM_ROUNDS = 3
_ONE = LauncherConfig(kind="local", num_threads=2)
_TWO = LauncherConfig(kind="torchrun", num_processes=2, num_threads=1)
_MIN_RATIO = 0.9
_MAX_FAILURE_S = 30.0
_POLL_S = 0.05


def run(overrides: Sequence[str] = _RECIPE, num_tweets: int = _NUM_TWEETS, num_rounds: int = _NUM_ROUNDS) -> Result:
    """Measure `num_rounds` trainings of each kind, one epoch on `num_tweets` tweets each, and one that is killed.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    with quiet_transformers(), tempfile.TemporaryDirectory() as folder:
        task = make_task(compose(overrides), num_tweets, Path(folder))
        forget_base_model()
        rounds = [(_tokens_per_s(task, _ONE), _tokens_per_s(task, _TWO)) for _ in range(num_rounds)]
        failure_s = _failure_after_kill_s(task)
    figures = {
        "one_process_tokens_per_s": statistics.median(one for one, _ in rounds),
        "two_processes_tokens_per_s": statistics.median(two for _, two in rounds),
        "two_over_one_processes": statistics.median(two / one for one, two in rounds),
        "failure_after_kill_s": failure_s,
    }
    bars = {"two_over_one_processes": at_least(_MIN_RATIO), "failure_after_kill_s": at_most(_MAX_FAILURE_S)}
    return Result(figures, bars)


def _tokens_per_s(task: TweetTask, launcher: LauncherConfig) -> float:
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        return ProcessTrainer(launcher, Path(folder) / "logs")(_job(task), Path(folder) / "adapter").result.tokens_per_s


def _failure_after_kill_s(task: TweetTask) -> float:
    """Kill one of two processes once they train."""
    many = replace(task.config, training=replace(task.config.training, num_train_epochs=10_000))
    killed: list[float] = []
    with tempfile.TemporaryDirectory(dir=task.folder) as name:
        folder = Path(name)

        def kill() -> None:
            # The lock is taken when the training's loop begins.
            while not list((folder / "checkpoints").glob("*.lock")):
                time.sleep(_POLL_S)
            killed.append(time.perf_counter())
            os.kill(read_reports(folder / "adapter.job" / "output")[-1].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        train = ProcessTrainer(_TWO, folder / "logs")
        try:
            train(_job(replace(task, config=many)), folder / "adapter", checkpoint_dir=folder / "checkpoints")
        except TrainingProcessError:
            return time.perf_counter() - killed[0]
    message = "a training of which a process was killed came to its end"
    raise AssertionError(message)


def _job(task: TweetTask) -> TrainingJob:
    nothing = task.examples.clear()
    return TrainingJob(Splits(task.examples, nothing, nothing), task.config, task.labels)
