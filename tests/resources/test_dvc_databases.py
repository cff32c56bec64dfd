"""DVC's databases on a disk that fails: an error, and no endless wait."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import diskcache  # type: ignore[import-untyped]  # diskcache ships no types

from ftzard.resources.dvc_databases import failing_with_the_disk

_ON_A_FULL_DISK = """
import resource, signal, sys
import diskcache
from ftzard.resources.dvc_databases import failing_with_the_disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with failing_with_the_disk(), diskcache.Cache(sys.argv[1]) as cache:
    cache["before"] = 1
    cache.close()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        cache["after"] = 1
    except OSError as error:
        print("told:", error)
"""


def test_a_full_disk_is_told_where_diskcache_would_try_again_for_ever(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("told: "), done.stderr
    assert str(tmp_path) in done.stdout


def test_somebody_elses_lock_is_waited_for(tmp_path: Path) -> None:
    with failing_with_the_disk(), diskcache.Cache(str(tmp_path), timeout=0.05) as cache:
        cache["before"] = 1
        theirs = sqlite3.connect(tmp_path / "cache.db", isolation_level=None, check_same_thread=False)
        theirs.execute("BEGIN IMMEDIATE")
        free = threading.Timer(0.5, lambda: theirs.execute("ROLLBACK"))
        free.start()
        cache["after"] = 2
        assert cache["after"] == 2
        free.join()
        theirs.close()


def test_afterwards_diskcache_is_as_it_was() -> None:
    before = diskcache.Cache._sql
    with contextlib.suppress(RuntimeError), failing_with_the_disk():
        assert diskcache.Cache._sql is not before
        raise RuntimeError
    assert diskcache.Cache._sql is before
