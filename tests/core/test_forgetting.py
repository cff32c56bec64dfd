"""What an adapter has seen of labels that were taken out, and the record that is kept of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.forgetting import Forgetting, ForgottenLabels, forgettings_version, read_forgettings
from ftzard.errors import StorageError

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_ADAPTER = RegisteredAdapter("toy", "1", "c", _NOON, "run", "test")
_HOUR = timedelta(hours=1)


def _forgetting(at: datetime, *text_hashes: str) -> Forgetting:
    return Forgetting(at, "annotator", "anna", len(text_hashes), text_hashes, "Ada", "she guessed")


def _num_seen(forgetting: Forgetting, *, labelled: str, seen: str) -> int:
    forgotten = ForgottenLabels((forgetting,), pl.Series(list(labelled), dtype=pl.String))
    return forgotten.num_seen_by(_ADAPTER, pl.Series(list(seen), dtype=pl.String))


def test_what_was_taken_out_after_the_training_counts_also_where_the_text_has_another_label_now() -> None:
    assert _num_seen(_forgetting(_NOON + _HOUR, "a", "b", "c"), labelled="bxy", seen="abx") == 2


def test_what_was_taken_out_before_counts_only_while_the_text_has_no_label() -> None:
    assert _num_seen(_forgetting(_NOON - _HOUR, "a", "b", "c"), labelled="bxy", seen="abx") == 1


def test_what_it_was_not_trained_on_does_not_count() -> None:
    assert _num_seen(_forgetting(_NOON + _HOUR, "a"), labelled="x", seen="x") == 0
    assert ForgottenLabels((), pl.Series(["x"])).num_seen_by(_ADAPTER, pl.Series(["x", "y"])) == 0


def test_what_was_taken_out_twice_counts_once() -> None:
    twice = (_forgetting(_NOON + _HOUR, "a"), _forgetting(_NOON + 2 * _HOUR, "a", "b"))
    assert ForgottenLabels(twice, pl.Series(["x"])).num_seen_by(_ADAPTER, pl.Series(["a", "x"])) == 1


def test_records_are_read_in_the_order_of_time_and_have_a_version(tmp_path: Path) -> None:
    records = [_forgetting(_NOON + hours * _HOUR, "a") for hours in (3, 1)]
    for record in records:
        (tmp_path / record.file_name).write_text(record.to_json(), encoding="utf-8")
    assert read_forgettings(tmp_path) == tuple(records[::-1])
    assert forgettings_version(records) != forgettings_version(records[:1])
    assert (read_forgettings(tmp_path / "none"), forgettings_version(())) == ((), "")
    assert "Ada took out 1 label(s) of the annotator anna: she guessed" in records[0].sentence


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "20260101T000000.000000Z.json").write_text('{"at": 1}')
    with pytest.raises(StorageError, match=r"20260101T000000\.000000Z\.json"):
        read_forgettings(tmp_path)
