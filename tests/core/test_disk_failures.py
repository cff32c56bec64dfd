"""A full or failing disk is told in words; other errors of the system are left to those who know what they mean."""

import errno
import os

import pytest

from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import StorageError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_the_disk_refuses_names_the_file_and_what_to_do(code: int) -> None:
    with pytest.raises(StorageError) as caught, disk_failures_explained():
        raise OSError(code, os.strerror(code), "/data/splits")
    assert "/data/splits" in caught.value.what
    assert os.strerror(code) in caught.value.what
    assert "make room" in caught.value.fix


def test_an_error_without_a_file_is_told_too() -> None:
    with pytest.raises(StorageError, match="a file cannot be written"), disk_failures_explained():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), ConnectionRefusedError(111, "no")])
def test_other_errors_pass(error: OSError) -> None:
    with pytest.raises(type(error)), disk_failures_explained():
        raise error
