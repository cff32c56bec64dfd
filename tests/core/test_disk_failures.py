"""A full or failing disk is told in words; other errors of the system are left to those who know what they mean."""

import errno
import os
import sqlite3

import pytest
import sqlalchemy

from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import ConfigError, StorageError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_names_the_file_and_what_to_do(code: int) -> None:
    with pytest.raises(StorageError) as caught, disk_failures_explained():
        raise OSError(code, os.strerror(code), "/data/splits")
    assert "/data/splits" in caught.value.what
    assert os.strerror(code) in caught.value.what
    assert "make room, or look at the permissions" in caught.value.fix


def test_an_error_without_a_file_is_told_too() -> None:
    with pytest.raises(StorageError, match="a file cannot be written"), disk_failures_explained():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), ConnectionRefusedError(111, "no")])
def test_other_errors_pass(error: OSError) -> None:
    with pytest.raises(type(error)), disk_failures_explained():
        raise error


def _fill(engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("PRAGMA max_page_count = 2"))
        connection.execute(sqlalchemy.text("CREATE TABLE runs (name TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO runs VALUES (:name)"), {"name": "x" * 100_000})


def test_a_database_that_the_disk_has_no_room_for_is_told_through_the_errors_around_it() -> None:
    with (
        pytest.raises(StorageError, match="a database of Dagster or MLflow cannot be written or read: No space left"),
        disk_failures_explained(),
    ):
        _fill(sqlalchemy.create_engine("sqlite://"))
    with pytest.raises(StorageError, match="a database"), disk_failures_explained():
        _fill_and_say_so()


def _fill_and_say_so() -> None:
    try:
        _fill(sqlalchemy.create_engine("sqlite://"))
    except sqlalchemy.exc.OperationalError as error:
        message = "MLflow's own words"
        raise RuntimeError(message) from error


def test_other_errors_of_a_database_pass() -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), disk_failures_explained():
        sqlite3.connect(":memory:").execute("SELECT * FROM runs")


def test_an_error_that_says_what_to_do_already_stays() -> None:
    with pytest.raises(ConfigError), disk_failures_explained():
        raise ConfigError("no such key", fix="leave it out")
