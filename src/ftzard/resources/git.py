"""The git executable in one repository: lists of arguments, a known environment, a time limit on each call.

The executable and not a git library, because it honours the person's whole configuration (identity, credentials,
filters, alternates), and its plumbing commands do not touch what is staged. Hooks are the person's, for what the person
does: only a push runs them, because `pre-push` says what may leave the machine.
"""

import getpass
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftzard.errors import DataCommitError, NotAGitRepositoryError

_LOCAL_TIMEOUT_S = 60.0

# Set for the children of hooks and by people's shells. They would point our calls at another repository, another index,
# or give paths a second meaning. The names are those of `git rev-parse --local-env-vars` that say where things are.
_STRIPPED_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_GLOB_PATHSPECS",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
_FIXED_VARIABLES = {
    # Messages are read below, so they must not be translated.
    "LC_ALL": "C",
    # A question nobody can answer would hang the run.
    "GIT_TERMINAL_PROMPT": "0",
    # Paths come from data folders: a `*` or `[` in one is a character, never a pattern.
    "GIT_LITERAL_PATHSPECS": "1",
}
# No hook can be in there.
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")
# What `git check-ignore` exits with when no pattern matches; above it are failures.
_NO_MATCH = 1
_FALLBACK_NAME = "FTzard"
_FALLBACK_EMAIL = "ftzard@localhost"


@dataclass(frozen=True)
class GitResult:
    """What one call of git gave: its exit code, its output as bytes, and its messages without credentials."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """The output as text without the final line break; bytes that are no UTF-8 survive as surrogates."""
        return os.fsdecode(self.stdout).removesuffix("\n")


@dataclass(frozen=True)
class Git:
    """Git in one work tree; every path given to a command is relative to the top level.

    Attributes:
        top_level: The work tree's root, with symbolic links resolved.
    """

    top_level: Path

    @classmethod
    def find(cls, directory: Path) -> "Git":
        """The repository that a folder is in.

        Args:
            directory: The top level or any folder below it.

        Raises:
            NotAGitRepositoryError: git is not installed, or the folder is missing or not in a git work tree.
            DataCommitError: git refuses to work there, for example because another user owns the repository.
        """
        if not directory.is_dir():
            raise NotAGitRepositoryError(
                f"the project folder {directory} does not exist",
                fix=f"make it a git repository with `git init {directory}`, or name the right folder",
            )
        result = call_git(directory, "rev-parse", "--show-toplevel")
        if result.code == 0:
            return cls(Path(result.text).resolve())
        if "dubious ownership" in result.stderr:
            raise DataCommitError(
                f"git refuses to work in {directory}, because the repository belongs to another user",
                fix=f"if you trust it, run `git config --global --add safe.directory {directory.resolve()}`",
            )
        if "not a git repository" in result.stderr or "must be run in a work tree" in result.stderr:
            raise NotAGitRepositoryError(
                f"the project folder {directory} is not inside the work tree of a git repository",
                fix=f"run `git init {directory}`",
            )
        raise _failure(("rev-parse", "--show-toplevel"), result)

    def attempt(
        self,
        *arguments: str,
        stdin: bytes = b"",
        variables: Mapping[str, str] | None = None,
        timeout_s: float = _LOCAL_TIMEOUT_S,
        runs_hooks: bool = False,
    ) -> GitResult:
        """Run git and return what it said, also when it failed; arguments as in `call_git`."""
        return call_git(
            self.top_level, *arguments, stdin=stdin, variables=variables, timeout_s=timeout_s, runs_hooks=runs_hooks
        )

    def run(self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None) -> str:
        """Run git and return its output as text.

        Raises:
            DataCommitError: git exited with another code than 0; the error carries its message.
        """
        result = self.attempt(*arguments, stdin=stdin, variables=variables)
        if result.code != 0:
            raise _failure(arguments, result)
        return result.text

    def commit_at(self, revision: str) -> str | None:
        """The id of the commit that `HEAD` or a full reference name is at; None where there is none yet."""
        result = self.attempt("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}")
        return result.text if result.code == 0 else None

    def current_branch(self) -> str | None:
        """The full name of the checked-out branch, also before its first commit; None when HEAD is detached."""
        result = self.attempt("symbolic-ref", "--quiet", "HEAD")
        return result.text if result.code == 0 else None

    def read_blob(self, blob: str) -> bytes:
        """The bytes of a blob as stored, before any filter of the work tree."""
        result = self.attempt("cat-file", "blob", blob)
        if result.code != 0:
            raise _failure(("cat-file", "blob", blob), result)
        return result.stdout

    def write_blob(self, content: bytes, path: str) -> str:
        """Store the content that a work tree has at `path`, through the path's filters, and return the blob's id."""
        return self.run("hash-object", "-w", "--stdin", "--path", path, stdin=content)

    def ignoring_pattern(self, path: str) -> tuple[str, bytes]:
        """The file and the pattern that decide whether git ignores a path; both empty where none matches it.

        A file in the work tree is named from the top level. A pattern that begins with `!` says: not ignored.
        """
        arguments = ("check-ignore", "--verbose", "--no-index", "-z", "--stdin")
        # This command alone refuses literal paths, which it takes all the same; `./` keeps a leading `:` one.
        result = self.attempt(*arguments, stdin=os.fsencode(f"./{path}\0"), variables={"GIT_LITERAL_PATHSPECS": "0"})
        if result.code not in {0, _NO_MATCH}:
            raise _failure(arguments, result)
        source, _, pattern, *_ = (*result.stdout.split(b"\0"), b"", b"")
        return os.fsdecode(source), pattern

    def identity(self) -> dict[str, str]:
        """Variables that stand in for the author and the committer the person has not configured; often empty.

        git's own guess from the user and host names does not count: it differs from machine to machine.
        """
        variables: dict[str, str] = {}
        for role in ("AUTHOR", "COMMITTER"):
            if self.attempt("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT").code != 0:
                variables |= {f"GIT_{role}_NAME": _FALLBACK_NAME, f"GIT_{role}_EMAIL": _FALLBACK_EMAIL}
        return variables


def call_git(
    directory: Path,
    *arguments: str,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
    timeout_s: float = _LOCAL_TIMEOUT_S,
    runs_hooks: bool = False,
) -> GitResult:
    """Run git once, without a shell and without a terminal.

    Args:
        directory: An existing folder, in which git starts.
        arguments: What follows `git` on the command line.
        stdin: What git reads.
        variables: Environment variables on top of the cleaned environment.
        timeout_s: Seconds after which git and all it started are killed.
        runs_hooks: Whether git runs the person's hooks, of which a few, such as `reference-transaction` and
            `post-index-change`, belong to plumbing commands too.

    Raises:
        NotAGitRepositoryError: git is not installed.
        DataCommitError: git did not end in time.
    """
    process = start_git(directory, *arguments, variables=variables, runs_hooks=runs_hooks)
    stdout, stderr = _communicate(process, arguments, stdin, timeout_s)
    return GitResult(process.returncode, stdout, redact(stderr.decode(errors="replace").strip()))


def start_git(
    directory: Path, *arguments: str, variables: Mapping[str, str] | None = None, runs_hooks: bool = False
) -> "subprocess.Popen[bytes]":
    """Start git with pipes for all that it reads and says; arguments as in `call_git`.

    Raises:
        NotAGitRepositoryError: git is not installed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _STRIPPED_VARIABLES}
    try:
        return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            ["git", *([] if runs_hooks else _NO_HOOKS), *arguments],  # noqa: S607 - the git that the person uses, found on their PATH
            cwd=directory,
            env={**environment, **_FIXED_VARIABLES, **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Its own session: no terminal on which ssh could ask, and one group to kill.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise NotAGitRepositoryError(
            "git is not installed, or not on the PATH",
            fix="install git (for example `apt-get install git`), then run `git init` in the project folder",
        ) from None


def person(directory: Path) -> str:
    """Who is at work: git's user name in a folder, else the login."""
    return call_git(directory, "config", "user.name").text.strip() or getpass.getuser()


def _communicate(
    process: "subprocess.Popen[bytes]", arguments: tuple[str, ...], stdin: bytes, timeout_s: float
) -> tuple[bytes, bytes]:
    with process:
        try:
            return process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise DataCommitError(
                f"`git {redact(' '.join(arguments))}` did not end within {timeout_s:g} s and was stopped",
                fix="check that the disk or the remote answers, then run again",
            ) from None
        except BaseException:
            kill_group(process)
            raise


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End git and all that it started."""
    # Until it is waited for, the leader keeps its id: the group cannot be a stranger's.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def redact(text: str) -> str:
    """The text with user names, passwords and tokens in URLs replaced by `***`."""
    return _CREDENTIALS.sub("***@", text)


def _failure(arguments: tuple[str, ...], result: GitResult) -> DataCommitError:
    return DataCommitError(
        f"`git {redact(' '.join(arguments))}` failed with exit code {result.code}: {result.stderr or 'no message'}",
        fix="resolve what git says, then run again; the data on disk is untouched",
    )
