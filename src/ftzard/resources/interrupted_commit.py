"""A data commit that was killed, or failed half-way: how far it got is looked up, and it is finished or undone."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ftzard.resources.branch_push import BRANCHES
from ftzard.resources.branch_target import DETACHED, branch_tip, is_held, keep_detached
from ftzard.resources.commit_journal import CommitJournal, JournalEntry
from ftzard.resources.data_commit import BranchCommit, forget_in_index, refresh_index
from ftzard.resources.data_folder import DataFolder, commit_changes, ignore_line
from ftzard.resources.data_pointer import (
    committed_pointer,
    is_cut_short,
    is_whole,
    read_pointer,
    replace_file,
    write_pointer,
)
from ftzard.resources.push_queue import PushQueue, QueuedBranch
from ftzard.resources.shared_index import free_left_lock

_LOGGER = logging.getLogger(__name__)


def settle(folder: DataFolder, branch: str | None) -> str | None:
    """Finish or undo what an earlier data commit left; whoever calls it holds the project's lock.

    What the person has done since is theirs: a `.dvc` file that is whole and not the killed commit's stays.

    Args:
        folder: The data folder.
        branch: The branch that gets the data commits, as in `branch_tip`.

    Returns:
        What was found and what was done, which is logged too; None where nothing was left.
    """
    journal = CommitJournal(folder.private)
    # Where the index has our change already, nothing below would take the lock, and find it.
    free_left_lock(folder.git)
    said = [_settle_entry(folder, journal) if journal.path.exists() else None, mend_pointer(folder, branch)]
    text = "; ".join(part for part in said if part) or None
    if text is not None:
        _LOGGER.warning("%s", text)
    journal.remove()
    return text


@contextmanager
def journalled(folder: DataFolder, entry: JournalEntry) -> Iterator[Callable[..., None]]:
    """A commit with its journal, which stays where the commit neither ends nor leaves everything as it was.

    Args:
        folder: The data folder.
        entry: What is begun.

    Yields:
        What notes, by the names of the entry's fields, how far it has got.
    """
    journal = CommitJournal(folder.private)
    entries = [entry]

    def note(**found: str) -> None:
        entries.append(replace(entry, **found))  # type: ignore[arg-type] # names of fields that are texts
        journal.write(entries[-1])

    journal.write(entry)
    try:
        yield note
    except Exception:
        if is_untouched(folder, entries[-1]):
            journal.remove()
        raise
    journal.remove()


def mend_pointer(folder: DataFolder, branch: str | None) -> str | None:
    """Replace a `.dvc` file that a kill has cut short by the one before, as the journal or a commit has it; says so.

    Args:
        folder: The data folder.
        branch: The branch that may have it. Where there was none the file is removed, and DVC makes it anew.
    """
    content = read_pointer(folder)
    if content is None or is_whole(folder, content):
        return None
    entry = CommitJournal(folder.private).read()
    whole = (
        committed_pointer(folder.git, branch_tip(folder.git, branch), folder) if entry is None else entry.pointer_before
    )
    if not is_cut_short(folder, content, whole):
        return None
    write_pointer(folder, whole)
    remedy = "removed" if whole is None else "replaced by the one before"
    return f"{folder.pointer} was cut short, as a killed process leaves it, and was {remedy}"


def is_untouched(folder: DataFolder, entry: JournalEntry) -> bool:
    """Whether a commit that failed has changed nothing yet."""
    return (
        entry.commit_id is None and read_pointer(folder) == entry.pointer_before and _ignored_as_before(folder, entry)
    )


def _settle_entry(folder: DataFolder, journal: CommitJournal) -> str:
    entry = journal.read()
    if entry is None:
        return f"{journal.path} was not readable, so it is not known which data commit did not end; it was removed"
    what = f"the data commit {entry.subject!r}, begun {entry.started} by process {entry.pid}, did not end"
    if entry.commit_id is not None and is_held(folder.git, entry.commit_id):
        return f"{what}: {_finish(folder, entry, entry.commit_id)}"
    undone = ", ".join(_undo(folder, entry))
    return f"{what}: {undone}, and nothing of it was committed; the next data commit takes the data as it is then"


def _finish(folder: DataFolder, entry: JournalEntry, commit_id: str) -> str:
    """The commit is there: bring along the index, and see that it is pushed."""
    git = folder.git
    committed = committed_pointer(git, commit_id, folder)
    if entry.ref == DETACHED:
        keep_detached(git, commit_id)
    is_current = entry.ref == (git.current_branch() or DETACHED) and git.commit_at("HEAD") == commit_id
    if is_current and committed is not None and committed == read_pointer(folder):
        commit = BranchCommit(commit_id, entry.ref or DETACHED, is_checked_out=True, created=True)
        refresh_index(git, commit, commit_changes(folder))
    if entry.git_remote is not None and entry.ref is not None and entry.ref.startswith(BRANCHES):
        PushQueue(folder.private).add_branch(QueuedBranch(entry.git_remote, entry.ref, commit_id))
    return f"{commit_id} was made, and stands; MLflow and Dagster may not name it ({_trailers(entry)})"


def _trailers(entry: JournalEntry) -> str:
    """The runs that the message names."""
    lines = [line for line in entry.message.splitlines() if line.startswith(("MLflow-Run: ", "Dagster-Run: "))]
    return ", ".join(lines) or "no run made it"


def _undo(folder: DataFolder, entry: JournalEntry) -> list[str]:
    """Put back what DVC had written."""
    done = []
    paths = (folder.pointer, folder.ignore_file)
    if entry.commit_id is not None and forget_in_index(folder.git, entry.commit_id, paths):
        done.append("what it had put in git's index was taken out")
    content, before = read_pointer(folder), entry.pointer_before
    if content is not None and content != before and _is_of(folder, entry, content):
        write_pointer(folder, before)
        done.append(f"{folder.pointer} was {_put_back(before)}")
    ignored, size = folder.on_disk(folder.ignore_file), entry.ignore_size or 0
    lines = ignored.read_bytes() if ignored.is_file() else b""
    start = lines[:size] if entry.ignore_size is not None else None
    if not _ignored_as_before(folder, entry) and entry.has_ignored(start) and _is_begun(folder, lines[size:]):
        replace_file(folder, folder.ignore_file, start)
        done.append(f"a line of {folder.ignore_file} that was cut short was taken out")
    return done or ["it had changed nothing in the work tree"]


def _is_of(folder: DataFolder, entry: JournalEntry, content: bytes) -> bool:
    """Whether a `.dvc` file is the killed commit's: in part, or with the hash that it noted."""
    if not is_whole(folder, content):
        return is_cut_short(folder, content, entry.pointer_before)
    return entry.data_hash is not None and entry.data_hash.encode() in content


def _is_begun(folder: DataFolder, added: bytes) -> bool:
    line = ignore_line(folder) + b"\n"
    return any(len(added) < len(whole) and whole.startswith(added) for whole in (line, b"\n" + line))


def _ignored_as_before(folder: DataFolder, entry: JournalEntry) -> bool:
    path = folder.on_disk(folder.ignore_file)
    return entry.has_ignored(path.read_bytes() if path.is_file() else None)


def _put_back(content: bytes | None) -> str:
    return "removed, as there was none before" if content is None else "put back as it was before"
