"""Values on disk: what is written is what is read, whole or not at all, and what is damaged is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.core.model_scenario import examples
from tests.project_scenario import file_bytes, load_asset
from upath import UPath

from ftzard.config import FtzardConfig
from ftzard.core.adapter import verify_adapter
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.frame_schemas import check_value, frames_of, schema_of
from ftzard.core.records import RAW_SCHEMA, REJECTED_SCHEMA, AdapterDirectory, Cleaned, Raw, Splits
from ftzard.errors import AdapterCorruptError, FtzardError, StorageError
from ftzard.io_managers.adapter import AdapterIOManager
from ftzard.io_managers.committing import CommittingIOManager, ManagerType
from ftzard.io_managers.document import ReportIOManager
from ftzard.io_managers.parquet import FrameIOManager, RecordIOManager
from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.dvc import DvcResource
from ftzard.resources.mlflow import MlflowResource

_FRAME = examples(6, 0)


def _manager(manager: ManagerType, folder: Path) -> CommittingIOManager:
    configuration = ConfigurationResource.of(FtzardConfig(), folder)
    resources = (MlflowResource(configuration=configuration), DvcResource(configuration=configuration))
    return manager(lambda: UPath(folder), *resources)


def _dump(manager: CommittingIOManager, value: object, path: Path) -> None:
    manager.dump_to_path(dg.build_output_context(), value, UPath(path))


def _load(manager: CommittingIOManager, path: Path) -> Any:
    return manager.load_from_path(dg.build_input_context(), UPath(path))


def _adapter(materialized_project: Path, folder: Path) -> AdapterDirectory:
    """A copy, because storing an adapter moves it."""
    stored: AdapterDirectory = load_asset(materialized_project, "lora_adapter")
    return AdapterDirectory(shutil.copytree(stored.path, folder), stored.checksum)


@pytest.mark.parametrize(
    "frame",
    [_FRAME, RAW_SCHEMA.to_frame(), _FRAME.select(pl.struct("text", "row").alias("a"), pl.lit(None).alias("b"))],
)
def test_a_frame_is_read_as_it_was_written(tmp_path: Path, frame: pl.DataFrame) -> None:
    manager = _manager(FrameIOManager, tmp_path)
    _dump(manager, frame, tmp_path / "frame.parquet")
    assert_frame_equal(_load(manager, tmp_path / "frame.parquet"), frame, check_exact=True)


@pytest.mark.parametrize("name", ["raw_data", "cleaned", "splits", "predictions"])
def test_what_a_project_holds_has_a_schema_and_keeps_it(materialized_project: Path, name: str) -> None:
    value = load_asset(materialized_project, name)
    frames = frames_of(value)
    assert frames
    assert all(schema_of(name, part, frame) is not None for part, frame in frames.items())
    check_value(name, value)


def test_what_an_asset_was_stored_as_before_it_was_a_record_is_gone(tmp_path: Path) -> None:
    (tmp_path / "raw_data.parquet").write_bytes(b"as it was")
    _dump(_manager(RecordIOManager, tmp_path), Raw(_FRAME), tmp_path / "raw_data")
    assert [path.name for path in tmp_path.iterdir()] == ["raw_data"]


@pytest.mark.parametrize(
    "record", [Raw(_FRAME), Cleaned(_FRAME, REJECTED_SCHEMA.to_frame()), Splits(_FRAME[:3], _FRAME[3:3], _FRAME[4:])]
)
def test_a_record_is_read_as_the_kind_that_was_written(tmp_path: Path, record: Raw | Cleaned | Splits) -> None:
    manager = _manager(RecordIOManager, tmp_path)
    _dump(manager, record, tmp_path / "record")
    read = _load(manager, tmp_path / "record")
    assert type(read) is type(record)
    for name, frame in vars(record).items():
        assert_frame_equal(getattr(read, name), frame, check_exact=True)


def test_a_report_is_read_as_it_was_written_and_is_strict_json(materialized_project: Path, tmp_path: Path) -> None:
    manager, report = _manager(ReportIOManager, tmp_path), load_asset(materialized_project, "metrics")
    _dump(manager, report, tmp_path / "report.json")
    assert _load(manager, tmp_path / "report.json") == report
    assert json.loads((tmp_path / "report.json").read_text())["num_test"] == report.num_test


def test_an_adapter_is_moved_into_place_and_readable_by_others(materialized_project: Path, tmp_path: Path) -> None:
    manager, adapter = _manager(AdapterIOManager, tmp_path), _adapter(materialized_project, tmp_path / "scratch")
    content = file_bytes(adapter.path)
    _dump(manager, adapter, tmp_path / "adapter")
    assert _load(manager, tmp_path / "adapter") == AdapterDirectory(tmp_path / "adapter", adapter.checksum)
    assert file_bytes(tmp_path / "adapter") == content
    assert not adapter.path.exists()
    assert (materialized_project / "data/assets/lora_adapter").stat().st_mode & 0o555 == 0o555


def test_an_adapter_that_differs_in_provenance_alone_leaves_the_stored_one(
    materialized_project: Path, tmp_path: Path
) -> None:
    manager = _manager(AdapterIOManager, tmp_path)
    _dump(manager, _adapter(materialized_project, tmp_path / "first"), tmp_path / "adapter")
    content = file_bytes(tmp_path / "adapter")
    again = _adapter(materialized_project, tmp_path / "second")
    _edit_manifest(again.path, provenance={"data_commit": "f" * 40})
    _dump(manager, again, tmp_path / "adapter")
    assert file_bytes(tmp_path / "adapter") == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_an_adapter_of_another_training_replaces_the_stored_one(materialized_project: Path, tmp_path: Path) -> None:
    manager = _manager(AdapterIOManager, tmp_path)
    _dump(manager, _adapter(materialized_project, tmp_path / "first"), tmp_path / "adapter")
    other = _adapter(materialized_project, tmp_path / "second")
    _edit_manifest(other.path, seeds={"data": 1, "training": 1})
    _dump(manager, other, tmp_path / "adapter")
    assert read_manifest(tmp_path / "adapter").seeds == {"data": 1, "training": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_sound_adapter_replaces_a_damaged_one(materialized_project: Path, tmp_path: Path) -> None:
    manager = _manager(AdapterIOManager, tmp_path)
    _dump(manager, _adapter(materialized_project, tmp_path / "first"), tmp_path / "adapter")
    (tmp_path / "adapter" / "labels.json").write_text("{}")
    _dump(manager, _adapter(materialized_project, tmp_path / "second"), tmp_path / "adapter")
    verify_adapter(tmp_path / "adapter")


def test_a_damaged_adapter_is_not_stored_over_a_sound_one(materialized_project: Path, tmp_path: Path) -> None:
    manager = _manager(AdapterIOManager, tmp_path)
    _dump(manager, _adapter(materialized_project, tmp_path / "first"), tmp_path / "adapter")
    damaged = _adapter(materialized_project, tmp_path / "second")
    (damaged.path / "labels.json").write_text("{}")
    with pytest.raises(AdapterCorruptError, match=r"labels\.json"):
        _dump(manager, damaged, tmp_path / "adapter")
    verify_adapter(tmp_path / "adapter")


def _edit_manifest(path: Path, **fields: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields, indent=2, sort_keys=True), encoding="utf-8")


class _Interrupted(FrameIOManager):
    """Writes half of a file and then fails, as a full disk would."""

    def write(self, value: pl.DataFrame, path: Path) -> None:
        super().write(value, path)
        path.write_bytes(path.read_bytes()[:20])
        raise OSError(28, "No space left on device", str(path))


class _InterruptedRecord(RecordIOManager):
    def write(self, value: Raw | Cleaned | Splits, path: Path) -> None:
        super().write(value, path)
        (path / "rejected.parquet").unlink()
        raise OSError(28, "No space left on device", str(path))


def test_a_failing_write_leaves_the_old_frame(tmp_path: Path) -> None:
    path = tmp_path / "frame.parquet"
    _dump(_manager(FrameIOManager, tmp_path), _FRAME, path)
    with pytest.raises(StorageError, match="No space left") as caught:
        _dump(_manager(_Interrupted, tmp_path), _FRAME[:2], path)
    assert "free space" in caught.value.fix
    assert_frame_equal(_load(_manager(FrameIOManager, tmp_path), path), _FRAME)


def test_a_failing_write_leaves_the_old_record_and_the_next_write_succeeds(tmp_path: Path) -> None:
    old, new = (Cleaned(frame, REJECTED_SCHEMA.to_frame()) for frame in (_FRAME, _FRAME[:2]))
    path, manager = tmp_path / "record", _manager(RecordIOManager, tmp_path)
    _dump(manager, old, path)
    with pytest.raises(StorageError, match="No space left"):
        _dump(_manager(_InterruptedRecord, tmp_path), new, path)
    assert_frame_equal(_load(manager, path).examples, _FRAME)
    _dump(manager, new, path)
    assert_frame_equal(_load(manager, path).examples, _FRAME[:2])
    assert [entry.name for entry in tmp_path.iterdir()] == ["record"]


def test_a_value_that_cannot_be_written_leaves_the_old_report(materialized_project: Path, tmp_path: Path) -> None:
    manager, report = _manager(ReportIOManager, tmp_path), load_asset(materialized_project, "metrics")
    _dump(manager, report, tmp_path / "report.json")
    with pytest.raises(AttributeError):
        _dump(manager, "no report", tmp_path / "report.json")
    assert _load(manager, tmp_path / "report.json") == report


def test_a_reader_never_sees_a_half_written_frame(tmp_path: Path) -> None:
    path, seen = tmp_path / "frame.parquet", []

    class Watched(FrameIOManager):
        def write(self, value: pl.DataFrame, path: Path) -> None:
            super().write(value, path)
            seen.append(_load(_manager(FrameIOManager, tmp_path), tmp_path / "frame.parquet").height)

    _dump(_manager(FrameIOManager, tmp_path), _FRAME, path)
    _dump(_manager(Watched, tmp_path), _FRAME[:2], path)
    assert seen == [6]
    assert _load(_manager(FrameIOManager, tmp_path), path).height == 2


@pytest.mark.parametrize("manager", [FrameIOManager, RecordIOManager, AdapterIOManager, ReportIOManager])
def test_what_is_missing_is_an_error_that_says_how_to_get_it(tmp_path: Path, manager: ManagerType) -> None:
    with pytest.raises(StorageError, match="nothing-here") as caught:
        _load(_manager(manager, tmp_path), tmp_path / "nothing-here")
    assert "materialize" in caught.value.fix
    assert "dvc" in caught.value.fix


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("manager", "name", "file", "error"),
    [
        (FrameIOManager, "predictions.parquet", "", StorageError),
        (RecordIOManager, "raw_data", "examples.parquet", StorageError),
        (RecordIOManager, "cleaned", "examples.parquet", StorageError),
        (RecordIOManager, "splits", "test.parquet", StorageError),
        (AdapterIOManager, "lora_adapter", "adapter_model.safetensors", AdapterCorruptError),
        (AdapterIOManager, "lora_adapter", "manifest.json", AdapterCorruptError),
        (ReportIOManager, "metrics.json", "", StorageError),
    ],
)
def test_a_truncated_file_is_an_error_that_names_it_and_the_way_back(
    materialized_project: Path,
    tmp_path: Path,
    manager: ManagerType,
    name: str,
    file: str,
    error: type[FtzardError],
) -> None:
    stored = materialized_project / "data" / "assets" / name
    path = tmp_path / name
    shutil.copytree(stored, path) if stored.is_dir() else shutil.copy(stored, path)
    _truncate(path / file)
    with pytest.raises(error, match=file or name) as caught:
        _load(_manager(manager, tmp_path), path)
    assert "dvc checkout" in caught.value.fix


def test_a_record_that_lacks_a_frame_is_refused(tmp_path: Path) -> None:
    manager = _manager(RecordIOManager, tmp_path)
    _dump(manager, Splits(_FRAME, _FRAME, _FRAME), tmp_path / "splits")
    (tmp_path / "splits" / "test.parquet").unlink()
    with pytest.raises(StorageError, match="no record"):
        _load(manager, tmp_path / "splits")


def test_a_report_with_an_unknown_key_or_a_number_that_is_none_is_refused(
    materialized_project: Path, tmp_path: Path
) -> None:
    manager = _manager(ReportIOManager, tmp_path)
    content = load_asset(materialized_project, "metrics").to_dict()
    for spoilt in ({**content, "surprise": 1}, {**content, "num_test": float("nan")}):
        (tmp_path / "report.json").write_text(json.dumps(spoilt))
        with pytest.raises(StorageError, match="is no EvaluationReport"):
            _load(manager, tmp_path / "report.json")


def test_a_report_that_is_not_finite_is_never_written(materialized_project: Path) -> None:
    report = load_asset(materialized_project, "metrics")
    with pytest.raises(ValueError, match="finite"):
        replace(report, difference=replace(report.difference, value=float("nan")))
