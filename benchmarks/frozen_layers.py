"""Training the top quarter of the layers beside training all of them: seconds of an epoch, once the first one is over.

The demo model is trained on the demo tweets. What the frozen layers make of each tweet is computed once, before the
first epoch; from then on an epoch computes the top layers alone. Examples, batches and rank are the same.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import Result, at_least
from benchmarks.tweet_task import TweetTask, make_task
from ftzard.composition import compose
from ftzard.core.base_model import load_base_model
from ftzard.core.records import Splits
from ftzard.core.training import TrainingResult, train_adapter

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TWEETS = 256
_SHARE = 0.25
_MIN_SPEEDUP = 3.0


def run(overrides: Sequence[str] = _RECIPE, num_tweets: int = _NUM_TWEETS) -> Result:
    """Train twice.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(compose(overrides), num_tweets, Path(folder))
        num_layers = load_base_model(task.config.model, "cpu").model.config.num_hidden_layers
        top = tuple(range(num_layers - max(1, round(num_layers * _SHARE)), num_layers))
        # The first training warms up what the second one uses too.
        _trained(task.warm_up(), (), 1)
        every, upper = _trained(task, (), 2), _trained(task, top, 2)
    epochs = _epoch_seconds(every), _epoch_seconds(upper)
    figures = {
        "num_layers": num_layers,
        "num_top_layers": len(top),
        "all_layers_epoch_2_s": epochs[0][1],
        "top_layers_epoch_1_s": epochs[1][0],
        "top_layers_epoch_2_s": epochs[1][1],
        "first_epoch_speedup": epochs[0][0] / epochs[1][0],
        "speedup": epochs[0][1] / epochs[1][1],
    }
    return Result(figures, {"speedup": at_least(_MIN_SPEEDUP)})


def _trained(task: TweetTask, layers: tuple[int, ...], num_epochs: int) -> TrainingResult:
    lora = replace(task.config.training.lora, layers_to_transform=layers)
    training = replace(task.config.training, lora=lora, num_train_epochs=num_epochs, checkpoint_interval_s=None)
    nothing = task.examples.clear()
    with tempfile.TemporaryDirectory() as folder:
        return train_adapter(
            Splits(task.examples, nothing, nothing),
            replace(task.config, training=training),
            task.labels,
            Path(folder) / "adapter",
        )


def _epoch_seconds(trained: TrainingResult) -> list[float]:
    ends = trained.curve.group_by("epoch", maintain_order=True).last()["seconds"].to_list()
    return [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
