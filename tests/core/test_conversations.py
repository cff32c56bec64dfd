"""Conversations are trained and answered through the base model's chat template."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.core.answer_scenario import CHAT_TEMPLATE, config, splits
from tests.core.model_scenario import save_tiny_model
from transformers import AutoTokenizer

from ftzard.config import FtzardConfig
from ftzard.core.answer_format import read_answer_format
from ftzard.core.answer_inference import predict_answers
from ftzard.core.answer_training import train_answers
from ftzard.core.conversations import write_messages
from ftzard.core.records import Splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    folder = save_tiny_model(tmp_path_factory.mktemp("base") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def _settings(task: str, folder: Path, num_epochs: int) -> FtzardConfig:
    plain = config(
        task, {"base_model": str(folder), "max_length": 128}, num_train_epochs=num_epochs, train_batch_size=4
    )
    return replace(
        plain,
        data=replace(plain.data, messages_column="messages"),
        model=replace(plain.model, generation=replace(plain.model.generation, prompt_format="chat")),
    )


def _as_messages(frame: pl.DataFrame) -> pl.DataFrame:
    talks = [write_messages([{"role": "user", "content": text}]) for text in frame["text"]]
    return frame.with_columns(text=pl.Series(talks, dtype=pl.String))


def _talks(task: str) -> Splits:
    return Splits(*(_as_messages(part) for part in vars(splits(task)).values()))


def test_messages_are_trained_and_answered(folder: Path, tmp_path: Path) -> None:
    settings, talks = _settings("generation", folder, 6), _talks("generation")
    result = train_answers(talks, settings, tmp_path / "adapter")
    predictions = predict_answers(result.adapter, talks.test, settings)
    is_right = predictions["prediction"] == predictions["label"]
    assert is_right.mean() > 0.5  # type: ignore[operator]  # booleans have one
    assert not (predictions["untrained_prediction"] == predictions["label"]).any()
    assert read_answer_format(result.adapter.path).messages


def test_of_two_answers_to_messages_the_chosen_one_becomes_likelier(folder: Path, tmp_path: Path) -> None:
    settings, talks = _settings("preference", folder, 3), _talks("preference")
    result = train_answers(talks, settings, tmp_path / "adapter")
    found = predict_answers(result.adapter, talks.test, settings)
    margins = {
        name: found[f"{name}chosen_log_probabilities"].list.sum()
        - found[f"{name}rejected_log_probabilities"].list.sum()
        for name in ("", "untrained_")
    }
    assert (margins[""] > margins["untrained_"]).all()
    assert read_answer_format(result.adapter.path).messages
