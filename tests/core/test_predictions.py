"""The predictions frame explains itself and takes nothing that is no prediction."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.predictions import labels_of_predictions, prediction_schema, predictions_frame, probability_matrix
from ftzard.errors import InvalidPredictionsError


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=0, max_size=20))
def test_probabilities_are_the_softmax_of_the_logits_and_the_largest_is_predicted(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    labels = ("b", "a", "c")
    frame = predictions_frame([str(row) for row in range(len(rows))], ["a"] * len(rows), logits, labels)
    probabilities = probability_matrix(frame)

    assert frame.schema == prediction_schema(labels)
    assert labels_of_predictions(frame) == labels
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    assert frame["predicted_label"].to_list() == [labels[index] for index in logits.argmax(axis=1)]
    for row, scores in zip(probabilities, logits, strict=True):
        assert row == pytest.approx(np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum())
    assert [list(entry.values()) for entry in frame["logits"].to_list()] == logits.tolist()


def test_logits_of_a_smaller_type_are_kept_as_float64() -> None:
    frame = predictions_frame(["h"], ["x"], np.array([[1.5, -2.0]], dtype=np.float32), ("x", "y"))

    assert frame["logits"].to_list() == [{"x": 1.5, "y": -2.0}]


def test_the_frame_survives_a_file_with_its_label_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    frame = predictions_frame(["h", "g"], ["z", "a"], np.array([[0.0, 1.0], [3.0, 2.0]]), ("z", "a"))
    frame.write_parquet(file)

    assert pl.read_parquet(file).equals(frame)
    assert labels_of_predictions(pl.read_parquet(file)) == ("z", "a")


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_an_error_that_names_the_row(broken: float) -> None:
    with pytest.raises(InvalidPredictionsError, match=r"1 of 2 example.*'second'"):
        predictions_frame(["first", "second"], ["x", "y"], np.array([[0.0, 1.0], [0.0, broken]]), ("x", "y"))


def test_shapes_that_do_not_fit_together_are_an_error() -> None:
    for hashes, true, width in ((["h"], ["x"], 3), (["h", "g"], ["x"], 2), (["h"], ["x", "y"], 2)):
        with pytest.raises(ValueError, match="do not fit"):
            predictions_frame(hashes, true, np.zeros((1, width)), ("x", "y"))


def test_a_label_set_needs_two_different_labels() -> None:
    for labels in ((), ("x",), ("x", "x")):
        with pytest.raises(ValueError, match="at least two different"):
            prediction_schema(labels)


def test_a_frame_with_other_columns_is_not_taken_for_predictions() -> None:
    frame = predictions_frame(["h"], ["x"], np.zeros((1, 2)), ("x", "y"))
    for other in (frame.drop("logits"), frame.rename({"label": "truth"}), frame.drop("probabilities")):
        with pytest.raises(InvalidPredictionsError, match="schema"):
            labels_of_predictions(other)
