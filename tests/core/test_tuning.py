"""A study: judged on validation, independent trials, pruned, and the same after a kill as without one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.model_scenario import LABELS, config, examples, splits

from ftzard.config import FtzardConfig, SearchDimension, TuningConfig
from ftzard.core import base_model
from ftzard.core.base_model import borrowed_base_model, forget_base_model
from ftzard.core.child_run import untracked
from ftzard.core.hyperparameters import with_values
from ftzard.core.records import Splits
from ftzard.core.studies import give_up_interrupted, open_study
from ftzard.core.training import fitted_classifier
from ftzard.core.tuning import TuningTask, tune
from ftzard.core.tuning_figures import parameter_importances, study_history
from ftzard.errors import ConfigError, NoFinishedTrialError, TooFewExamplesError, TuningStorageError

SPACE = {
    "training.lora.r": SearchDimension(choices=(2, 4, 8)),
    "training.lora.lora_dropout": SearchDimension(low=0.0, high=0.3),
    "training.learning_rate": SearchDimension(low=1e-4, high=1e-2, log=True),
}


def searching(num_trials: int = 3, **tuning: Any) -> FtzardConfig:
    """The tiny model, with a study."""
    study = TuningConfig(method="optuna", num_trials=num_trials, **{"search_space": SPACE, "pruner": "none", **tuning})
    return replace(config(num_train_epochs=1), tuning=study)


def task(folder: Path, num_trials: int = 3, parts: Splits | None = None, **tuning: Any) -> TuningTask:
    """The toy task to search on."""
    return TuningTask(parts or splits(), searching(num_trials, **tuning), LABELS, folder)


@dataclass
class Trials:
    """What trials write down."""

    params: dict[str, Mapping[str, object]] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, dict[str, float]]]] = field(default_factory=dict)
    tags: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """A run that keeps what it is told."""
        self.curves[name] = []

        class _Run:
            def log_params(_, params: Mapping[str, object]) -> None:  # noqa: N805 # `self` is the trials
                self.params[name] = params

            def log_metrics(_, metrics: Mapping[str, float]) -> None:  # noqa: N805
                self.curves[name].append((0, dict(metrics)))

            def report(_, metrics: Mapping[str, float], step: int) -> None:  # noqa: N805
                self.curves[name].append((step, dict(metrics)))

            def set_tags(_, tags: Mapping[str, str]) -> None:  # noqa: N805
                self.tags[name] = tags

        yield _Run()


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[TuningTask, Any, Trials]:
    trials = Trials()
    one = task(tmp_path_factory.mktemp("studied"))
    return one, tune(one, trials.open), trials


def test_without_a_study_nothing_is_chosen_and_nothing_is_opened(tmp_path: Path) -> None:
    value = tune(TuningTask(splits(), config(), LABELS, tmp_path), untracked)
    assert (value.values, value.trials, value.best) == ({}, (), None)
    assert list(tmp_path.iterdir()) == []


def test_it_chooses_the_values_of_the_trial_with_the_best_score_on_validation(studied: Any) -> None:
    _, value, trials = studied
    assert [trial.state for trial in value.trials] == ["complete"] * 3
    assert value.best.score == max(trial.score for trial in value.trials)
    assert value.values == value.best.values == trials.params[f"trial {value.best.number}"]
    assert set(value.values) == set(SPACE)
    assert sum(value.importances.values()) == pytest.approx(1)


def test_each_trial_writes_down_its_parameters_its_curve_and_its_score(studied: Any) -> None:
    _, value, trials = studied
    assert list(trials.curves) == ["trial 0", "trial 1", "trial 2"]
    for trial in value.trials:
        name = f"trial {trial.number}"
        losses = [step for step, metrics in trials.curves[name] if "loss" in metrics]
        assert losses == list(range(1, 7))
        validations = [(step, metrics) for step, metrics in trials.curves[name] if "validation_macro_f1" in metrics]
        assert [step for step, _ in validations] == [2, 3, 4, 6]
        assert validations[-1][1]["validation_macro_f1"] == trial.score
        assert trials.tags[name]["ftzard.trial_state"] == "complete"


def test_a_trial_gives_the_same_curve_bit_for_bit_as_a_training_with_its_values_alone(studied: Any) -> None:
    one, value, trials = studied
    ordered = replace(splits(), train=splits().train.sort("text_hash"))
    for trial in value.trials:
        alone = with_values(one.config, trial.values)
        forget_base_model()
        with (
            borrowed_base_model(alone.model, "cpu") as base,
            fitted_classifier(base, ordered, alone, LABELS) as fit,
        ):
            expected = fit.record.curve()["loss"].to_list()
            score = fit.record.validation()["macro_f1"][-1]
        curve = trials.curves[f"trial {trial.number}"]
        assert [metrics["loss"] for _, metrics in curve if "loss" in metrics] == expected
        assert score == trial.score


def test_the_base_model_is_loaded_once_for_all_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    load = base_model._load

    def counted(*given: Any) -> Any:
        loaded.append(given)
        return load(*given)

    monkeypatch.setattr(base_model, "_load", counted)
    forget_base_model()
    tune(task(tmp_path, 4, pruner="median"), untracked)
    assert len(loaded) == 1


def test_the_test_split_changes_nothing(studied: Any, tmp_path: Path) -> None:
    one, value, _ = studied
    other = replace(one, splits=replace(splits(), test=examples(7, 9)), project_dir=tmp_path)
    assert other.study_name == one.study_name
    assert tune(other, untracked) == value


def test_a_study_that_is_finished_is_not_done_again(studied: Any) -> None:
    one, value, _ = studied

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    assert tune(one, refuse) == value


def test_more_trials_go_on_where_it_stopped(studied: Any, tmp_path: Path) -> None:
    _, value, _ = studied
    first = Trials()
    tune(task(tmp_path, 1), first.open)
    rest = Trials()
    assert tune(task(tmp_path, 3), rest.open).trials == value.trials
    assert [list(first.curves), list(rest.curves)] == [["trial 0"], ["trial 1", "trial 2"]]


@pytest.mark.parametrize(
    "other",
    [
        {"parts": Splits(examples(95, 1), examples(30, 2), examples(30, 3))},
        {"parts": Splits(examples(96, 1), examples(29, 2), examples(30, 3))},
        {"seed": 1},
        {"metric": "loss"},
        {"search_space": {"training.lora.r": SearchDimension(choices=(2, 4))}},
    ],
)
def test_other_examples_or_another_search_are_another_study(tmp_path: Path, other: dict[str, Any]) -> None:
    assert task(tmp_path, **other).study_name != task(tmp_path).study_name


def test_loss_is_searched_downwards(tmp_path: Path) -> None:
    value = tune(task(tmp_path, metric="loss"), untracked)
    assert value.best is not None
    assert value.best.score == min(trial.score for trial in value.trials if trial.score is not None)


def test_a_trial_that_stops_early_is_scored_by_the_weights_that_are_kept(tmp_path: Path) -> None:
    one = task(tmp_path, 1, search_space={"training.learning_rate": SearchDimension(choices=(3e-2,))}, metric="loss")
    # Forgets in its second epoch what it learned in the first.
    unsteady = config(
        num_train_epochs=4, warmup_fraction=0.0, early_stopping_patience=1, metric_for_best_model="loss"
    ).training
    value = tune(replace(one, config=replace(one.config, training=unsteady)), untracked)
    settings = with_values(replace(config(), training=unsteady), {"training.learning_rate": 3e-2})
    ordered = replace(splits(), train=splits().train.sort("text_hash"))
    with (
        borrowed_base_model(settings.model, "cpu") as base,
        fitted_classifier(base, ordered, settings, LABELS) as fit,
    ):
        rows = fit.record.validation()
    assert rows.height > 1
    assert rows["is_kept"].to_list().index(True) < rows.height - 1
    assert value.trials[0].score == rows["loss"].min()


def test_a_losing_trial_is_given_up_and_its_base_is_clean_for_the_next(tmp_path: Path) -> None:
    # The second choice learns nothing at all, so it is behind at the second point already.
    space = {"training.learning_rate": SearchDimension(choices=(5e-3, 1e-12))}
    trials = Trials()
    parts = Splits(examples(480, 1), splits().validation, splits().test)
    value = tune(task(tmp_path, 8, parts, search_space=space, pruner="median"), trials.open)
    pruned = [trial for trial in value.trials if trial.state == "pruned"]
    after_the_first_good_one = [
        trial
        for trial in value.trials
        if trial.values["training.learning_rate"] == 1e-12
        and any(good.number < trial.number and good.values["training.learning_rate"] == 5e-3 for good in value.trials)
    ]
    assert pruned
    assert pruned == after_the_first_good_one
    for trial in pruned:
        assert max(step for step, _ in trials.curves[f"trial {trial.number}"]) == 15  # of 30 steps
        assert trials.tags[f"trial {trial.number}"]["ftzard.trial_state"] == "pruned"
    good = [trial.score for trial in value.trials if trial.values["training.learning_rate"] == 5e-3]
    assert len(set(good)) == 1
    assert value.values == {"training.learning_rate": 5e-3}


def test_halving_gives_up_the_worse_half_at_a_quarter_and_an_interrupted_trial_has_no_say(tmp_path: Path) -> None:
    one = task(tmp_path, pruner="successive_halving")
    study = open_study("halving", one.config, tmp_path)

    def given_up(*scores: float, is_interrupted: bool = False) -> bool:
        """A trial with these scores at its first points: whether it is given up at the last of them."""
        trial = study.ask()
        for point, score in enumerate(scores, start=1):
            trial.report(score, point)
        is_pruned = trial.should_prune()
        if is_interrupted:
            give_up_interrupted(study)
        else:
            study.tell(trial, scores[-1])
        return is_pruned

    assert not given_up(0.5)
    assert given_up(0.4)
    # The second of three is not in the better half; that of four is, and with the interrupted one it would not be.
    assert given_up(0.45)
    assert not given_up(0.9, is_interrupted=True)
    assert not given_up(0.46)
    # Nobody has come to a half yet.
    assert not given_up(0.9, 0.1)
    assert given_up(0.9, 0.05)
    # Beyond a half nothing is given up.
    assert not given_up(0.9, 0.9, 0.0)


def test_halving_takes_the_lower_loss_for_the_better(tmp_path: Path) -> None:
    one = task(tmp_path, pruner="successive_halving", metric="loss")
    study = open_study("halving", one.config, tmp_path)
    outcomes = []
    for loss in (0.5, 0.6, 0.4):
        trial = study.ask()
        trial.report(loss, 1)
        outcomes.append(trial.should_prune())
        study.tell(trial, loss)
    assert outcomes == [False, True, False]


def test_a_trial_that_diverges_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    space = {"training.learning_rate": SearchDimension(choices=(5e-3, 1e30))}
    value = tune(task(tmp_path, 4, search_space=space), untracked)
    assert {trial.state for trial in value.trials} == {"complete", "failed"}
    assert {trial.state for trial in value.trials if trial.values["training.learning_rate"] == 1e30} == {"failed"}
    assert value.values == {"training.learning_rate": 5e-3}


def test_a_study_in_which_every_trial_diverges_says_why_and_is_no_success(tmp_path: Path) -> None:
    space = {"training.learning_rate": SearchDimension(choices=(1e30,))}
    for _ in range(2):
        with pytest.raises(NoFinishedTrialError, match=r"none of the 2 trials .* the loss is nan"):
            tune(task(tmp_path, 2, search_space=space), untracked)


@pytest.mark.parametrize(
    ("storage", "said"), [("sqlite:////proc/none.db", "unable to open"), ("nosuch://host/x", "nosuch")]
)
def test_a_storage_that_cannot_be_used_is_named(tmp_path: Path, storage: str, said: str) -> None:
    with pytest.raises(TuningStorageError, match=said):
        tune(task(tmp_path, storage=storage), untracked)


def test_what_cannot_be_searched_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.rate"):
        tune(task(tmp_path, search_space={"training.rate": SearchDimension(choices=(1,))}), untracked)
    parts = Splits(splits().train, splits().validation.clear(), splits().test)
    with pytest.raises(TooFewExamplesError, match="validation"):
        tune(task(tmp_path, parts=parts), untracked)
    assert list(tmp_path.iterdir()) == []


_SEARCH = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from ftzard.core.child_run import untracked
from ftzard.core.tuning import tune
from tests.core.test_tuning import Trials, task

folder, kept = Path(sys.argv[1]), Path(sys.argv[2])

class Slow:
    def __init__(self, run): self.run = run
    def __getattr__(self, name): return getattr(self.run, name)
    def report(self, metrics, step):
        with kept.open("a") as file: file.write(f"{step}\\n")
        time.sleep(0.2)

@contextmanager
def opened(name):
    with kept.open("a") as file: file.write(f"{name}\\n")
    with untracked(name) as run: yield Slow(run)

tune(task(folder), opened)
"""


@pytest.mark.slow
def test_a_study_that_was_killed_is_gone_on_with_and_ends_as_one_that_was_not(studied: Any, tmp_path: Path) -> None:
    _, value, uninterrupted = studied
    log = tmp_path / "log.txt"
    arguments = [sys.executable, "-c", _SEARCH, str(tmp_path), str(log), str(torch.get_num_threads())]
    # The code that is tested here, not another one that may be installed.
    path = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(arguments, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": path})
    try:
        # In the middle of the second trial.
        while process.poll() is None and "trial 1\n1\n2\n" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    trials = Trials()
    again = tune(task(tmp_path), trials.open)
    # The first trial is not repeated; the second is, under a new number.
    assert list(trials.params) == ["trial 2", "trial 3"]
    scores = [[(trial.values, trial.score) for trial in outcome.trials] for outcome in (again, value)]
    assert scores[0] == scores[1]
    assert trials.curves["trial 2"] == uninterrupted.curves["trial 1"]
    assert json.dumps(again.values) == json.dumps(value.values)


def test_pictures_are_drawn_of_what_there_is(studied: Any) -> None:
    _, value, _ = studied
    for picture in (study_history(value.trials, metric="macro_f1"), parameter_importances(value.importances)):
        assert picture.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="needs at least one"):
        study_history((), metric="loss")
    with pytest.raises(ValueError, match="need at least one"):
        parameter_importances({})
