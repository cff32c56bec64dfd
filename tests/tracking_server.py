"""A real MLflow tracking server on a loopback port, which can be killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class TrackingServer:
    """A server over a store in a folder; it keeps its port.

    Args:
        folder: Holds the store, the artifacts and the log.
        empty_store: A store to begin with.
    """

    def __init__(self, folder: Path, empty_store: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copy(empty_store, folder / "server.db")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        # Without its job runners, which are processes of their own and none of our business, it starts sooner.
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        path = self._folder / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            assert self._process.poll() is None, path.read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):  # noqa: S310 # this server's own loopback address
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(path.read_text())

    def kill(self) -> None:
        """End it and all its workers at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
