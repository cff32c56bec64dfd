"""What checkpoints cost a training: the seconds that one takes, as a share of the interval between two of them.

The demo's model is trained on a few of the demo's tweets and saved after each optimizer step, far more often than
anybody would, so that there are several to measure. Counted is all of it: collecting the state, writing it, waiting for
the disk, and its checksum.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import Result, at_most
from benchmarks.tweet_task import make_task
from ftzard.composition import compose
from ftzard.config import TrainingConfig
from ftzard.core.records import Splits
from ftzard.core.training import train_adapter

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TWEETS = 96
_MAX_SHARE = 0.01


def run(overrides: Sequence[str] = _RECIPE, num_tweets: int = _NUM_TWEETS) -> Result:
    """Train once, and save after each step.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    # On the disk of the project: the system's temporary folder may be memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        task = make_task(compose(overrides), num_tweets, Path(folder))
        often = replace(task.config, training=replace(task.config.training, checkpoint_interval_s=0.0))
        nothing, root = task.examples.clear(), Path(folder) / "checkpoints"
        splits = Splits(task.examples, nothing, nothing)
        trained = train_adapter(splits, often, task.labels, Path(folder) / "adapter", checkpoint_dir=root)
        num_bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    saving_s = trained.checkpoint_seconds / trained.num_checkpoints
    figures = {
        "num_saved": trained.num_checkpoints,
        "checkpoint_mb": num_bytes / 1e6,
        "saving_s": saving_s,
        "saving_of_interval": saving_s / (TrainingConfig().checkpoint_interval_s or 0.0),
    }
    return Result(figures, {"saving_of_interval": at_most(_MAX_SHARE)})
