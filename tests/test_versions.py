"""Content versions: they follow the content and nothing else."""

import tracemalloc
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.core.model_scenario import examples
from tests.project_scenario import load_asset

from ftzard.assets.evaluation import predictions
from ftzard.assets.step import Step
from ftzard.composition import compose, to_dict
from ftzard.config import DataConfig, decisive
from ftzard.core.quarantine import BadRow, unreadable_frame
from ftzard.core.records import RAW_SCHEMA, REJECTED_SCHEMA, AdapterDirectory, Cleaned, Raw, Splits
from ftzard.core.versions import batches_version, content_version, fingerprint
from ftzard.errors import NoBatchesError

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_ROWS = st.lists(st.tuples(st.none() | _TEXT, st.none() | _TEXT, _TEXT, st.integers(1, 2**40)), max_size=6)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_CONFIG = DataConfig()
_Rows = list[tuple[str | None, str | None, str, int]]


def _frame(rows: _Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")


@given(_ROWS)
def test_equal_frames_have_equal_versions_however_they_came_about(rows: _Rows) -> None:
    whole = _frame(rows)
    in_parts = pl.concat([_frame(rows[:2]), _frame(rows[2:])], rechunk=False)
    assert content_version(whole) == content_version(in_parts) == content_version(whole.lazy().collect())


@given(_ROWS, _ROWS)
def test_different_frames_have_different_versions(one: _Rows, other: _Rows) -> None:
    assume(one != other)
    assert content_version(_frame(one)) != content_version(_frame(other))


@given(_ROWS)
def test_a_frame_read_back_from_parquet_has_the_version_of_the_one_written(
    tmp_path_factory: pytest.TempPathFactory, rows: _Rows
) -> None:
    path, frame = tmp_path_factory.mktemp("frames") / "frame.parquet", _frame(rows)
    frame.write_parquet(path, compression="gzip")
    assert content_version(pl.read_parquet(path)) == content_version(frame)


def test_the_version_of_a_record_needs_the_memory_of_a_few_of_its_rows_at_a_time() -> None:
    frame = _frame([("a" * 100, "b", "c", 1)]).select(pl.all().repeat_by(200_000).explode())
    size = len(frame.write_ndjson())
    value = Cleaned(frame, REJECTED_SCHEMA.to_frame())
    tracemalloc.start()
    try:
        content_version(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2


def test_a_version_is_64_hexadecimal_digits() -> None:
    version = content_version(examples(3, 0))
    assert len(version) == 64
    assert int(version, 16) >= 0


def test_type_name_and_order_of_columns_and_order_of_rows_are_content() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [1, 2]})
    variants = [
        frame,
        frame.cast({"a": pl.Int32}),
        frame.rename({"a": "c"}),
        frame.select("b", "a").rename({"b": "a", "a": "b"}).select("b", "a"),
        frame.reverse(),
        frame.head(0),
    ]
    assert len({content_version(variant) for variant in variants}) == len(variants)


def test_null_and_empty_text_are_different() -> None:
    null, empty = (pl.DataFrame({"text": [text]}, schema={"text": pl.String}) for text in (None, ""))
    assert content_version(null) != content_version(empty)


def test_a_record_is_the_sum_of_its_frames_and_their_names() -> None:
    frame, none = examples(6, 0), examples(6, 0).head(0)
    variants = [Splits(frame, none, none), Splits(none, frame, none), Splits(frame[:3], frame[3:], none)]
    assert len({content_version(variant) for variant in variants}) == len(variants)
    assert content_version(Splits(frame, none, none)) == content_version(Splits(frame.clone(), none, none))
    rejected = REJECTED_SCHEMA.to_frame()
    assert content_version(Cleaned(frame, rejected)) != content_version(Cleaned(frame[:5], rejected))


def test_raw_data_has_the_version_that_its_examples_alone_had_until_a_row_is_set_aside() -> None:
    frame = examples(6, 0)
    assert content_version(Raw(frame)) == content_version(frame)
    aside = unreadable_frame([BadRow(3, "not_json", None, "{", "not JSON", "")], "a.jsonl")
    assert content_version(Raw(frame, aside)) not in {content_version(frame), content_version(Raw(frame, aside[:0]))}


def test_an_adapter_is_known_by_its_checksum_and_not_by_its_place() -> None:
    assert content_version(AdapterDirectory(Path("here"), "c" * 64)) == "c" * 64
    assert content_version(AdapterDirectory(Path("there"), "c" * 64)) == "c" * 64


def test_a_report_is_known_by_its_numbers(materialized_project: Path) -> None:
    report = load_asset(materialized_project, "metrics")
    again = type(report).from_dict(report.to_dict())
    assert content_version(again) == content_version(report)
    changed = type(report).from_dict({**report.to_dict(), "num_train": report.num_train + 1})
    assert content_version(changed) != content_version(report)


@given(st.dictionaries(_TEXT, _JSON, max_size=5))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(document: dict[str, object]) -> None:
    assert fingerprint(dict(reversed(document.items()))) == fingerprint(document)


@given(_JSON, _JSON)
def test_different_documents_have_different_fingerprints(one: object, other: object) -> None:
    # To Python True is 1; in JSON they are two values.
    assume(repr(one) != repr(other) and one != other)
    assert fingerprint(one) != fingerprint(other)


def test_batches_are_known_by_their_names_and_bytes(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("text,label\nx,y\n")
    versions = [batches_version(tmp_path, _CONFIG)]
    (raw / "a.csv").touch()
    (raw / "notes.txt").write_text("no batch")
    assert batches_version(tmp_path, _CONFIG) == versions[0]
    (raw / "b.csv").write_text("text,label\nx,y\n")
    versions.append(batches_version(tmp_path, _CONFIG))
    (raw / "b.csv").rename(raw / "c.csv")
    versions.append(batches_version(tmp_path, _CONFIG))
    (raw / "c.csv").write_text("text,label\nx,z\n")
    versions.append(batches_version(tmp_path, _CONFIG))
    assert len(set(versions)) == len(versions)


def test_a_project_without_batches_has_no_version(tmp_path: Path) -> None:
    with pytest.raises(NoBatchesError, match="data/raw"):
        batches_version(tmp_path, _CONFIG)


@pytest.mark.parametrize("task", ["classification", "multi_label", "generation", "preference"])
def test_younger_keys_of_one_task_are_in_the_fingerprints_of_no_other(task: str) -> None:
    config = compose([f"data.task={task}"])
    values = to_dict(config)
    unused = {"data": {"context_column", "label_columns"}}
    younger = {
        "data": ({"label_separator", "no_label"}, "multi_label"),
        "training": ({"label_thresholds"}, "multi_label"),
        "evaluation": ({"preference_metric"}, "preference"),
    }
    for section, (keys, its_task) in younger.items():
        kept = decisive(section, values[section], task)
        assert values[section].keys() - kept.keys() == (set() if task == its_task else keys) | unused.get(
            section, set()
        )
    assert "target_parameters" not in decisive("training", values["training"], task)["lora"]
    of_before = {name: decisive(name, values[name], task) for name in ("data", "model", "training")}
    document = {"code_version": predictions.code_version, "config": of_before, "inputs": {}, "outside": ""}
    assert predictions.fingerprint(Step(config, Path()), {}) == fingerprint(document)


def test_a_young_key_that_is_used_is_in_the_fingerprint() -> None:
    values = to_dict(
        compose(["data.task=generation", "data.context_column=input", "training.lora.target_parameters=[x]"])
    )
    assert decisive("data", values["data"], "generation")["context_column"] == "input"
    assert decisive("training", values["training"], "generation")["lora"]["target_parameters"] == ["x"]
