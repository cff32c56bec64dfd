"""A search for hyperparameters: trials of an Optuna study, each a training that is scored on the validation split.

A study is known by what it searches and by what it trains on, so that one that was killed is gone on with, and one
whose examples have changed is begun anew. What a trial tries depends on the seed and on the trials that ended before
it, and on nothing else: a study that was interrupted comes to the same end as one that was not. The test split is not
looked at.
"""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ftzard.config import FtzardConfig, decisive
from ftzard.core.answer_training import fitted_answers
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.child_run import ChildRun, OpenChild
from ftzard.core.devices import resolve_device
from ftzard.core.hyperparameters import (
    TrialSummary,
    TunedHyperparameters,
    best_trial,
    check_search_space,
    searched,
    with_values,
)
from ftzard.core.records import Splits
from ftzard.core.retraining import Lineage, TrainingStart, training_start
from ftzard.core.studies import (
    DIVERGED,
    HOST,
    alone_with,
    distribution,
    give_up_interrupted,
    is_done,
    num_done,
    open_study,
    sampler,
    storage_errors_explained,
)
from ftzard.core.training import fitted_classifier
from ftzard.core.training_checks import check_training_labels
from ftzard.core.training_loop import ValidationWatch
from ftzard.core.versions import content_version, fingerprint
from ftzard.errors import (
    NoFinishedTrialError,
    TooFewExamplesError,
    TrainingDivergedError,
)

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from ftzard.core.forgetting import ForgottenLabels
    from ftzard.core.progress import Progress

_logger = logging.getLogger(__name__)

# Moves when a study of before would not be gone on with in the same way.
_STUDY_VERSION: Final = "1"
# How often a trial is validated and may be given up.
_NUM_POINTS: Final = 4


class _TrialPrunedError(Exception):
    """A trial is worse than others were that had come as far."""


@dataclass(frozen=True, eq=False)
class TuningTask:
    """What is searched for.

    Attributes:
        splits: Each `EXAMPLE_SCHEMA`. Trials train on `train` and are scored on `validation`.
        config: Its sections `model`, `training` and `tuning`.
        labels: The label set, in the order of the outputs; none where answers are written.
        project_dir: What a relative SQLite path is taken from.
        lineage: The model registry, for a training that goes on from a champion; None where there is none.
        forgotten: What was taken out of the labels; None: nothing.
    """

    splits: Splits
    config: FtzardConfig
    labels: Sequence[str]
    project_dir: Path
    lineage: Lineage | None = None
    forgotten: "ForgottenLabels | None" = None

    def start(self, config: FtzardConfig) -> TrainingStart:
        """What a training with this configuration sees, and where it starts: as the adapter's own will."""
        return training_start(self.splits.train, config.training, self.lineage, self.forgotten, task=config.data.task)

    @property
    def study_name(self) -> str:
        """Stands for everything that decides about a trial's score."""
        start = self.start(self.config)
        examples = [content_version(frame) for frame in (start.plan.examples, self.splits.validation)]
        document = {
            "version": _STUDY_VERSION,
            "search": searched(self.config),
            "model": asdict(self.config.model),
            "training": decisive("training", asdict(self.config.training), self.config.data.task),
            "labels": list(self.labels),
            "examples": examples,
            "initial": start.initial.checksum if start.initial else None,
        }
        return f"ftzard-{fingerprint(document)[:16]}"


def tune(task: TuningTask, open_trial: OpenChild) -> TunedHyperparameters:
    """Search, or go on with a search that was interrupted.

    Args:
        task: What to search for.
        open_trial: Opens the run of a trial that is executed now.

    Returns:
        The best trial's values; with `tuning=none` none at all, at once.

    Raises:
        ConfigError: The search space names a key that does not exist, or values that it cannot have.
        TooFewExamplesError: There is nothing to validate on.
        NoFinishedTrialError: Every trial diverged or was given up.
        TuningStorageError: The study's storage cannot be used.
        FtzardError: As `ftzard.core.training.train_adapter`.
    """
    tuning = task.config.tuning
    if tuning.method == "none":
        return TunedHyperparameters({}, task.config.tuning_metric)
    check_search_space(task.config)
    if task.config.data.has_labels:
        check_training_labels(task.splits.train, task.labels, task.config.data.task)
    if task.splits.validation.is_empty():
        raise TooFewExamplesError(
            "there are no validation examples to score a trial on",
            fix="raise data.validation_fraction, or train without a study: tuning=none",
        )
    name = task.study_name
    with alone_with(task.project_dir, name), storage_errors_explained(tuning.storage):
        study = open_study(name, task.config, task.project_dir)
        give_up_interrupted(study)
        _logger.info("study %s: %d of %d trials are done", name, num_done(study), tuning.num_trials)
        while num_done(study) < tuning.num_trials:
            _execute_next(study, task, open_trial)
        return _outcome(study, task.config)


def _execute_next(study: "Study", task: TuningTask, open_trial: OpenChild) -> None:
    """Execute one trial to its end and write that down."""
    from optuna.trial import TrialState

    tuning = task.config.tuning
    study.sampler = sampler(tuning, num_done(study))
    distributions = {key: distribution(tuning.search_space[key]) for key in sorted(tuning.search_space)}
    trial = study.ask(distributions)
    trial.set_user_attr(HOST, platform.node())
    try:
        with open_trial(f"trial {trial.number}") as run:
            state, score = _execute(trial, task, run)
    except TrainingDivergedError as error:
        trial.set_user_attr(DIVERGED, error.what)
        study.tell(trial, state=TrialState.FAIL)
        _logger.warning("trial %d failed: %s", trial.number, error.what)
    except BaseException:
        # Not a trial's own failure: the next process tries the same values again.
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, score if state == "complete" else None, TrialState[state.upper()])
        _logger.info("trial %d is %s: %s %.3f", trial.number, state, task.config.tuning_metric, score)


def _execute(trial: "Trial", task: TuningTask, run: ChildRun) -> tuple[str, float]:
    """Train with a trial's values: whether it was completed or pruned, and its last score."""
    config = with_values(task.config, trial.params)
    metric = config.tuning_metric
    run.log_params(trial.params)
    scores: list[float] = []

    def watch(point: int, step: int, validation: Mapping[str, float]) -> None:
        score = validation[metric]
        scores.append(score)
        run.report({f"validation_{name}": value for name, value in validation.items()}, step)
        trial.report(score, point)
        if point < _NUM_POINTS and trial.should_prune():
            raise _TrialPrunedError

    def report(progress: "Progress") -> None:
        if progress.loss is not None:
            run.report({"loss": progress.loss}, progress.done)

    state = "complete"
    with borrowed_base_model(config.model, resolve_device(config.training.device)) as base:
        try:
            _train(base, task, config, report, ValidationWatch(_NUM_POINTS, watch), scores)
        except _TrialPrunedError:
            # Caught here, because a base model that is given back after an error would be loaded again.
            state = "pruned"
    run.log_metrics({"score": scores[-1]})
    run.set_tags(
        {"ftzard.trial": str(trial.number), "ftzard.trial_state": state, "ftzard.study": trial.study.study_name}
    )
    return state, scores[-1]


def _train(
    base: BaseModel,
    task: TuningTask,
    config: FtzardConfig,
    report: "Callable[[Progress], None]",
    watch: ValidationWatch,
    scores: list[float],
) -> None:
    """Train as the adapter's own training would; the last of the scores is that of the weights it would keep."""
    start = task.start(config)
    planned = Splits(start.plan.examples, task.splits.validation, task.splits.test.clear())
    if config.data.has_labels:
        with fitted_classifier(
            base, planned, config, task.labels, on_progress=report, watch=watch, initial=start.initial
        ) as fit:
            scores.append(fit.record.kept_score(config.tuning_metric))
        return
    # It keeps its last weights, of which the watch was told.
    with fitted_answers(base, planned, config, on_progress=report, watch=watch, initial=start.initial):
        pass


def _outcome(study: "Study", config: FtzardConfig) -> TunedHyperparameters:
    tuning, metric = config.tuning, config.tuning_metric
    trials = tuple(_summary(trial) for trial in study.get_trials(deepcopy=False) if is_done(trial))
    best = best_trial(trials, metric)
    if best is None:
        reasons = [trial.user_attrs[DIVERGED] for trial in study.get_trials() if DIVERGED in trial.user_attrs]
        raise NoFinishedTrialError(
            f"none of the {len(trials)} trials of the study {study.study_name} came to its end; the last one: "
            f"{reasons[-1] if reasons else 'given up'}",
            fix="search lower learning rates, raise tuning.num_trials, or train without a study: tuning=none",
        )
    return TunedHyperparameters(best.values, metric, study.study_name, trials, _importances(study, tuning.seed))


def _summary(trial: "FrozenTrial") -> TrialSummary:
    states = {"COMPLETE": "complete", "PRUNED": "pruned"}
    last = trial.intermediate_values.get(max(trial.intermediate_values, default=0))
    state: Any = states.get(trial.state.name, "failed")
    return TrialSummary(trial.number, state, trial.value if trial.value is not None else last, dict(trial.params))


def _importances(study: "Study", seed: int) -> dict[str, float]:
    """Which key matters (fANOVA, Hutter et al., 2014), where at least two complete trials differ in their score."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:  # noqa: PLR2004 # one score is no difference
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {key: float(share) for key, share in found.items()}
