"""What a tracking server could not take: kept in the project, in order, and sent once the server answers again.

A folder for each run, `.ftzard/outbox/<run id>/`, holds one JSON file for each operation, and beside it the files that
it sends. A run that began while the server was away has an id of its own (`local-…`) until the server gives it one;
what makes it stands in `run.json`.
"""

import hashlib
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock

from ftzard.errors import StorageError, TrackingError, TrackingUnavailableError
from ftzard.resources.run_operations import LogFolder, RunOperation, from_record, to_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

LOCAL_ID_TAG = "ftzard.local_run_id"

_LOCAL_PREFIX = "local-"
_RUN_FILE = "run.json"
_RETRY_AFTER_S = 30.0
_UNAVAILABLE_CODES = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}

Identify = Callable[["MlflowClient", str], str]


@dataclass(frozen=True)
class UnsentRun:
    """What a run is made with once the server answers.

    Attributes:
        step: Its step.
        parent_run_id: The run that it is below, by either kind of id; empty for the parent run of its step.
        name: Its name.
        start_time_ms: When it began.
        tags: Its tags.
        local_id: Its id until the server gives it one, and a tag for ever: a run that was made by a call whose answer
            got lost is found by it.
    """

    step: str
    parent_run_id: str
    name: str
    start_time_ms: int
    tags: Mapping[str, str]
    local_id: str = field(default_factory=lambda: f"{_LOCAL_PREFIX}{uuid.uuid4().hex}")


@dataclass(frozen=True)
class Outbox:
    """The folder of what one project could not send.

    Args:
        folder: Made when it is needed.
    """

    folder: Path

    def new_run(self, run: UnsentRun) -> None:
        """Keep a run that is still to be made."""
        with self.locked(run.local_id):
            _write_json(self.folder / run.local_id / _RUN_FILE, asdict(run))

    def unsent_run(self, run_id: str) -> UnsentRun | None:
        """What `new_run` kept; None where everything of that run was sent."""
        path = self.folder / run_id / _RUN_FILE
        return UnsentRun(**_read_json(path)) if path.is_file() else None

    def waits(self, run_id: str) -> bool:
        """Whether something of this run is still to be sent."""
        return (self.folder / run_id).is_dir()

    def run_ids(self) -> list[str]:
        """The runs of which something waits, oldest first."""
        folders = [path for path in self.folder.glob("*") if path.is_dir()] if self.folder.is_dir() else []
        return [path.name for path in sorted(folders, key=lambda path: (_first_change(path), path.name))]

    def keep(self, run_id: str, operation: RunOperation) -> None:
        """Keep an operation, and a copy of the files that it sends, behind those that wait."""
        with self.locked(run_id):
            folder = self.folder / run_id
            name = f"{1 + max((int(path.stem) for path in _operations(folder)), default=0):08d}"
            if isinstance(operation, LogFolder):
                shutil.copytree(operation.folder, folder / name, dirs_exist_ok=True)
                operation = replace(operation, folder=name)
            _write_json(folder / f"{name}.json", to_record(operation))

    def send(self, run_id: str, client: "MlflowClient", identify: Identify) -> None:
        """Send what waits of a run, in order; what was sent is removed.

        Raises:
            StorageError: A file is not what was kept; it and those behind it stay.
            Exception: Whatever the client raises; what was not sent stays.
        """
        with self.locked(run_id):
            folder = self.folder / run_id
            if not folder.is_dir():
                return
            server_id = identify(client, run_id)
            for path in _operations(folder):
                operation = from_record(_read_json(path))
                if isinstance(operation, LogFolder):
                    operation = replace(operation, folder=str(folder / operation.folder))
                operation.apply(client, server_id)
                path.unlink()
            shutil.rmtree(folder)

    @contextmanager
    def locked(self, run_id: str) -> Iterator[None]:
        """Keep other processes from this run's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{run_id}.lock", is_singleton=True):
            yield


@dataclass(eq=False)
class RunSender:
    """Sends one run's operations in order; while the server is away they are kept.

    Threads may share it.

    Args:
        outbox: Where they are kept; None where the store is a file on this machine, which is not waited for.
        run_id: The run, by either kind of id.
        connect: Makes a client, quickly or not at all.
        identify: Gives the server's id for a run's, and makes the run where there is none.
        known_client: A client, where there is one already.
    """

    outbox: Outbox | None
    run_id: str
    connect: Callable[[], "MlflowClient"]
    identify: Identify
    known_client: "MlflowClient | None"
    _server_id: str | None = field(default=None, init=False)
    _retry_at: float = field(default=0.0, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        """The server knows a run by its own id unless that one is local."""
        self._server_id = None if is_local(self.run_id) else self.run_id

    def below(self, run_id: str) -> Self:
        """A sender for another run, with the same connection."""
        return type(self)(self.outbox, run_id, self.connect, self.identify, self.known_client)

    @property
    def client(self) -> "MlflowClient":
        """A client.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self._lock:
            if self.known_client is None:
                self.known_client = self.connect()
            return self.known_client

    def server_id(self) -> str:
        """The server's id of the run, once everything that waits of it was sent.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self._lock:
            if self.outbox is not None and self.outbox.waits(self.run_id):
                self.outbox.send(self.run_id, self.client, self.identify)
            if self._server_id is None:
                self._server_id = self.identify(self.client, self.run_id)
            return self._server_id

    def send(self, operation: RunOperation) -> None:
        """Send an operation, or keep it.

        Raises:
            Exception: The store refuses it, or is a file that cannot be written.
        """
        with self._lock:
            if self.outbox is None:
                operation.apply(self.client, self.run_id)
                return
            if not self._is_up_to_date():
                self.outbox.keep(self.run_id, operation)
                return
            try:
                operation.apply(self.client, self.server_id())
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self.outbox.keep(self.run_id, operation)
                self._lose(error)

    def flush(self) -> bool:
        """Try to send what waits; returns whether nothing waits any more."""
        with self._lock:
            self._retry_at = 0.0
            return self._is_up_to_date()

    def _is_up_to_date(self) -> bool:
        """Whether the next operation may be sent at once; a server that was away is asked every now and then."""
        if self.known_client is not None and self._server_id is not None and not self._waits():
            return True
        if time.monotonic() < self._retry_at:
            return False
        try:
            self.known_client = self.connect()
            self.server_id()
        except Exception as error:
            if not is_unavailable(error):
                raise
            self._lose(error)
            return False
        return True

    def _waits(self) -> bool:
        return self.outbox is not None and self.outbox.waits(self.run_id)

    def _lose(self, error: Exception) -> None:
        if self._retry_at == 0.0 or self.known_client is not None:
            text = str(error).partition("\n")[0]
            logger.warning("MLflow cannot be reached; what run %s logs is kept and sent later: %s", self.run_id, text)
        self.known_client = None
        self._retry_at = time.monotonic() + _RETRY_AFTER_S


def is_local(run_id: str) -> bool:
    """Whether an id was given while the server was away."""
    return run_id.startswith(_LOCAL_PREFIX)


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error of MLflow's client means that the server is away or overloaded, not that it refuses."""
    while error is not None:
        if isinstance(error, TrackingUnavailableError):
            return True
        if isinstance(error, TrackingError):
            return False
        package, kind = type(error).__module__.partition(".")[0], type(error).__name__
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if package == "requests" and (kind != "HTTPError" or status >= 500 or status == 429):  # noqa: PLR2004 # HTTP
            return True
        if package == "mlflow" and getattr(error, "error_code", "") in _UNAVAILABLE_CODES:
            return True
        error = error.__cause__ or error.__context__
    return False


def _operations(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.name != _RUN_FILE)


def _first_change(folder: Path) -> float:
    times = [path.stat().st_mtime for path in folder.glob("*.json")]
    return min(times, default=0.0)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(content)
    temporary.write_text(json.dumps({"sha256": _sha256(text), "content": text}), encoding="utf-8")
    temporary.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    """Read what `_write_json` wrote; a value that nobody kept would otherwise be in MLflow for ever."""
    try:
        kept = json.loads(path.read_bytes())
        if kept["sha256"] != _sha256(kept["content"]):
            raise ValueError("its checksum is another one")  # noqa: TRY301 - told as the others are
        content: dict[str, Any] = json.loads(kept["content"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}, which waits to be sent to MLflow, is not what was kept: {error}",
            fix="restore the file, or delete it, and what it held is missing in MLflow; the rest is then sent",
        ) from error
    return content


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
