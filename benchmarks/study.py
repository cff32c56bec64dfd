"""A study of eight trials beside eight trainings that each start for themselves: how much sooner it is done.

Eight choices of learning rate and rank for SmolLM2-135M on the demo's tweets. By hand each is a process of its own that
loads the model, trains to the end and is scored on the validation split. A study loads the model once, tokenises once,
keeps what frozen layers make of each text, and gives losing trials up by successive halving. Both try the same values;
a study's score is that of the trial that it chose, and the best of eight is what the eight trainings found.

Once with LoRA in all layers, and once in the top quarter of them, where most of a trial can be kept for the next.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report import Result, at_least
from benchmarks.tweet_task import TweetTask, make_task, quiet_transformers
from ftzard.composition import compose
from ftzard.config import FtzardConfig, LauncherConfig, SearchDimension, TuningConfig
from ftzard.core.base_model import borrowed_base_model, forget_base_model
from ftzard.core.child_run import untracked
from ftzard.core.hyperparameters import Choice, TunedHyperparameters, with_values
from ftzard.core.records import Splits
from ftzard.core.training_job import TrainingJob
from ftzard.core.tuning import TuningTask, tune
from ftzard.resources.launcher import ProcessTrainer

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TWEETS = 320
_VALIDATION_SHARE = 5
_NUM_TRIALS = 8
_SHARE_OF_LAYERS = 0.25
_MIN_SPEEDUP = 3.0
_SPACE: Mapping[str, SearchDimension] = {
    "training.learning_rate": SearchDimension(low=1e-4, high=3e-3, log=True),
    "training.lora.r": SearchDimension(choices=(4, 8, 16)),
}


@dataclass(frozen=True)
class _Outcome:
    """Seconds, and the best score on validation, of both ways."""

    study_s: float
    study_score: float
    num_complete: int
    trainings_s: float
    trainings_score: float


def run(overrides: Sequence[str] = _RECIPE, num_tweets: int = _NUM_TWEETS, num_trials: int = _NUM_TRIALS) -> Result:
    """Search both ways, with LoRA in all layers and in the top ones.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    figures: dict[str, float] = {}
    with quiet_transformers(), tempfile.TemporaryDirectory() as folder:
        task = make_task(compose(overrides), num_tweets, Path(folder))
        for name, layers in {"all_layers": (), "top_layers": _top_layers(task.config)}.items():
            outcome = _compared(task, layers, num_trials, Path(folder) / name)
            figures |= {
                f"{name}_study_s": outcome.study_s,
                f"{name}_trainings_s": outcome.trainings_s,
                f"{name}_study_macro_f1": outcome.study_score,
                f"{name}_trainings_macro_f1": outcome.trainings_score,
                f"{name}_complete_trials": outcome.num_complete,
                f"{name}_speedup": outcome.trainings_s / outcome.study_s,
            }
    return Result(figures, {f"{name}_speedup": at_least(_MIN_SPEEDUP) for name in ("all_layers", "top_layers")})


def _top_layers(config: FtzardConfig) -> tuple[int, ...]:
    with borrowed_base_model(config.model, "cpu") as base:
        num_layers = base.model.config.get_text_config().num_hidden_layers
    return tuple(range(num_layers - max(1, round(num_layers * _SHARE_OF_LAYERS)), num_layers))


def _compared(task: TweetTask, layers: tuple[int, ...], num_trials: int, folder: Path) -> _Outcome:
    lora = replace(task.config.training.lora, layers_to_transform=layers)
    training = replace(task.config.training, lora=lora, checkpoint_interval_s=None)
    tuning = TuningConfig(
        method="optuna", num_trials=num_trials, search_space=dict(_SPACE), pruner="successive_halving"
    )
    config, parts = replace(task.config, training=training, tuning=tuning), _parts(task)
    folder.mkdir()
    # A training by hand does not find the model loaded, so the study does not either.
    forget_base_model()
    started = time.perf_counter()
    found = tune(TuningTask(parts, config, task.labels, folder), untracked)
    study_s = time.perf_counter() - started
    forget_base_model()
    started = time.perf_counter()
    scores = [_score_alone(task, parts, config, trial.values, folder) for trial in found.trials]
    trainings_s = time.perf_counter() - started
    num_complete = sum(trial.state == "complete" for trial in found.trials)
    return _Outcome(study_s, _best_score(found), num_complete, trainings_s, max(scores))


def _parts(task: TweetTask) -> Splits:
    num_validation = len(task.examples) // _VALIDATION_SHARE
    examples = task.examples
    return Splits(examples[num_validation:], examples[:num_validation], examples.clear())


def _score_alone(
    task: TweetTask, parts: Splits, config: FtzardConfig, values: Mapping[str, Choice], folder: Path
) -> float:
    """The score on validation of a training with a trial's values, in a process of its own."""
    launcher = LauncherConfig(kind="local", num_threads=config.launcher.num_threads)
    job = TrainingJob(parts, with_values(config, values), task.labels)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        trained = ProcessTrainer(launcher, Path(place) / "logs")(job, Path(place) / "adapter")
    kept = trained.result.validation.filter("is_kept")
    return float(kept["macro_f1"].item())


def _best_score(found: TunedHyperparameters) -> float:
    score = found.best.score if found.best else None
    return float("nan") if score is None else score
