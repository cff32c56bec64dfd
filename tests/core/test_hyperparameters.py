"""Values of a study in a configuration, and what a study's trials say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import FtzardConfig, SearchDimension, TuningConfig
from ftzard.core.hyperparameters import (
    Choice,
    TrialSummary,
    TunedHyperparameters,
    best_trial,
    check_search_space,
    with_values,
)
from ftzard.errors import ConfigError


def _searching(**space: SearchDimension) -> FtzardConfig:
    named = {key.replace("__", "."): dimension for key, dimension in space.items()}
    return FtzardConfig(tuning=TuningConfig(method="optuna", search_space=named))


@given(r=st.integers(1, 512), rate=st.floats(1e-6, 1.0), dora=st.booleans())
def test_values_are_put_where_their_keys_say_and_nowhere_else(r: int, rate: float, dora: bool) -> None:
    config = FtzardConfig()
    values = {"training.lora.r": r, "training.learning_rate": rate, "training.lora.use_dora": dora}
    changed = with_values(config, values)
    assert (changed.training.lora.r, changed.training.learning_rate, changed.training.lora.use_dora) == (r, rate, dora)
    back = {"training.lora.r": 16, "training.learning_rate": 5e-4, "training.lora.use_dora": False}
    assert with_values(changed, back) == config == FtzardConfig()


def test_a_key_that_holds_several_names_takes_one_of_them() -> None:
    changed = with_values(FtzardConfig(), {"training.lora.target_modules": "q_proj", "model.max_length": 64})
    assert changed.training.lora.target_modules == ("q_proj",)
    assert changed.model.max_length == 64


@pytest.mark.parametrize(
    "key", ["training.lora.rank", "training", "r", "data.seed", "training.seed.x", "training.lora"]
)
def test_a_key_that_a_training_does_not_depend_on_is_refused_by_name(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"tuning\.search_space.*{key}"):
        with_values(FtzardConfig(), {key: 1})


@pytest.mark.parametrize(
    "dimension",
    [
        SearchDimension(choices=(8, 0)),
        SearchDimension(low=-4, high=8, integer=True),
        SearchDimension(choices=("x",)),
    ],
)
def test_a_value_that_a_key_cannot_have_is_refused_before_any_trial(dimension: SearchDimension) -> None:
    with pytest.raises(ConfigError, match=r"training\.lora\.r cannot have"):
        check_search_space(_searching(training__lora__r=dimension))


def test_the_ancestors_search_space_can_be_searched() -> None:
    from ftzard.composition import compose

    config = compose(["tuning=optuna"])
    check_search_space(config)
    assert config.tuning.num_trials == 4
    assert config.tuning.search_space["training.lora.r"].choices == (8, 16, 32, 64)


@pytest.mark.parametrize(
    "fields",
    [{"low": 1.5, "high": 4.0, "integer": True}, {"low": 4.0, "high": 1.0}, {}, {"low": 0.0, "high": 1.0, "log": True}],
)
def test_a_range_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        SearchDimension(**fields)


def _trial(number: int, state: Any, score: float | None) -> TrialSummary:
    return TrialSummary(number, state, score, {"training.lora.r": number})


def test_the_best_trial_is_a_complete_one_and_the_first_of_equals() -> None:
    trials = (
        _trial(0, "failed", None),
        _trial(1, "complete", 0.5),
        _trial(2, "pruned", 0.9),
        _trial(3, "complete", 0.5),
    )
    for metric in ("macro_f1", "loss"):
        assert best_trial(trials, metric) is trials[1]
    assert best_trial((*trials, _trial(4, "complete", 0.6)), "macro_f1") == _trial(4, "complete", 0.6)
    assert best_trial((*trials, _trial(4, "complete", 0.6)), "loss") is trials[1]
    assert best_trial(trials[:1], "loss") is None


def test_hyperparameters_are_the_same_after_a_way_through_json() -> None:
    trials = (_trial(0, "complete", 0.75), _trial(1, "pruned", 0.5), _trial(2, "failed", None))
    values: dict[str, Choice] = {
        "training.lora.r": 8,
        "training.learning_rate": 1e-4,
        "training.lora.use_dora": True,
        "model.head": "random",
    }
    value = TunedHyperparameters(values, "macro_f1", "ftzard-0", trials, {"training.lora.r": 1.0})
    again = TunedHyperparameters.from_dict(value.to_dict())
    assert again == value
    for key, chosen in values.items():
        assert type(again.values[key]) is type(chosen)
    assert value.sentence.startswith("trial 0 of 3, 1 pruned, 1 failed: macro_f1 0.750 on the validation split with ")
