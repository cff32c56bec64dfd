"""The predictions frame of sets of labels: told from others by itself, and matched with the test rows."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.adapter_documents import AdapterLabels, AdapterLabelSets, read_labels
from ftzard.core.answer_predictions import answers_with_labels, task_of_predictions
from ftzard.core.confidences import confidences
from ftzard.core.drift import confidence_drift
from ftzard.core.frame_schemas import check_value
from ftzard.core.label_sets import EMPTY
from ftzard.core.objectives import check_objective, objective_of
from ftzard.core.predictions import labels_of_predictions, prediction_schema, predictions_frame, probability_matrix
from ftzard.core.set_predictions import matched_sets, set_predictions_frame, sigmoid, thresholds_of
from ftzard.errors import (
    AdapterMismatchError,
    InvalidPredictionsError,
    PredictionsMismatchError,
    SchemaViolationError,
)

LABELS = ("b", "a", "c")


def _frame(*true: str, thresholds: tuple[float, ...] = (0.5, 0.5, 0.5)) -> pl.DataFrame:
    logits = np.array([[2.0, 0.0, -1.0], [-3.0, -3.0, -3.0], [1.0, 1.0, 1.0]])[: len(true)]
    return set_predictions_frame([f"{row:032}" for row in range(len(true))], true, logits, LABELS, thresholds)


def test_each_probability_is_the_sigmoid_of_its_own_logit_and_a_label_is_given_from_its_threshold_on() -> None:
    frame = _frame("a|b", EMPTY, "c")
    assert frame.schema == prediction_schema(LABELS, sets=True)
    assert probability_matrix(frame)[0] == pytest.approx(1 / (1 + np.exp([-2.0, 0.0, 1.0])))
    assert frame["predicted_label"].to_list() == ["a|b", EMPTY, "a|b|c"]
    assert _frame("a|b", thresholds=(0.9, 0.6, 0.2))["predicted_label"].to_list() == ["c"]


def test_the_frame_tells_by_itself_what_it_holds(tmp_path: Path) -> None:
    frame = _frame("a|b", EMPTY, thresholds=(0.1, 0.2, 0.3))
    frame.write_parquet(tmp_path / "p.parquet")
    stored = pl.read_parquet(tmp_path / "p.parquet")
    assert task_of_predictions(stored) == "multi_label"
    assert answers_with_labels(stored)
    assert labels_of_predictions(stored) == LABELS
    assert thresholds_of(stored).tolist() == [0.1, 0.2, 0.3]
    check_value("predictions", stored)
    single = predictions_frame(["h"], ["a"], np.zeros((1, 3)), LABELS)
    assert task_of_predictions(single) == "classification"
    with pytest.raises(InvalidPredictionsError, match="no thresholds"):
        thresholds_of(single)


def test_a_set_with_a_label_that_there_is_not_breaks_the_schema() -> None:
    frame = _frame("a|b", EMPTY)
    for wrong in ("d", "a|d", "a|", "", "[]|a"):
        with pytest.raises(SchemaViolationError, match="predicted_label"):
            check_value("predictions", frame.with_columns(predicted_label=pl.lit(wrong)))


def test_predictions_are_matched_with_the_test_rows_as_sets() -> None:
    frame = _frame("a|b", EMPTY, "c")
    test = frame.select("text_hash", "label")
    assert matched_sets(frame.reverse(), test)["label"].to_list() == ["a|b", EMPTY, "c"]
    with pytest.raises(PredictionsMismatchError, match="another label"):
        matched_sets(frame, test.with_columns(label=pl.lit("a")))
    unknown = frame.with_columns(label=pl.lit("a|d"))
    with pytest.raises(PredictionsMismatchError, match=r"label holds \['d'\]"):
        matched_sets(unknown, unknown.select("text_hash", "label"))
    with pytest.raises(InvalidPredictionsError, match=r"predicted_label holds \['d'\]"):
        matched_sets(frame.with_columns(predicted_label=pl.lit("d")), test)


def test_logits_that_are_not_finite_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidPredictionsError, match="not finite"):
        set_predictions_frame(["h"], ["a"], np.array([[0.0, np.nan, 1.0]]), LABELS, (0.5,) * 3)
    with pytest.raises(ValueError, match="as many thresholds"):
        set_predictions_frame(["h"], ["a"], np.zeros((1, 3)), LABELS, (0.5,))


def test_a_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]


def test_confidence_is_the_probability_of_the_predicted_set() -> None:
    frame = _frame("a|b", EMPTY, thresholds=(0.9, 0.4, 0.9))
    b, a, c = probability_matrix(frame)[0]
    assert confidences(frame)[0] == pytest.approx((1 - b) * a * (1 - c))
    drift = confidence_drift(frame, frame.with_columns(champion_version=pl.lit("1")))
    assert drift is not None
    assert drift.value == 0


def test_an_adapter_says_whether_it_gives_sets_and_with_which_thresholds(tmp_path: Path) -> None:
    one = AdapterLabels(LABELS, LABELS, "{text}", 64, "random")
    several = objective_of(FtzardConfig(data=DataConfig(task="multi_label"))).described(one, (0.1, 0.2, 0.3))
    assert isinstance(several, AdapterLabelSets)
    for number, labels in enumerate((one, several)):
        folder = tmp_path / str(number)
        folder.mkdir()
        fields = {name: getattr(labels, name) for name in labels.__dataclass_fields__}
        (folder / "labels.json").write_text(json.dumps(fields), encoding="utf-8")
        assert read_labels(folder) == labels


@pytest.mark.parametrize("task", ["classification", "multi_label"])
def test_an_adapter_of_the_other_kind_is_refused_by_the_name_of_its_task(task: str) -> None:
    one = AdapterLabels(LABELS, LABELS, "{text}", 64, "random")
    other = {"classification": "multi_label", "multi_label": "classification"}[task]
    own, others = (FtzardConfig(data=DataConfig(task=name)) for name in (task, other))  # type: ignore[arg-type]
    labels = objective_of(own).described(one, ())
    check_objective(labels, own)
    with pytest.raises(AdapterMismatchError, match=rf"trained for data\.task={task}, and data\.task={other}"):
        check_objective(labels, others)
