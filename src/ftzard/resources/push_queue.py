"""What has still to be pushed: a note in DVC's ignored folder, written before a push and emptied after it.

Data stands in it by its hash and not by its commit, because it is put there before the commit is made: a process killed
in between leaves at most data that is pushed for nothing, never a commit whose data nobody remembers to push.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

_LOGGER = logging.getLogger(__name__)
_NAME = "ftzard-pending.json"


@dataclass(frozen=True)
class QueuedBranch:
    """A commit that a git remote does not have yet.

    Attributes:
        remote: The git remote's name.
        ref: The branch's full name.
        commit_id: The newest data commit on it.
    """

    remote: str
    ref: str
    commit_id: str


@dataclass(frozen=True)
class PushQueue:
    """The queue of one project; whoever changes it holds the project's lock.

    Attributes:
        folder: DVC's own folder for what git ignores, `.dvc/tmp`.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The note."""
        return self.folder / _NAME

    def data(self) -> list[str]:
        """DVC's hashes of the data folders that are not pushed, oldest first."""
        return self._read()[0]

    def branches(self) -> list[QueuedBranch]:
        """The branches that are not pushed, oldest first."""
        return self._read()[1]

    def add_data(self, data_hash: str) -> None:
        """Put data at the end, where it is not in the queue yet."""
        data, branches = self._read()
        if data_hash not in data:
            self._write([*data, data_hash], branches)

    def add_branch(self, branch: QueuedBranch) -> None:
        """Put a branch at the end; a newer commit stands for the older ones of the same branch."""
        data, branches = self._read()
        others = [other for other in branches if (other.remote, other.ref) != (branch.remote, branch.ref)]
        self._write(data, [*others, branch])

    def drop_data(self, data_hash: str) -> None:
        """Take out data that is pushed."""
        data, branches = self._read()
        self._write([other for other in data if other != data_hash], branches)

    def drop_branch(self, branch: QueuedBranch) -> None:
        """Take out a branch that is pushed."""
        data, branches = self._read()
        self._write(data, [other for other in branches if other != branch])

    def _read(self) -> tuple[list[str], list[QueuedBranch]]:
        try:
            queue = json.loads(self.path.read_bytes())
            return [str(name) for name in queue["data"]], [QueuedBranch(**entry) for entry in queue["branches"]]
        except FileNotFoundError:
            return [], []
        except (ValueError, LookupError, TypeError):
            # It is renamed into its place when it is whole, so this was not a killed process.
            aside = self.path.with_suffix(".broken")
            self.path.replace(aside)
            _LOGGER.warning(
                "%s was not readable and is now %s. What it held may not be pushed: run `dvc push --all-commits` and "
                "`git push`",
                self.path,
                aside.name,
            )
            return [], []

    def _write(self, data: list[str], branches: list[QueuedBranch]) -> None:
        if not data and not branches:
            self.path.unlink(missing_ok=True)
            return
        new = self.path.with_suffix(".new")
        queue = {"data": data, "branches": [asdict(branch) for branch in branches]}
        new.write_text(json.dumps(queue, indent=2) + "\n", encoding="utf-8")
        new.replace(self.path)
