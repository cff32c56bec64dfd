"""The frozen test split as a file: what is written is read, and nothing else is."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import VersioningConfig
from ftzard.core.cleaning import hash_texts
from ftzard.core.frozen_test import FROZEN_SCHEMA, FrozenTest, frozen_path, read_frozen, write_frozen
from ftzard.errors import StorageError

_AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def rows_of(*texts: str) -> pl.DataFrame:
    return pl.DataFrame(hash_texts(pl.Series("text", texts, dtype=pl.String))).with_columns(text=pl.Series(texts))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
def test_what_is_written_is_read_whatever_the_texts(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("frozen") / "sub" / "frozen.json"
    first = FrozenTest.first(rows_of(*texts))
    write_frozen(path, first.again(rows_of(*texts, "one more"), why="more", by="anna", at=_AT))
    found = read_frozen(path)
    assert found is not None
    assert found.freezes[0] == first.current
    assert (found.current.why, found.current.by, found.current.at) == ("more", "anna", _AT)
    assert found.rows.schema == FROZEN_SCHEMA
    assert set(found.rows["text"]) == {*texts, "one more"}
    assert found.current.num_rows == found.rows.height


def test_nothing_is_frozen_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_frozen(frozen_path(tmp_path, VersioningConfig())) is None


def test_one_that_lies_below_a_prefix_is_not_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "team" / "sentiment" / "frozen.json"
    old.parent.mkdir(parents=True)
    old.touch()
    with pytest.raises(StorageError, match=r"expected at .*, and lies at .*team/sentiment/frozen.json"):
        read_frozen(tmp_path / "frozen.json")


def test_the_fingerprint_is_that_of_the_texts_in_any_order() -> None:
    first = FrozenTest.first(rows_of("a", "b"))
    assert FrozenTest.first(rows_of("b", "a")).to_json() == first.to_json()
    assert FrozenTest.first(rows_of("a", "c")).current.fingerprint != first.current.fingerprint


def test_only_a_refreeze_makes_what_reads_it_stale() -> None:
    first = FrozenTest.first(rows_of("a"))
    assert first.refreeze_version == FrozenTest.first(rows_of("b")).refreeze_version == ""
    assert first.again(rows_of("a", "b"), why="more", by="anna", at=_AT).refreeze_version


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"a"', '"A"'),
        lambda text: json.dumps({**json.loads(text), "rows": json.loads(text)["rows"][1:]}),
        lambda text: json.dumps({**json.loads(text), "freezes": []}),
        lambda _: "[]",
    ],
)
def test_a_file_that_was_edited_or_damaged_is_an_error_and_not_another_test_split(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    path = tmp_path / "frozen.json"
    write_frozen(path, FrozenTest.first(rows_of("a", "b")))
    path.write_text(damage(path.read_text()))
    with pytest.raises(StorageError, match="holds no frozen test split") as caught:
        read_frozen(path)
    assert "dvc checkout" in caught.value.fix
