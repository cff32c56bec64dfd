"""What crosses an asset edge is what it should be, and what is not is named: asset, column, rule and row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from tests.core.model_scenario import LABELS, examples
from tests.core.test_label_queue import queue_of
from upath import UPath

from ftzard.config import FtzardConfig
from ftzard.core.answer_predictions import answer_schema, incoming_schema
from ftzard.core.frame_schemas import check_value, describe_columns, frames_of
from ftzard.core.predictions import predictions_frame
from ftzard.core.quarantine import BadRow, unreadable_frame
from ftzard.core.records import EXAMPLE_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA, Cleaned, Raw, Splits
from ftzard.errors import InvalidPredictionsError, SchemaViolationError
from ftzard.io_managers.committing import CommittingIOManager
from ftzard.io_managers.label_queue import LabelQueueIOManager
from ftzard.io_managers.parquet import FrameIOManager, RecordIOManager
from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.dvc import DvcResource
from ftzard.resources.mlflow import MlflowResource

_EXAMPLES = examples(4, 0)
_RAW = _EXAMPLES.select(RAW_SCHEMA.names())
_BAD = unreadable_frame([BadRow(3, "not_json", None, "{", "not JSON", "")], "a.jsonl")
_REJECTED = REJECTED_SCHEMA.to_frame()
_PREDICTIONS = predictions_frame(
    _EXAMPLES["text_hash"].to_list(), _EXAMPLES["label"].to_list(), np.zeros((4, 2)), LABELS
)
_SERVED = _PREDICTIONS.with_columns(label=pl.lit(None, pl.String), champion_version=pl.lit("3"))


def _answers(schema: pl.Schema, **columns: Any) -> pl.DataFrame:
    """Predictions of a model that writes: two tokens each."""
    values = {
        name: pl.lit([-0.5, -0.25], dtype=dtype) if isinstance(dtype, pl.List) else pl.lit("said", pl.String)
        for name, dtype in schema.items()
    }
    return _EXAMPLES.select("text_hash").with_columns(**{**values, **columns, "text_hash": "text_hash"}).select(*schema)


_GOOD: list[tuple[str, object]] = [
    ("raw_data", Raw(_RAW, _BAD)),
    ("raw_data", Raw(_RAW.with_columns(text=None, label=None).cast(RAW_SCHEMA), _BAD)),
    ("raw_data", Raw(_RAW.with_columns(group=pl.lit("ann")))),
    ("cleaned", Cleaned(_EXAMPLES, _REJECTED)),
    ("splits", Splits(_EXAMPLES[:2], _EXAMPLES[:0], _EXAMPLES[2:])),
    ("incoming", _EXAMPLES.with_columns(label=pl.lit(None, pl.String))),
    ("predictions", _PREDICTIONS),
    ("incoming_predictions", _SERVED),
    ("predictions", _answers(answer_schema("generation"))),
    ("predictions", _answers(answer_schema("preference", untrained=False))),
    (
        "incoming_predictions",
        _answers(incoming_schema(), label=pl.lit(None, pl.String)).with_columns(champion_version=pl.lit("3")),
    ),
    ("label_queue", queue_of()),
    ("somebodys_own", pl.DataFrame({"anything": [1]})),
    ("champion", object()),
]


@pytest.mark.parametrize(("asset", "value"), _GOOD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_an_asset_holds_passes(asset: str, value: object) -> None:
    check_value(asset, value)


def _first(**columns: Any) -> pl.DataFrame:
    """The examples with other values in the first row."""
    return pl.concat([_EXAMPLES[:1].with_columns(**columns).cast(EXAMPLE_SCHEMA), _EXAMPLES[1:]])


_QUEUE = queue_of()
_FROM_ZERO = replace(_QUEUE, rows=_QUEUE.rows.with_columns(position=pl.col("position") - 1))
_ZERO = _first(row=0).select(RAW_SCHEMA.names())
_UNLABELLED = _first(label=None)
_NO_CODE = _BAD.with_columns(reason=pl.lit("Not a code"))
_NEITHER = _PREDICTIONS.with_columns(predicted_label=pl.lit("neither"))
_BROKEN: list[tuple[str, object, tuple[str, ...]]] = [
    ("raw_data", Raw(_ZERO), ("raw_data.examples", "'row'", "'min'", "1 row(s)", "row 0: 0")),
    ("raw_data", Raw(_RAW, _NO_CODE), ("raw_data.quarantined", "'reason'", "'Not a code'")),
    ("raw_data", Raw(_RAW.drop("label")), ("raw_data.examples has no column 'label'",)),
    ("raw_data", Raw(_RAW.cast({"row": pl.Int32})), ("the column 'row' of raw_data.examples is Int32, not Int64",)),
    ("cleaned", Cleaned(_UNLABELLED, _REJECTED), ("cleaned.examples", "'label'", "'nullability'", "of 4 row(s)")),
    ("cleaned", Cleaned(_first(text_hash=pl.lit("x")), _REJECTED), ("'text_hash'", "'regex'", "text_hash 'x'")),
    ("cleaned", Cleaned(_EXAMPLES.with_columns(extra=1), _REJECTED), ("the unexpected column 'extra'",)),
    ("splits", Splits(_EXAMPLES, _first(text=None), _EXAMPLES), ("splits.validation", "'text'", "'nullability'")),
    ("predictions", _NEITHER, ("'predicted_label'", "4 row(s)", "'neither'")),
    (
        "predictions",
        _PREDICTIONS.with_columns(probabilities=pl.struct(*(pl.lit(1.5).alias(label) for label in LABELS))),
        ("'probabilities'", "max", "1.5"),
    ),
    (
        "predictions",
        _PREDICTIONS.with_columns(logits=pl.struct(*(pl.lit(float("nan")).alias(label) for label in LABELS))),
        ("'logits'", "nan"),
    ),
    ("incoming_predictions", _SERVED.with_columns(champion_version=pl.lit(None, pl.String)), ("'champion_version'",)),
    (
        "predictions",
        _answers(answer_schema("generation"), token_log_probabilities=pl.lit([0.5], dtype=pl.List(pl.Float64))),
        ("'token_log_probabilities'", "max", "[0.5]"),
    ),
    ("label_queue", _FROM_ZERO, ("label_queue.rows", "'position'")),
    (
        "label_queue",
        replace(_QUEUE, sidecar=_QUEUE.sidecar.with_columns(confidence=pl.lit(2.0))),
        ("label_queue.sidecar", "'confidence'", "2.0"),
    ),
]


@pytest.mark.parametrize(("asset", "value", "told"), _BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_it_does_not_hold_is_named(asset: str, value: object, told: tuple[str, ...]) -> None:
    with pytest.raises(SchemaViolationError) as caught:
        check_value(asset, value)
    assert [part for part in told if part not in caught.value.what] == [], caught.value.what
    assert f"`{asset}`" in caught.value.fix


def test_predictions_with_other_columns_are_none() -> None:
    with pytest.raises(InvalidPredictionsError):
        check_value("predictions", _PREDICTIONS.drop("logits"))


@pytest.mark.parametrize(
    ("manager", "asset", "good", "broken"),
    [
        (FrameIOManager, "predictions", _PREDICTIONS, _NEITHER),
        (RecordIOManager, "cleaned", Cleaned(_EXAMPLES, _REJECTED), Cleaned(_first(row=0), _REJECTED)),
        (LabelQueueIOManager, "label_queue", _QUEUE, _FROM_ZERO),
    ],
)
def test_it_is_checked_when_it_is_stored_and_when_it_is_read(
    tmp_path: Path, manager: type[CommittingIOManager], asset: str, good: object, broken: Any
) -> None:
    configuration = ConfigurationResource.of(FtzardConfig(), tmp_path)
    resources = MlflowResource(configuration=configuration), DvcResource(configuration=configuration)
    io_manager, path = manager(lambda: UPath(tmp_path), *resources), tmp_path / asset
    output, key = dg.build_output_context(asset_key=["team", asset]), dg.AssetKey(["team", asset])
    io_manager.dump_to_path(output, good, UPath(path))
    with pytest.raises(SchemaViolationError, match=asset):
        io_manager.dump_to_path(output, broken, UPath(path))
    assert type(io_manager.load_from_path(dg.build_input_context(asset_key=key), UPath(path))) is type(good)
    io_manager.dump_to_path(dg.build_output_context(), broken, UPath(path))
    with pytest.raises(SchemaViolationError, match=asset):
        io_manager.load_from_path(dg.build_input_context(asset_key=key), UPath(path))


def test_each_column_is_described_with_its_rules() -> None:
    for asset, value in _GOOD:
        for part, frame in frames_of(value).items():
            told = describe_columns(asset, part, frame)
            assert list(told) == ([] if asset == "somebodys_own" else frame.columns)
            assert all(column.description for column in told.values())
    found = describe_columns("predictions", "", _PREDICTIONS)
    assert found["probabilities"].rules == ("each at least 0", "each at most 1")
    assert not found["text_hash"].is_nullable
    assert describe_columns("raw_data", "examples", _RAW)["row"].rules == ("at least 1",)
    assert describe_columns("raw_data", "examples", _RAW)["text"].is_nullable


def test_a_queue_that_was_stored_before_it_said_what_it_was_drawn_from_is_still_one() -> None:
    check_value("label_queue", replace(_QUEUE, sidecar=_QUEUE.sidecar.drop("num_drawn_from")))
