"""One git commit of a few files that leaves the person's index and work tree as they are.

The tree is that of the commit before with these files in it, and the branch is moved by compare-and-swap, so nothing
that the person has staged, edited or left untracked can get into the commit, and a commit made meanwhile by somebody
else is built upon and never lost. A change to a file is a function of its content, because it is applied to different
versions of the file: to the one in the branch, to a newer one after a lost race, and to the one in the person's index.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

from ftzard.errors import DataCommitError
from ftzard.resources.branch_target import Target, find_target, prepared_move
from ftzard.resources.git import Git
from ftzard.resources.shared_index import edited_index

# From a file's content (None: there is no such file) to its new content; None means that it stays as it is.
Edit = Callable[[bytes | None], bytes | None]

_ATTEMPTS = 8
_FIRST_PAUSE_S = 0.05
_REGULAR_FILE, _FOLDER = "100644", "040000"


@dataclass(frozen=True)
class DataCommit:
    """What a data commit did.

    Attributes:
        commit_id: The commit that holds the data's hash: the new one, or the branch's tip if nothing had changed.
        data_hash: DVC's MD5 of the data folder, as in its `.dvc` file.
        created: Whether a commit was made; False when the branch already held the same data.
        pushed_data: Whether the DVC remote holds the data; False where there is no remote or pushing is turned off.
        pushed_git: Whether the git remote holds the commit; False where no remote is configured.
        pending: Why something that should have been pushed was not, and what to do; None where nothing is waiting.
        recovered: What an earlier data commit that was killed, or failed, had left, or an edit in place had broken in
            DVC's cache, and what was done about it; None where there was nothing.
    """

    commit_id: str
    data_hash: str
    created: bool
    pushed_data: bool
    pushed_git: bool
    pending: str | None = None
    recovered: str | None = None


@dataclass(frozen=True)
class BranchCommit:
    """A commit on a branch.

    Attributes:
        commit_id: The branch's tip.
        ref: The branch's full name, `HEAD` when no branch is checked out, or FTzard's own while the person bisects.
        is_checked_out: Whether the person's work tree stands on it.
        created: Whether the commit is new.
    """

    commit_id: str
    ref: str
    is_checked_out: bool
    created: bool


@dataclass(frozen=True)
class _Entry:
    mode: str
    blob: str


def commit_edits(
    git: Git,
    branch: str | None,
    edits: Mapping[str, Edit],
    message: str,
    *,
    announce: Callable[[str, str], None] | None = None,
) -> BranchCommit:
    """Commit edits of a few files, and bring the index entries of these files along.

    Args:
        git: The repository.
        branch: A branch's short name, made at HEAD if missing; None for what is checked out, also a detached HEAD.
        edits: For each path (relative to the top level) how its content changes.
        message: The commit message.
        announce: Called with a branch and the commit that it is moved to, before each attempt to do so.

    Returns:
        The new commit, or the branch's tip when the edits change nothing there.

    Raises:
        DataCommitError: git refused, the branch is checked out in another work tree, or it kept moving.
    """
    for attempt in range(_ATTEMPTS):
        target = find_target(git, branch)
        entries = _edited_entries(git, target.base, edits)
        commit_id = _write_commit(git, target.base, entries, message) if entries else target.base
        if commit_id is None:
            raise DataCommitError(
                f"there is nothing to commit to {target.ref}", fix="make a first commit: `git commit --allow-empty`"
            )
        if entries and announce is not None:
            announce(target.ref, commit_id)
        commit = BranchCommit(commit_id, target.ref, target.is_checked_out, created=bool(entries))
        if not entries:
            refresh_index(git, commit, edits)
            return commit
        refusal = _move(git, target, commit_id, edits)
        if refusal is None:
            return commit
        # Somebody committed, or holds the branch's lock for a moment: build on what is there then.
        time.sleep(_FIRST_PAUSE_S * 2**attempt)
    raise DataCommitError(
        f"{target.ref} could not be moved in {_ATTEMPTS} attempts: {refusal}",
        fix="wait until no other process commits to it, then run again",
    )


def _move(git: Git, target: Target, commit_id: str, edits: Mapping[str, Edit]) -> str | None:
    """Move the branch, and the person's index with it; None, or why git did not.

    Whoever commits reads the branch, then the index, and only then locks one and the other. So the index is in its
    place before the branch moves, and the branch is locked before the index changes: with the new branch they see the
    new index, and a commit that began on the old branch is refused by git, which finds another one. The other way
    round they would build on our commit and take its change back.
    """
    with edited_index(git) if target.is_checked_out else nullcontext() as index:
        has_changed = index is not None and _bring_along(git, commit_id, edits, index.variables)
        with prepared_move(git, target, commit_id) as move:
            if move.refusal is not None or index is None or not has_changed:
                return move.commit()
            index.put_in_place()
            try:
                refusal = move.commit()
            except BaseException:
                index.put_back()
                raise
            if refusal is not None:
                index.put_back()
            return refusal


def _edited_entries(git: Git, base: str | None, edits: Mapping[str, Edit]) -> dict[str, _Entry]:
    """The entries, of those that have an edit, that differ from the base commit's."""
    entries = {}
    for path, edit in edits.items():
        old = _entry_in_commit(git, base, path) if base else None
        new = _edited(git, path, old, edit)
        if new is not None:
            entries[path] = new
    return entries


def _edited(git: Git, path: str, old: _Entry | None, edit: Edit) -> _Entry | None:
    content = edit(_content(git, old.blob) if old else None)
    if content is None:
        return None
    new = _Entry(old.mode if old else _REGULAR_FILE, git.write_blob(content, path))
    return None if new == old else new


@lru_cache(maxsize=16)
def _content(git: Git, blob: str) -> bytes:
    """A blob's bytes, which its id stands for: the branch and the index mostly have the same ones."""
    return git.read_blob(blob)


def _entry_in_commit(git: Git, commit: str, path: str) -> _Entry | None:
    fields = git.run("ls-tree", "-z", commit, "--", path).partition("\t")[0].split()
    return _Entry(fields[0], fields[2]) if fields and fields[1] == "blob" else None


def _write_commit(git: Git, base: str | None, entries: Mapping[str, _Entry], message: str) -> str:
    tree = _write_tree(git, base, entries)
    parents = ["-p", base] if base else []
    # Without `-S` it is not signed, whatever commit.gpgSign says: a machine does not sign in the person's name.
    return git.run(
        "-c",
        "i18n.commitEncoding=UTF-8",
        "commit-tree",
        tree,
        *parents,
        stdin=f"{message.rstrip()}\n".encode(),
        variables=git.identity(),
    )


def _write_tree(git: Git, base: str | None, entries: Mapping[str, _Entry]) -> str:
    """A tree that is as another one but for some entries, by their paths in it; None: it has only these."""
    listed = git.run("ls-tree", "-z", base).split("\0") if base else []
    lines = {line.partition("\t")[2]: line for line in listed if line}
    folders: dict[str, dict[str, _Entry]] = {}
    for path, entry in entries.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = entry
        else:
            lines[name] = f"{entry.mode} blob {entry.blob}\t{name}"
    for name, inner in folders.items():
        _, kind, found = lines[name].partition("\t")[0].split() if name in lines else ("", "", "")
        lines[name] = f"{_FOLDER} tree {_write_tree(git, found if kind == 'tree' else None, inner)}\t{name}"
    # What is listed may be missing: a partial clone would fetch all of it only to see that it is there.
    return git.run(
        "mktree",
        "-z",
        "--missing",
        stdin="".join(f"{line}\0" for line in lines.values()).encode(errors="surrogateescape"),
    )


def _index_info(entries: Mapping[str, _Entry]) -> bytes:
    """What `update-index --index-info -z` reads; mode 0 takes an entry out."""
    lines = [f"{entry.mode} {entry.blob}\t{path}\0" for path, entry in entries.items()]
    return "".join(lines).encode(errors="surrogateescape")


def refresh_index(git: Git, commit: BranchCommit, edits: Mapping[str, Edit]) -> None:
    """Apply the edits to the person's index too, or `git status` would show our commit as staged for reversal.

    It runs where nothing was new, and so repairs an index that something else left behind.

    Args:
        git: The repository.
        commit: The commit.
        edits: As in `commit_edits`.

    Raises:
        DataCommitError: git refused, or somebody else holds the index.
    """
    if not commit.is_checked_out or not _index_entries(git, commit.commit_id, edits, None):
        return
    try:
        with edited_index(git) as index:
            if _bring_along(git, commit.commit_id, edits, index.variables):
                index.put_in_place()
    except DataCommitError as error:
        raise DataCommitError(
            f"the data is committed as {commit.commit_id}, but git's index could not be brought along: {error.what}",
            fix=error.fix,
        ) from None


def forget_in_index(git: Git, commit_id: str, paths: Iterable[str]) -> bool:
    """Take the files of a commit that was never made out of the person's index, where a killed process had put them.

    Only entries that are exactly the commit's are put back to what `HEAD` has.

    Returns:
        Whether there was any.

    Raises:
        DataCommitError: git refused, or somebody else holds the index.
    """
    if git.commit_at(commit_id) is None:
        return False
    head, nothing = git.commit_at("HEAD"), _Entry("0", "0" * len(commit_id))
    entries: dict[str, _Entry] = {}
    for path in paths:
        ours, before = _entry_in_commit(git, commit_id, path), _entry_in_commit(git, head, path) if head else None
        if ours is not None and ours != before and _staged_entry(git, path, None) == ours:
            entries[path] = before or nothing
    if entries:
        with edited_index(git) as index:
            _put_in_index(git, entries, index.variables)
            index.put_in_place()
    return bool(entries)


def _bring_along(git: Git, commit_id: str, edits: Mapping[str, Edit], index: Mapping[str, str]) -> bool:
    """Apply the edits to an index; whether they change anything there."""
    entries = _index_entries(git, commit_id, edits, index)
    if entries:
        _put_in_index(git, entries, index)
    return bool(entries)


def _index_entries(
    git: Git, commit_id: str, edits: Mapping[str, Edit], index: Mapping[str, str] | None
) -> dict[str, _Entry]:
    found = {path: _index_entry(git, commit_id, path, edit, index) for path, edit in edits.items()}
    return {path: entry for path, entry in found.items() if entry is not None}


def _put_in_index(git: Git, entries: Mapping[str, _Entry], index: Mapping[str, str]) -> None:
    git.run("update-index", "-z", "--index-info", stdin=_index_info(entries), variables=index)
    # Only stat data, and only of our paths: plain diffs are then clean without reading the files again.
    git.attempt("add", "--refresh", "--", *entries, variables=index)


def _index_entry(git: Git, commit_id: str, path: str, edit: Edit, index: Mapping[str, str] | None) -> _Entry | None:
    lines = _staged_lines(git, path, index)
    if not lines:
        committed = _entry_in_commit(git, commit_id, path)
        is_ours_alone = committed is not None and _content(git, committed.blob) == edit(None)
        # Otherwise the person has staged the deletion of a file that holds lines of theirs.
        return committed if is_ours_alone else None
    staged = _staged_entry(git, path, index)
    return staged and _edited(git, path, staged, edit)


def _staged_lines(git: Git, path: str, index: Mapping[str, str] | None) -> list[str]:
    listed = git.run("ls-files", "--stage", "-z", "--", path, variables=index)
    return [line for line in listed.split("\0") if line]


def _staged_entry(git: Git, path: str, index: Mapping[str, str] | None) -> _Entry | None:
    lines = _staged_lines(git, path, index)
    mode, blob, stage = lines[0].partition("\t")[0].split() if lines else ("", "", "")
    # A stage above 0 is one side of a merge conflict, which only the person can resolve.
    return _Entry(mode, blob) if stage == "0" else None
