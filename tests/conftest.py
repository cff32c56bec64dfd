"""What every test stands on: an environment of its own, and projects to work in."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage
from hypothesis import settings
from tests.tracking_server import TrackingServer

from ftzard.config import TrackingConfig
from ftzard.materialization import materialize
from ftzard.resources.project_repository import init_project_repository
from ftzard.resources.tracking import Tracking
from ftzard.testing import some_rows

# Processors are shared: an example that is slow once says nothing. The same examples each time, so that what passed
# passes again; `--hypothesis-profile=random` draws others.
settings.register_profile("ftzard", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("ftzard")

_FOREIGN = ("DAGSTER_", "DVC_", "FTZARD_", "GIT_", "HYDRA_", "MLFLOW_", "XDG_")
_ROOM_IN_MEMORY = 2**30


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the files, those with slow tests come first: the last to end has the others wait."""
    if hasattr(config, "workerinput"):
        with_slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in with_slow)


def _isolate(home: Path) -> None:
    """Neither the machine's configuration nor the person's settings have a say; and nothing is reported home."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ.pop("EMAIL", None)
    os.environ |= {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site-cache"),
        "DVC_NO_ANALYTICS": "1",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches what tests start, also where a script started the tests in its background.

    Such a process begins with SIGINT ignored, and so would all its children.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home folder without a git identity, and no variable that a library under test would read."""
    before = dict(os.environ)
    _isolate(tmp_path_factory.mktemp("home"))
    yield
    os.environ.clear()
    os.environ |= before


@pytest.fixture(autouse=True)
def restored_environment(isolated_environment: None) -> Iterator[None]:
    """What a test, or a library in it (MLflow does), writes into the environment ends with the test."""
    del isolated_environment
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ |= before


@pytest.fixture(autouse=True)
def no_instance_of_before() -> Iterator[None]:
    """Dagster keeps the storage of the instance in use in a context variable, and puts the one before back at its end.

    Contexts of Dagster that only garbage collection ends (`load_asset_value` makes such) do that at any time later, and
    put back that of an instance which is gone by then: definitions that are loaded afterwards raise.
    """
    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For operations on a tiny model a second thread only waits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def project_template(tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Path:
    """A project with one batch of 72 rows; to be copied, never used."""
    del isolated_environment
    folder = tmp_path_factory.mktemp("template") / "project"
    init_project_repository(folder, remote=None)
    batch = folder / "data" / "raw" / "opinions.csv"
    batch.parent.mkdir(parents=True)
    rows = [f"{text},{label}" for text, label in some_rows()]
    batch.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Path:
    """An MLflow store with its tables and nothing in them, because making those takes seconds; to be copied."""
    del isolated_environment
    folder = tmp_path_factory.mktemp("store")
    Tracking(TrackingConfig(), folder).runs()
    return folder / "mlflow.db"


@pytest.fixture
def server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """A running tracking server."""
    # FTzard sets these where nobody did, and the tests after this one are none of theirs.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    server = TrackingServer(tmp_path / "server", empty_store)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def project(project_template: Path, tmp_path: Path) -> Path:
    """A fresh project folder: git, DVC, and 72 short texts labelled negative or positive in `data/raw/`."""
    return shutil.copytree(project_template, tmp_path / "project")


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where the system has one with room; else as `tmp_path`.

    Dagster syncs each of thousands of events to disk, which takes minutes and says nothing about killed processes: what
    a process has written outlives it in memory too.
    """
    memory = Path("/dev/shm")  # noqa: S108  # a folder of our own is made in it
    if not memory.is_dir() or not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < _ROOM_IN_MEMORY:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="ftzard-test-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def tracked_project(project: Path, empty_store: Path) -> Path:
    """A fresh project folder whose MLflow store exists already."""
    shutil.copy(empty_store, project / "mlflow.db")
    return project


@pytest.fixture(scope="session")
def materialized_project(project_template: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project materialized once with `experiment=tiny`. For reading only: all tests share it."""
    folder = shutil.copytree(project_template, tmp_path_factory.mktemp("materialized") / "project")
    shutil.copy(empty_store, folder / "mlflow.db")
    materialize(folder, ["experiment=tiny"])
    return folder


@pytest.fixture
def fluent_mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests of somebody's own `mlflow.start_run`: its process-wide state does not outlive the test."""
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
