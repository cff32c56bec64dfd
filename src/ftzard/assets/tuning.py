"""The search for hyperparameters."""

from dataclasses import asdict

import polars as pl

from ftzard.assets.gpu import GPU_POOL, GPU_TAGS
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.assets.training import followed_champion
from ftzard.config import decisive
from ftzard.core.cleaning import labels_of
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.core.records import Splits
from ftzard.core.versions import fingerprint


def _what_trials_train_with(step: Step) -> str:
    """The rest of the configuration, and the champion, matter only where there are trials."""
    config = step.config
    if config.tuning.method == "none":
        return ""
    values = {name: asdict(getattr(config, name)) for name in ("data", "model", "training")}
    sections = [decisive(name, keys, config.data.task) for name, keys in values.items()]
    return fingerprint([*sections, followed_champion(step)])


@tracked_asset(
    "HP_TUNING",
    group="training",
    kinds={"optuna", "json"},
    io="hyperparameters",
    sections=("tuning",),
    outside_version=_what_trials_train_with,
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
    after=("retrain_decision",),
)
def tuned_hyperparameters(splits: Splits, step: Step) -> StepResult[TunedHyperparameters]:
    """The best hyperparameters of an Optuna study, each of whose trials is scored on the validation split.

    With `tuning=none` there is no study, and the adapter is trained with the configuration as it is.
    """
    from ftzard.core.challenge import check_may_challenge
    from ftzard.core.tuning import TuningTask, tune

    labels, forgotten = labels_of(splits.train, step.config.data), step.forgotten_labels(splits)
    if step.registry and step.config.tuning.method != "none":
        check_may_challenge(step.config, labels, step.registry)
    task = TuningTask(splits, step.config, labels, step.project_dir, step.registry, forgotten)
    value = tune(task, step.open_child)
    best = value.best
    return StepResult(
        value=value,
        metadata={"sentence": value.sentence, "trials": _table(value)}
        | ({"study": value.study} if value.study else {}),
        metrics={}
        if best is None or best.score is None
        else {"best_score": best.score, "num_trials": len(value.trials)},
        params={"best": value.values} if value.values else {},
        figures=_figures(value),
        # What else is in it, such as a trial more that was not better, is no reason to train again.
        data_version=fingerprint(value.values),
    )


def _figures(value: TunedHyperparameters) -> dict[str, bytes]:
    from ftzard.core.tuning_figures import parameter_importances, study_history

    if value.best is None:
        return {}
    figures = {"trials": study_history(value.trials, metric=value.metric)}
    return figures | ({"importances": parameter_importances(value.importances)} if value.importances else {})


def _table(value: TunedHyperparameters) -> pl.DataFrame:
    rows = [
        {"trial": trial.number, "state": trial.state, value.metric: trial.score}
        | {key: str(chosen) for key, chosen in trial.values.items()}
        for trial in value.trials
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
