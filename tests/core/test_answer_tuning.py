"""A study of trainings that write answers: judged by loss or by preference on validation, and pruned on the way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.core.answer_scenario import config, examples, splits, tiny_base
from tests.core.champion_scenario import Champions

from ftzard.config import FtzardConfig, RetrainingConfig, SearchDimension, TuningConfig
from ftzard.core.answer_training import fitted_answers, train_answers
from ftzard.core.child_run import untracked
from ftzard.core.forgetting import Forgetting, ForgottenLabels
from ftzard.core.hyperparameters import with_values
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.seen_examples import seen_in
from ftzard.core.training_loop import ValidationWatch
from ftzard.core.tuning import TuningTask, tune
from ftzard.core.tuning_figures import study_history
from ftzard.errors import TooFewExamplesError

_RATES = SearchDimension(choices=(1e-2, 1e-5))


def _searching(task: str, space: Mapping[str, SearchDimension], **tuning: Any) -> FtzardConfig:
    study = {"method": "optuna", "num_trials": 2, "sampler": "random", "pruner": "none", "seed": 3, **tuning}
    return replace(config(task), tuning=TuningConfig(search_space=dict(space), **study))


def _task(folder: Path, task: str = "generation", parts: Splits | None = None, **tuning: Any) -> TuningTask:
    space = tuning.pop("space", {"training.learning_rate": _RATES})
    return TuningTask(parts or splits(task), _searching(task, space, **tuning), (), folder)


@dataclass
class _Trials:
    """What trials report, by name."""

    curves: dict[str, list[tuple[int, dict[str, float]]]] = field(default_factory=dict)

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        with untracked(name) as run:
            rows = self.curves.setdefault(name, [])

            class _Run:
                def __getattr__(self, attribute: str) -> Any:
                    return getattr(run, attribute)

                def report(self, metrics: Mapping[str, float], step: int) -> None:
                    rows.append((step, dict(metrics)))

            yield _Run()


@pytest.mark.parametrize(
    ("task", "tuning", "best"),
    [
        ("generation", {}, min),
        ("preference", {}, min),
        (
            "preference",
            {"metric": "preference_accuracy", "space": {"training.beta": SearchDimension(choices=(0.1, 5.0))}},
            max,
        ),
    ],
)
def test_it_chooses_the_values_of_the_trial_that_ends_best_on_validation(
    task: str, tuning: dict[str, Any], best: Any, tmp_path: Path
) -> None:
    trials, one = _Trials(), _task(tmp_path, task, **tuning)
    value = tune(one, trials.open)
    assert value.metric == tuning.get("metric", "loss")
    assert len({tuple(trial.values.values()) for trial in value.trials}) == 2, "the seed tries both"
    assert value.best is not None
    assert value.best.score == best(trial.score for trial in value.trials)
    assert value.values == value.best.values
    for trial in value.trials:
        reported = [row for _, row in trials.curves[f"trial {trial.number}"]]
        assert trial.score == [row[f"validation_{value.metric}"] for row in reported if "loss" not in row][-1]
    assert study_history(value.trials, metric=value.metric)


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_a_trial_is_the_training_with_its_values_although_it_is_validated_more_often(task: str, tmp_path: Path) -> None:
    trials, one = _Trials(), _task(tmp_path, task, num_trials=1)
    one = replace(one, config=replace(one.config, training=replace(one.config.training, train_batch_size=8)))
    value = tune(one, trials.open)
    planned = replace(one.splits, train=one.start(one.config).plan.examples)
    alone = train_answers(planned, with_values(one.config, value.values), tmp_path / "alone")
    reported = trials.curves["trial 0"]
    losses = [(step, row["loss"]) for step, row in reported if "loss" in row]
    assert losses == list(alone.curve.select("step", "loss").iter_rows())
    validated = {step: row["validation_loss"] for step, row in reported if "validation_loss" in row}
    # Two epochs of four steps: at each quarter, of which two are ends of epochs.
    assert list(validated) == [2, 4, 6, 8]
    assert {step: validated[step] for step in (4, 8)} == dict(alone.validation.select("step", "loss").iter_rows())


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_a_training_that_is_given_up_leaves_its_base_clean_for_the_next(task: str) -> None:
    class GivenUp(Exception):  # noqa: N818 - it is none
        pass

    def give_up(point: int, step: int, scores: Mapping[str, float]) -> None:
        assert (point, step, "loss" in scores) == (2, 1, True)
        raise GivenUp

    def weights(base: Any) -> Any:
        with fitted_answers(base, parts, one) as fit:
            return fit.model.adapter_weights()

    base, one = tiny_base(), config(task, num_train_epochs=1, train_batch_size=32)
    parts = Splits(examples(16, 1, task), examples(4, 2, task), examples(4, 3, task))
    before = {name: part.clone() for name, part in base.model.state_dict().items()}
    expected = weights(base)
    with pytest.raises(GivenUp), fitted_answers(base, parts, one, watch=ValidationWatch(2, give_up)):
        pass
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].equal(part) for name, part in before.items())
    found = weights(base)
    assert all(found[name].equal(part) for name, part in expected.items())


def test_a_trial_that_is_worse_half_way_is_given_up(tmp_path: Path) -> None:
    # The seed tries the good rate first.
    value = tune(_task(tmp_path, pruner="median"), untracked)
    states = {trial.values["training.learning_rate"]: trial.state for trial in value.trials}
    assert value.trials[0].values == {"training.learning_rate": 1e-2}
    assert states == {1e-2: "complete", 1e-5: "pruned"}


def test_a_trial_plans_its_training_as_the_adapters_own_will_be_planned(tmp_path: Path) -> None:
    one, champions = _task(tmp_path), Champions()
    train = one.splits.train
    # Of answers, each of which may be the only one of its kind, a quarter is replayed and not a quarter of each kind.
    distinct = train.with_columns(label=pl.format("{} {}", "label", "row"))
    champions.add(AdapterDirectory(tmp_path, "champion"), seen_in(distinct.head(24)))
    retraining = RetrainingConfig(start_from="champion", replay_fraction=0.25)
    one = replace(
        one, lineage=champions, config=replace(one.config, training=replace(one.config.training, retraining=retraining))
    )
    start = replace(one, splits=replace(one.splits, train=distinct)).start(one.config)
    assert (start.plan.num_new, start.plan.num_old, start.plan.continues) == (8, 6, True)
    # And weights that have seen a label that was taken out since are not gone on from.
    when = champions.versions()[0].created_at + timedelta(hours=1)
    gone = Forgetting(when, "annotator", "anna", 1, (train["text_hash"][0],), "Ada", "she guessed")
    start = replace(one, forgotten=ForgottenLabels((gone,), train["text_hash"])).start(one.config)
    assert not start.plan.continues


def test_where_no_validation_prompt_leaves_room_for_an_answer_it_is_said(tmp_path: Path) -> None:
    parts = splits()
    long = parts.validation.with_columns(text=pl.lit("word " * 100))
    with pytest.raises(TooFewExamplesError, match=r"no validation example has a prompt below model\.max_length=64"):
        tune(_task(tmp_path, parts=replace(parts, validation=long)), untracked)
