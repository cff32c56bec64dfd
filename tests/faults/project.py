"""A project in which a person is in the middle of something, and what has to hold in it whatever happens to FTzard."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ftzard.resources.project_repository import init_project_repository

_THINGS = ("tea", "train", "film", "chair", "lamp", "bread", "song", "phone", "garden", "coat", "book", "rain")
_OPINIONS = {"was lovely": "good", "made my day": "good", "was awful": "bad", "ruined my day": "bad"}


def make_project(folder: Path) -> Path:
    """A project with a batch of 48 rows, and a person's staged, edited and untracked files."""
    init_project_repository(folder, remote=folder / "dvc-remote")
    batch = folder / "data" / "raw" / "opinions.csv"
    batch.parent.mkdir(parents=True)
    rows = [f"The {thing} {opinion},{label}" for thing in _THINGS for opinion, label in _OPINIONS.items()]
    batch.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    (folder / "paper.md").write_text("one\n", encoding="utf-8")
    with (folder / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write("/.ftzard/\n/.dagster/\n/mlflow.db*\n/mlartifacts/\n/dvc-remote/\n")
    git(folder, "add", "paper.md", ".gitignore")
    git(folder, "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "commit", "--quiet", "-m", "A paper")
    (folder / "paper.md").write_text("one\ntwo, staged\n", encoding="utf-8")
    (folder / "draft.md").write_text("staged and new\n", encoding="utf-8")
    git(folder, "add", "paper.md", "draft.md")
    (folder / "paper.md").write_text("one\ntwo, staged\nthree, not staged\n", encoding="utf-8")
    (folder / "untracked.md").write_text("nobody's\n", encoding="utf-8")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """What the person's own git says."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


@dataclass(frozen=True)
class Before:
    """What is remembered of a project before a fault."""

    tip: str
    work: dict[str, str]
    batches: dict[str, str]

    @classmethod
    def of(cls, project: Path) -> "Before":
        """The project as it is."""
        return cls(git(project, "rev-parse", "HEAD"), _persons_work(project), _hashes(project / "data" / "raw"))


def violations(project: Path, before: Before) -> Iterator[str]:
    """What must never be seen, not even directly after a kill."""
    work = _persons_work(project)
    yield from (f"the person's {name} changed" for name in before.work if work.get(name) != before.work[name])
    if _hashes(project / "data" / "raw") != before.batches:
        yield "the person's batches changed"
    ancestors = git(project, "rev-list", "HEAD").splitlines()
    if before.tip not in ancestors:
        yield "a commit was lost or rewritten"
    for commit in ancestors[: ancestors.index(before.tip)] if before.tip in ancestors else []:
        yield from (f"{commit[:12]}: {what}" for what in missing_objects(project, commit))


def violations_after_recovery(project: Path) -> Iterator[str]:
    """What must hold once one more operation has run."""
    ours = git(project, "status", "--porcelain", "--", "data.dvc", ".gitignore")
    if ours:
        yield f"git status shows FTzard's own files: {ours!r}"
    for pattern in (".git/*.lock", ".git/refs/**/*.lock", "data/assets/.*", ".ftzard/scratch/*/*", ".mlflow.db.new*"):
        yield from (f"{path.relative_to(project)} was left behind" for path in project.glob(pattern))
    yield from (f"the remote: {what}" for what in missing_objects(project, "HEAD", ("dvc-remote",)))
    if len(git(project, "rev-list", "--merges", "HEAD")) > 0:
        yield "the history is not linear"


def _persons_work(project: Path) -> dict[str, str]:
    names = ("paper.md", "draft.md", "untracked.md")
    return {
        **{f"file {name}": (project / name).read_bytes().hex() for name in names if (project / name).exists()},
        "staged changes": git(project, "diff", "--cached", "--", *names),
        "changes": git(project, "diff", "--", *names),
        "branch": git(project, "symbolic-ref", "HEAD"),
    }


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_STORES = (".dvc/cache", "dvc-remote")


def missing_objects(project: Path, commit: str, stores: Sequence[str] = _STORES) -> Iterator[str]:
    """Objects that a commit names and that none of these places has whole."""
    pointer = git(project, "show", f"{commit}:data.dvc")
    name = yaml.safe_load(pointer)["outs"][0]["md5"]
    listing = _cached(project, name, stores)
    if listing is None:
        yield f"the listing {name} is missing"
        return
    for entry in json.loads(listing):
        if _cached(project, entry["md5"], stores) is None:
            yield f"{entry['relpath']} is missing"


def _cached(project: Path, name: str, stores: Sequence[str]) -> bytes | None:
    for store in stores:
        path = project / store / "files" / "md5" / name[:2] / name[2:]
        if path.is_file():
            content = path.read_bytes()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == name.removesuffix(".dir"):
                return content
    return None
