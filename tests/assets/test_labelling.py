"""The label queue as an asset function: what the registry knows of a champion decides what is asked."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.core.model_scenario import config, examples, train

from ftzard.assets.labelling import label_queue
from ftzard.assets.step import Step
from ftzard.config import FtzardConfig, LabellingConfig
from ftzard.core.champion_records import AdapterEvidence, RegisteredAdapter
from ftzard.core.inference import predict
from ftzard.core.records import AdapterDirectory
from ftzard.core.seen_examples import seen_in
from ftzard.core.versions import content_version


def _seen(incoming: pl.DataFrame) -> pl.DataFrame:
    return seen_in(incoming.select("text_hash", label=pl.lit("yes")))


class _Registry:
    """One registered version, without a store."""

    def __init__(self, adapter: AdapterDirectory, evidence: AdapterEvidence) -> None:
        self._adapter, self._evidence = adapter, evidence

    def versions(self) -> tuple[RegisteredAdapter, ...]:
        return (RegisteredAdapter("ftzard", "3", self._adapter.checksum, datetime.now(UTC), "run", "fingerprint"),)

    def evidence(self, _: RegisteredAdapter) -> AdapterEvidence:
        return self._evidence

    def load(self, _: RegisteredAdapter) -> AdapterDirectory:
        return self._adapter


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> AdapterDirectory:
    return train(tmp_path_factory.mktemp("trained") / "adapter").adapter


@pytest.fixture(scope="module")
def incoming() -> pl.DataFrame:
    return examples(60, 7).with_columns(label=pl.lit(None, pl.String))


@pytest.fixture(scope="module")
def incoming_predictions(adapter: AdapterDirectory, incoming: pl.DataFrame) -> pl.DataFrame:
    return predict(adapter, incoming, config()).with_columns(champion_version=pl.lit("3"))


def labelling(**fields: Any) -> FtzardConfig:
    return replace(config(), labelling=LabellingConfig(max_rows_per_file=20, **fields))


def test_a_queue_is_made_of_what_the_champion_said(
    incoming: pl.DataFrame, incoming_predictions: pl.DataFrame, tmp_path: Path
) -> None:
    result = label_queue(incoming, incoming_predictions, Step(labelling(), tmp_path))
    # A quarter of the file is uncertain enough, and chance had its four of all rows before.
    assert result.metrics["num_control"] == 4
    assert 16 <= result.metrics["num_queued"] == result.value.rows.height <= 20
    assert set(result.value.sidecar["champion_version"]) == {"3"}
    assert result.metadata["strategy"] == "least_confidence"
    assert result.figures["uncertainty"].startswith(b"\x89PNG")
    again = label_queue(incoming.reverse(), incoming_predictions.reverse(), Step(labelling(), tmp_path))
    assert content_version(again.value) == content_version(result.value)
    other = label_queue(incoming, incoming_predictions, Step(labelling(seed=1), tmp_path))
    assert content_version(other.value) != content_version(result.value)


def test_rows_the_champion_was_trained_or_judged_on_are_not_asked_for_and_diversity_is_in_its_embeddings(
    adapter: AdapterDirectory, incoming: pl.DataFrame, incoming_predictions: pl.DataFrame, tmp_path: Path
) -> None:
    evidence = AdapterEvidence(incoming_predictions.drop("champion_version")[:10], _seen(incoming[10:20]))
    registry = cast("Any", _Registry(adapter, evidence))
    for strategy in ("least_confidence", "diverse"):
        step = Step(labelling(query_strategy=strategy, uncertainty_quantile=0.0), tmp_path, registry=registry)
        result = label_queue(incoming, incoming_predictions, step)
        asked = result.value.rows["text_hash"]
        assert asked.len() == 20
        assert not set(asked) & set(incoming["text_hash"][:20])
        assert set(result.value.sidecar["strategy"]) == {strategy}


def test_nothing_is_asked_where_every_label_is_known(
    adapter: AdapterDirectory, incoming: pl.DataFrame, incoming_predictions: pl.DataFrame, tmp_path: Path
) -> None:
    evidence = AdapterEvidence(incoming_predictions.drop("champion_version")[:0], _seen(incoming))
    step = Step(labelling(), tmp_path, registry=cast("Any", _Registry(adapter, evidence)))
    result = label_queue(incoming, incoming_predictions, step)
    assert result.metrics["num_queued"] == 0
    empty = label_queue(incoming, incoming_predictions, step).value
    assert_frame_equal(empty.rows, result.value.rows)
