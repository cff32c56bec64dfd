"""A challenger meets the champion: what is compared, what is registered, and what a person's rollback means."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.registry_scenario import small_adapter

from ftzard.config import DataConfig, EvaluationConfig, FtzardConfig, TrackingConfig
from ftzard.core import challenge as module
from ftzard.core.challenge import challenge, check_may_challenge
from ftzard.core.gate import PromotionVerdict
from ftzard.core.predictions import labels_of_predictions, predictions_frame
from ftzard.core.records import EXAMPLE_SCHEMA, AdapterDirectory, Splits
from ftzard.core.splitting import test_fingerprint as fingerprint_of
from ftzard.errors import LabelSetChangedError
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

CONFIG = FtzardConfig(evaluation=EvaluationConfig(num_bootstrap_samples=200))
LABELS = ("negative", "positive")
Challenge = Callable[..., PromotionVerdict]


def _examples(name: str, num_rows: int) -> pl.DataFrame:
    words = ["bad", "good"]
    rows = range(num_rows)
    return pl.DataFrame(
        {
            "text_hash": [f"{name} {row:04}" for row in rows],
            "text": [f"{words[row % 2]} number {row}" if row % 5 else f"number {row}" for row in rows],
            "label": [LABELS[row % 2] for row in rows],
            "batch": ["b.csv"] * num_rows,
            "row": list(rows),
        },
        schema=EXAMPLE_SCHEMA,
    )


SPLITS = Splits(_examples("train", 60), _examples("validation", 4), _examples("test", 200))


def _answers(test: pl.DataFrame, share_right: float, labels: tuple[str, ...] = LABELS) -> pl.DataFrame:
    """Right on the last rows of the test split, this share of them."""
    true = np.array([LABELS.index(label) for label in test["label"]])
    predicted = np.where(np.arange(true.size) >= (1 - share_right) * true.size, true, 1 - true)
    return predictions_frame(test["text_hash"].to_list(), [labels[code] for code in true], np.eye(2)[predicted], labels)


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> AdapterRegistry:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return AdapterRegistry(Tracking(TrackingConfig(), tmp_path))


@pytest.fixture
def meet(registry: AdapterRegistry, tmp_path: Path) -> Challenge:
    """Lets an adapter of this name, right on this share of the test rows, challenge the champion."""

    def run(name: str, share_right: float, splits: Splits = SPLITS) -> PromotionVerdict:
        adapter = small_adapter(tmp_path / "adapters" / name, name)
        answers = _answers(splits.test, share_right)
        run_id = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={}).run_id
        return challenge(adapter, answers, splits, CONFIG, registry, run_id)

    return run


def _champion(registry: AdapterRegistry) -> str:
    found = registry.champion()
    assert found is not None
    return found.version


def test_the_first_is_promoted_the_better_one_follows_and_the_worse_one_does_not(
    registry: AdapterRegistry, meet: Challenge
) -> None:
    verdicts = [meet("first", 0.9).verdict, meet("better", 1.0).verdict, meet("worse", 0.9).verdict]
    assert verdicts == ["promote", "promote", "keep"]
    assert _champion(registry) == "2"
    assert [move.to_version for move in registry.history()] == ["1", "2"]
    assert "shown to be above the champion's" in registry.history()[1].why


def test_the_champion_itself_is_kept_at_once(registry: AdapterRegistry, meet: Challenge) -> None:
    meet("first", 0.9)
    verdict = meet("first", 0.9)
    assert (verdict.verdict, verdict.champion, verdict.against_champion) == ("keep", "1", None)
    assert len(registry.versions()) == len(registry.history()) == 1


def test_what_a_person_took_back_is_not_promoted_again_until_a_person_gives_it_back(
    registry: AdapterRegistry, meet: Challenge
) -> None:
    meet("first", 0.9)
    meet("better", 1.0)
    registry.rollback(to=None, by="Ada", why="it insults people")
    verdict = meet("better", 1.0)
    assert verdict.verdict == "keep"
    assert "Ada went back from this adapter to version 1 (it insults people)" in verdict.reasons[0]
    # The numbers behind it are there all the same.
    assert verdict.against_champion is not None
    assert _champion(registry) == "1"
    registry.rollback(to="2", by="Ada", why="it was the prompt")
    registry.rollback(to="1", by="the owner", why="for the night")
    assert "the owner went back" in meet("better", 1.0).reasons[0]


def test_another_adapter_may_follow_the_one_that_was_taken_back(registry: AdapterRegistry, meet: Challenge) -> None:
    meet("first", 0.9)
    meet("better", 1.0)
    registry.rollback(to=None, by="Ada", why="it insults people")
    assert meet("another", 0.99).verdict == "promote"
    assert _champion(registry) == "3"


def test_on_the_same_test_split_the_champions_own_answers_are_used(
    meet: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> pl.DataFrame:
        raise AssertionError

    monkeypatch.setattr("ftzard.core.inference.predict", never)
    meet("first", 0.9)
    assert meet("better", 1.0).num_rows == SPLITS.test.height


def test_on_another_test_split_the_champion_answers_anew_and_rows_it_was_trained_on_do_not_count(
    meet: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def predict(adapter: AdapterDirectory, examples: pl.DataFrame, *_: object) -> pl.DataFrame:
        asked.append(adapter.checksum)
        return _answers(examples, 0.9)

    # What `predict` is given is the downloaded adapter; these have no weights that it could load.
    monkeypatch.setattr("ftzard.core.inference.predict", predict)
    monkeypatch.setattr(module, "config_for", lambda _, config: config)
    first = meet("first", 0.9)
    grown = Splits(_examples("more", 40), SPLITS.validation, pl.concat([SPLITS.test, SPLITS.train.head(10)]))
    verdict = meet("better", 1.0, grown)
    assert asked == [first.challenger]
    assert (verdict.num_rows, verdict.num_rows_left_out) == (200, 10)
    assert verdict.test_fingerprint == fingerprint_of(grown.test) != first.test_fingerprint


def test_what_could_not_be_compared_in_the_end_is_not_trained(registry: AdapterRegistry, meet: Challenge) -> None:
    check_may_challenge(CONFIG, ("a", "b"), registry)
    meet("first", 0.9)
    labels = labels_of_predictions(registry.evidence(registry.versions()[0]).predictions)
    check_may_challenge(CONFIG, labels, registry)
    with pytest.raises(LabelSetChangedError, match=r"with the labels \['a', 'b'\], and champion version 1") as caught:
        check_may_challenge(CONFIG, ("a", "b"), registry)
    assert "tracking.registered_model" in caught.value.fix
    generation = replace(CONFIG, data=DataConfig(task="generation"))
    with pytest.raises(LabelSetChangedError, match=r"for data\.task=generation, .* was trained for classification"):
        check_may_challenge(generation, (), registry)


def test_another_label_set_is_an_error_before_anything_is_scored_and_leaves_the_champion(
    registry: AdapterRegistry, tmp_path: Path, meet: Challenge
) -> None:
    meet("first", 0.9)
    test = SPLITS.test.with_columns(pl.col("label").replace_strict({"negative": "no", "positive": "yes"}))
    answers = _answers(SPLITS.test, 1.0, ("no", "yes"))
    run_id = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={}).run_id
    other = small_adapter(tmp_path / "adapters" / "other", "other")
    with pytest.raises(LabelSetChangedError, match=r"tracking\.registered_model"):
        challenge(other, answers, Splits(SPLITS.train, SPLITS.validation, test), CONFIG, registry, run_id)
    assert _champion(registry) == "1"
