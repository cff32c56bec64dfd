"""A real `dagster dev` over a project, as a person starts it, and looks at what it did."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg

from ftzard.composition import bundled_conf_dir, compose
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.dagster_instance import project_instance
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

T = TypeVar("T")

_POLL_S = 1.0


class DagsterDev:
    """`dagster dev` in a process group of its own, so that all of it can be killed at once.

    Args:
        project: The project folder.
        browser: Whether it serves the pages too; the daemon alone starts sooner.
    """

    def __init__(self, project: Path, *, browser: bool) -> None:
        self.project = project
        self.browser = browser
        self.log = project.parent / "dagster-dev.log"
        self.process: subprocess.Popen[bytes] | None = None
        with project_instance(project):
            """Writes the project's `dagster.yaml`."""

    def start(self) -> None:
        # One thread, because a tiny model on cores that other processes want loses time to waiting for the second.
        environment = {**os.environ, "DAGSTER_HOME": str(self.project / ".dagster"), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.project,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _command(self) -> list[str]:
        program = Path(sys.executable).with_name("dagster" if self.browser else "dagster-daemon")
        address = ["--host", "127.0.0.1", "--port", str(_free_port())] if self.browser else []
        return [str(program), "dev" if self.browser else "run", "-m", "ftzard.definitions", *address]

    def kill(self) -> None:
        """As a power cut would: nothing of it has a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As Ctrl-C in its terminal."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL)

    def wait_for(self, what: str, look: Callable[[], T | None], timeout_s: float = 300.0) -> T:
        """Look again and again until there is something; otherwise say what was last told in the terminal."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            assert self.process is not None
            assert self.process.poll() is None, f"dagster dev ended:\n{self._tail()}"
            time.sleep(_POLL_S)
        message = f"no {what} after {timeout_s:.0f} s; dagster dev says:\n{self._tail()}"
        raise AssertionError(message)

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, with_signal)
            self.process.wait()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]


@contextmanager
def dagster_dev(project: Path, *, browser: bool = True) -> Iterator[DagsterDev]:
    """Run it for the length of a block."""
    dev = DagsterDev(project, browser=browser)
    dev.start()
    try:
        yield dev
    finally:
        dev.stop()


def choose_experiment(project: Path, experiment: str) -> None:
    """Give a project a recipe of its own, which everything that runs in it uses."""
    conf = project / "conf"
    (conf / "experiment").mkdir(parents=True)
    (conf / "experiment" / "own.yaml").write_text(experiment, encoding="utf-8")
    bundled = (bundled_conf_dir() / "config.yaml").read_text(encoding="utf-8")
    (conf / "config.yaml").write_text(bundled.replace("experiment: null", "experiment: own"), encoding="utf-8")


def registry(project: Path) -> AdapterRegistry:
    return AdapterRegistry(Tracking(compose(project_dir=project).tracking, project))


def champion(project: Path) -> RegisteredAdapter | None:
    return registry(project).champion()


def materializations(project: Path, name: str) -> Sequence[dg.AssetMaterialization]:
    """All of an asset, newest first."""
    with project_instance(project) as instance:
        records = instance.fetch_materializations(dg.AssetKey(name), limit=5000).records
    return [record.asset_materialization for record in records if record.asset_materialization]


def times_made(project: Path, name: str) -> Counter[str]:
    """How often each partition of an asset was made."""
    return Counter(event.partition or "" for event in materializations(project, name))


def made(project: Path, name: str) -> set[str]:
    """The partitions of an asset that were made; cheaper to ask for again and again than what each of them was."""
    with project_instance(project) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(name))


def runs(project: Path, **filters: Any) -> Sequence[dg.DagsterRun]:
    with project_instance(project) as instance:
        return instance.get_runs(dg.RunsFilter(**filters))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
