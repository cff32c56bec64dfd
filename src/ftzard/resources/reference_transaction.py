"""References of git that are locked and checked first, and moved at a moment of one's own choosing."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ftzard.resources.git import Git, kill_group, redact, start_git

if TYPE_CHECKING:
    import subprocess

# Nothing is waited for in it: git gives up a lock that somebody holds after a tenth of a second.
_TIMEOUT_S: Final = 60.0


class ReferenceTransaction:
    """What `prepared_transaction` gives.

    Attributes:
        refusal: Why git does not move the references; None where they are locked, and have the values they should.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", changes: Sequence[str]) -> None:
        """Lock the references and compare them."""
        self._process = process
        self.refusal = self._done("start") or self._done(*changes, "prepare")

    def commit(self) -> str | None:
        """Move the references; None when they are moved, otherwise why git did not."""
        self.refusal = self.refusal or self._done("commit")
        return self.refusal

    def _done(self, *commands: str) -> str | None:
        """Give commands, of which the last one is answered."""
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            message = "git was started without pipes"
            raise RuntimeError(message)
        try:
            stdin.write("".join(f"{command}\n" for command in commands).encode())
            stdin.flush()
        except BrokenPipeError:
            # What it said before it ended is still to be read.
            pass
        if stdout.readline().decode().strip() == f"{commands[-1]}: ok":
            return None
        return redact(stderr.read().decode(errors="replace").strip()) or "git ended without a word"


@contextmanager
def prepared_transaction(git: Git, changes: Sequence[str], reason: str) -> Iterator[ReferenceTransaction]:
    """Lock references; what is not committed within the block is given up, whatever ends the block or this process.

    Args:
        git: The repository.
        changes: Commands of `git update-ref --stdin`.
        reason: For the log of the references.
    """
    process = start_git(git.top_level, "update-ref", "-m", reason, "--stdin")
    timer = threading.Timer(_TIMEOUT_S, kill_group, (process,))
    timer.daemon = True
    timer.start()
    try:
        # At its end its standard input is closed, and git lets go of what was not committed.
        with process:
            yield ReferenceTransaction(process, changes)
    finally:
        timer.cancel()
