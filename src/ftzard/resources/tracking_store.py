"""The MLflow store that a project's configuration names: a file, a server or a database."""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ftzard.config import TrackingConfig
from ftzard.errors import TrackingError, TrackingUnavailableError
from ftzard.resources.moved_store import follow_project, project_of
from ftzard.resources.outbox import is_unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOGGER = logging.getLogger(__name__)
_SQLITE = "sqlite:///"
_EXPLAINED_PACKAGES = {"mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3"}


@dataclass(frozen=True)
class TrackingStore:
    """One tracking store.

    Args:
        config: Where it is; a relative SQLite path is taken from `project_dir`.
        project_dir: The project folder.
    """

    config: TrackingConfig
    project_dir: Path

    @property
    def uri(self) -> str:
        """The store's URI, absolute: MLflow itself would take a relative SQLite path from the current directory."""
        uri = self.config.tracking_uri
        if not uri.startswith(_SQLITE):
            return uri
        return f"{_SQLITE}{self.project_dir.resolve() / uri.removeprefix(_SQLITE)}"

    @property
    def file(self) -> Path | None:
        """The SQLite file; None where a server or another database keeps the runs."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    @property
    def is_server(self) -> bool:
        """Whether a server keeps the runs."""
        return self.config.tracking_uri.startswith(("http://", "https://"))

    @property
    def answered_before(self) -> bool:
        """Whether this store was ever used from this project: else its address is more likely wrong than down."""
        return self._seen_file.is_file() and self._seen_file.read_text(encoding="utf-8") == self.uri

    def connect(self) -> "MlflowClient":
        """A client of the store, which is made where it is a file.

        Raises:
            TrackingUnavailableError: The server does not answer in time.
            TrackingError: The store refuses.
        """
        with self.refusals_explained():
            return self._client()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep this project's other processes from making the same things in the store."""
        with FileLock(self._private_dir / "tracking.lock", is_singleton=True):
            yield

    @contextmanager
    def refusals_explained(self) -> Iterator[None]:
        """Turn what MLflow and the libraries below it raise into a `TrackingError`."""
        try:
            yield
        except OSError as error:
            raise self._error(error) from error
        except Exception as error:
            # MLflow and SQLAlchemy share no base class, and importing either costs seconds.
            if type(error).__module__.partition(".")[0] not in _EXPLAINED_PACKAGES:
                raise
            raise self._error(error) from error

    def _client(self) -> "MlflowClient":
        self._set_defaults()
        self._check_server()
        from mlflow import MlflowClient

        # Processes that open a fresh SQLite store at the same time crash while they make its tables.
        with self.locked():
            self._make_file()
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.search_experiments(max_results=1)
            if not self.answered_before:
                self._follow_project()
                self._seen_file.write_text(self.uri, encoding="utf-8")
        return client

    def _set_defaults(self) -> None:
        """MLflow has no settings but process-wide ones for these; whoever set them already is right."""
        # Read when MLflow is imported: it reports its use over the network otherwise.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Nobody waits for files this small, and the bars would stand between a command's own lines.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # So would two lines on standard output for each run of a server; the pages are linked in Dagster.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        if self.is_server:
            # MLflow would hold up a step for minutes; what cannot be sent is kept and sent later.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(self.config.request_timeout_s))))
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def _make_file(self) -> None:
        """Make a SQLite store beside its place and move it there: MLflow's migrations cannot go on after a kill."""
        target = self.file
        if target is None or target.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        unfinished = target.with_name(f".{target.name}.new")
        target.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
            left_behind.unlink(missing_ok=True)
        artifacts = self.project_dir.resolve() / self.config.artifact_dir
        store = SqlAlchemyStore(f"{_SQLITE}{unfinished}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        with suppress(FileExistsError):  # somebody's own `mlflow ui` was quicker: theirs stays
            os.link(unfinished, target)
        unfinished.unlink()

    def _follow_project(self) -> None:
        """Where the project's own store was last used when the project was elsewhere, bring its places along."""
        target = self.file
        if target is None or not self._seen_file.is_file():
            return
        seen = Path(self._seen_file.read_text(encoding="utf-8").removeprefix(_SQLITE))
        before = project_of(seen, self.config.tracking_uri.removeprefix(_SQLITE))
        if before is not None:
            num_places = follow_project(target, before, self.project_dir.resolve())
            _LOGGER.warning("the project was at %s before: changed %d place(s) in %s", before, num_places, target)

    def _check_server(self) -> None:
        """Ask the server for its health: MLflow's own client would try again for minutes."""
        if not self.is_server:
            return
        try:
            health = f"{self.config.tracking_uri.rstrip('/')}/health"
            with urllib.request.urlopen(health, timeout=self.config.request_timeout_s):  # noqa: S310 # scheme checked above
                return
        except urllib.error.HTTPError:
            return  # Somebody answered; what a proxy thinks of /health says nothing about the API.
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise self._unavailable(str(getattr(error, "reason", error))) from error

    @property
    def _private_dir(self) -> Path:
        directory = self.project_dir / ".ftzard"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @property
    def _seen_file(self) -> Path:
        return self._private_dir / "tracking.seen"

    def _error(self, error: Exception) -> TrackingError:
        reason = str(error).partition("\n")[0]
        if self.is_server and is_unavailable(error):
            return self._unavailable(reason)
        return TrackingError(self._what(reason), fix=_FIX if self.file is None else _FIX_FILE)

    def _unavailable(self, reason: str) -> TrackingUnavailableError:
        return TrackingUnavailableError(self._what(reason), fix=_FIX)

    def _what(self, reason: str) -> str:
        return f"MLflow at {self.uri} (tracking.tracking_uri) cannot be used: {reason}"


_FIX_FILE = "look at the permissions and the disk of the project, or give another store with tracking.tracking_uri"
_FIX = "start the server, or give another store: tracking.tracking_uri=sqlite:///mlflow.db"
