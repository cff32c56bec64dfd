"""A real S3-compatible server, moto's, on a loopback port."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


class S3Server:
    """A server that keeps its port, and forgets its buckets when it is stopped.

    Args:
        folder: Holds its log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, bucket: str) -> None:
        """Start, wait until it answers, and make a bucket."""
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ, start_new_session=True)
        for _ in range(600):
            assert self._process.poll() is None, self._log.read_text()
            try:
                request = urllib.request.Request(f"{self.url}/{bucket}", method="PUT")  # noqa: S310 - this server's own loopback address
                with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - as above
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self._log.read_text())

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
