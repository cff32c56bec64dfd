"""Rows worth a label where a text can have several: their uncertainty, the queue, and what people give back."""

import itertools
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.core.set_scenario import LABELS, examples

from ftzard.config import DataConfig, LabellingConfig
from ftzard.core.annotations import resolve
from ftzard.core.cleaning import clean, hash_texts
from ftzard.core.confidences import confidences
from ftzard.core.frame_schemas import check_value
from ftzard.core.label_answers import answers, read_answers
from ftzard.core.label_files import label_csv, label_studio_interface, read_label_queue, write_label_queue
from ftzard.core.label_pools import LabelSetPool
from ftzard.core.label_queue import make_label_queue
from ftzard.core.label_sets import EMPTY, indicators
from ftzard.core.metrics import FloatArray
from ftzard.core.query_strategies import QUERY_STRATEGIES
from ftzard.core.reading import read_batches
from ftzard.core.returned_labels import RETURNED_SCHEMA, read_label_studio
from ftzard.core.set_predictions import set_predictions_frame
from ftzard.errors import ConflictingLabelsError, MalformedBatchError, SchemaViolationError, UnknownLabelError

_DATA = DataConfig(task="multi_label")
_PROBABILITIES = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(0.0, 1.0)
)


def _distribution(row: FloatArray) -> FloatArray:
    """The probability of each of the 2^k sets, one by one."""
    sets = itertools.product([False, True], repeat=len(row))
    return np.array([np.prod(np.where(one, row, 1 - row)) for one in sets])


@given(_PROBABILITIES)
def test_uncertainty_is_that_of_the_distribution_over_all_sets(probabilities: FloatArray) -> None:
    pool = LabelSetPool(probabilities)
    every = [np.sort(_distribution(row)) for row in probabilities]
    found = {name: make(0.0).uncertainty(pool) for name, make in QUERY_STRATEGIES.items()}
    assert found["least_confidence"] == pytest.approx([1 - one[-1] for one in every])
    assert found["margin"] == pytest.approx([1 - (one[-1] - one[-2]) for one in every])
    entropies = [-sum(value * np.log(value) for value in one if value > 0) for one in every]
    assert found["entropy"] == pytest.approx(entropies, abs=1e-9)
    for name in ("random", "diverse"):
        assert found[name].tolist() == found["least_confidence"].tolist()


def _predictions(frame: pl.DataFrame, sureness: FloatArray) -> pl.DataFrame:
    truth = indicators(frame["label"], LABELS)
    logits = np.where(truth, 1.0, -1.0) * sureness[:, None]
    return set_predictions_frame(frame["text_hash"].to_list(), [None] * len(truth), logits, LABELS, (0.5,) * 3)


def test_a_queue_asks_about_the_least_certain_rows_and_knows_that_it_takes_sets(tmp_path: Path) -> None:
    pool = examples(40, 7)
    sureness = np.linspace(0.1, 5.0, pool.height)
    predicted = _predictions(pool, sureness)
    config = LabellingConfig(max_rows_per_file=10, control_fraction=0.0, uncertainty_quantile=0.0)
    for strategy in ("least_confidence", "margin", "entropy"):
        queue = make_label_queue(
            pool.with_columns(label=pl.lit(None, pl.String)),
            predicted,
            "3",
            LabellingConfig(**{**config.__dict__, "query_strategy": strategy}),
        )
        assert {*queue.rows["text_hash"]} == {*pool["text_hash"].head(10)}
    assert queue.takes_sets
    assert queue.labels == LABELS
    expected = dict(zip(predicted["text_hash"], confidences(predicted), strict=True))
    for row in queue.sidecar.iter_rows(named=True):
        assert row["confidence"] == pytest.approx(expected[row["text_hash"]])
    check_value("label_queue", queue)
    write_label_queue(queue, tmp_path / "queue")
    assert read_label_queue(tmp_path / "queue").takes_sets
    broken = queue.sidecar.with_columns(predicted_label=pl.lit("cake"))
    with pytest.raises(SchemaViolationError, match="predicted_label"):
        check_value("label_queue", type(queue)(queue.rows, broken))


def test_the_interface_lets_people_choose_several_labels_or_none() -> None:
    root = ET.fromstring(label_studio_interface(["a", 'b"'], takes_sets=True))  # noqa: S314 - written here
    (choices,) = root.iter("Choices")
    assert choices.get("choice") == "multiple"
    assert [choice.get("alias") or choice.get("value") for choice in choices] == ["a", 'b"', EMPTY]


def _returned(*cells: str | None) -> pl.DataFrame:
    rows = [(f"{number:032}", "text", cell, number, None) for number, cell in enumerate(cells, start=2)]
    return pl.DataFrame(rows, schema=RETURNED_SCHEMA, orient="row")


def test_what_people_write_becomes_sets_in_their_one_spelling() -> None:
    config = DataConfig(task="multi_label", label_separator=";", label_mapping={"m": "music"})
    said = answers(_returned("travel; food", "none", "m|m", " | ", None), "x.csv", LABELS, config)
    assert said["label"].to_list() == ["food|travel", EMPTY, "music"]
    with pytest.raises(UnknownLabelError, match=r"row 2: 'food\|cake'.*allowed"):
        answers(_returned("food|cake", "food"), "x.csv", LABELS, _DATA)
    with pytest.raises(UnknownLabelError, match=r"row 2: 'food\|none'"):
        answers(_returned("food|none"), "x.csv", LABELS, _DATA)
    # Where nobody knows which labels there are.
    assert read_answers(_returned("b|a"), (), _DATA)[0]["label"].to_list() == ["a|b"]


def test_a_row_with_different_sets_is_a_conflict_and_in_another_order_none() -> None:
    twice = _returned("food|travel", "travel|food").with_columns(text_hash=pl.lit("0" * 32))
    assert answers(twice, "x.csv", LABELS, _DATA)["label"].to_list() == ["food|travel"]
    other = _returned("food|travel", "food").with_columns(text_hash=pl.lit("0" * 32))
    with pytest.raises(ConflictingLabelsError, match="several labels"):
        answers(other, "x.csv", LABELS, _DATA)


def _export(*choices: list[str]) -> bytes:
    tasks = [
        {
            "data": {"ftzard_id": "a", "text": "x"},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": chosen}}] if chosen else []}],
        }
        for chosen in choices
    ]
    return json.dumps(tasks).encode()


def test_label_studio_gives_back_what_was_chosen_and_nothing_chosen_is_no_answer() -> None:
    found = read_label_studio(_export(["travel", "food"], [EMPTY], []), "x.json", _DATA, {"a": "x"})
    assert found.rows["label"].to_list() == ["travel|food", EMPTY, None]
    short = json.dumps([{"ftzard_id": "a", "text": "x", "label": {"choices": ["food", "music"]}}]).encode()
    assert read_label_studio(short, "x.json", _DATA, {"a": "x"}).rows["label"].to_list() == ["food|music"]
    with pytest.raises(MalformedBatchError, match=r"task 1 has the label 'a\|b'"):
        read_label_studio(_export(["a|b"]), "x.json", _DATA, {"a": "x"})
    with pytest.raises(MalformedBatchError, match="an annotation has one"):
        read_label_studio(_export(["a", "b"]), "x.json", DataConfig(), {"a": "x"})


def test_the_majority_is_counted_by_whole_sets() -> None:
    said = pl.DataFrame(
        {
            "text_hash": ["h"] * 3,
            "text": ["x"] * 3,
            "label": ["food|travel", "food", "food|travel"],
            "annotator": ["a", "b", "c"],
            "annotated_at": [None] * 3,
        }
    )
    assert resolve(said).labels["label"].to_list() == ["food|travel"]


def test_a_queue_that_is_filled_in_and_put_into_the_folder_is_read_as_sets(tmp_path: Path) -> None:
    rows = (
        examples(3, 1)
        .select("text_hash", "text")
        .with_columns(text_hash=hash_texts(examples(3, 1)["text"]), label=pl.Series(["travel|food", "none", ""]))
    )
    path = tmp_path / "data" / "labelled" / "queue.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(label_csv(rows))
    raw = read_batches(tmp_path, _DATA).examples
    assert raw["label"].to_list() == ["travel|food", "none", None]
    assert clean(raw, _DATA).examples["label"].to_list() == ["food|travel", EMPTY]
