"""A bit flipped, a byte cut or everything gone in each kind of file that a project stores, and then it is read.

What must come of it: the same content as without the damage, or an error of FTzard's that names the file and a way
back, after which it works. Never another content, a crash, a hang or a bare traceback.
"""

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tests.faults import operations
from tests.faults.injection import Fault, Outcome, run_with
from tests.faults.templates import Templates, copy_project
from tests.faults.trials import Finding, Tally, Trial, run_trials

Damage = Literal["flip", "cut", "empty"]
_DAMAGES: tuple[Damage, ...] = ("flip", "cut", "empty")
_TIMEOUT_S = 120.0
_MATERIALIZED = "materialize again"


@dataclass(frozen=True)
class StoredKind:
    """A kind of stored file.

    Attributes:
        name: As printed.
        pattern: What its path in the project matches.
        reads: Names of the operations that read it.
        undetectable: Why another content than without the damage cannot be noticed; empty where it must be.
    """

    name: str
    pattern: str
    reads: tuple[str, ...]
    undetectable: str = ""


_NO_CHECKSUM = "SQLite keeps no checksum of its pages, and a number in a row is as good as another"
_SETTINGS = "a setting that is valid is a person's to make; git shows what changed"
# The first that matches counts.
KINDS = (
    StoredKind(
        "Parquet of an asset", r"data/assets/(raw_data|cleaned|splits|predictions)\b.*", ("values", "materialize")
    ),
    StoredKind("adapter", r"data/assets/lora_adapter/.*", ("values", "materialize")),
    StoredKind("metrics report", r"data/assets/metrics\.json", ("values", "materialize")),
    StoredKind("serving record", r"data/assets/(incoming|incoming_predictions|label_queue)/.*", ("serving", "serve")),
    StoredKind("verdict or decision", r"\.ftzard/assets/.*", ("values", "materialize")),
    StoredKind("pointer data.dvc", r"data\.dvc", ("commit", "materialize")),
    StoredKind("listing in DVC's cache", r"\.dvc/cache/.*\.dir", ("checkout", "commit")),
    StoredKind("object in DVC's cache", r"\.dvc/cache/.*", ("checkout", "commit")),
    StoredKind("object in the remote", r"dvc-remote/.*", ("pull", "commit")),
    StoredKind("DVC's configuration", r"\.dvc/config", ("commit",), _SETTINGS),
    StoredKind("DVC's private files", r"\.dvc/tmp/.*", ("commit", "materialize")),
    StoredKind("MLflow's store", r"mlflow\.db", ("champion", "materialize"), _NO_CHECKSUM),
    StoredKind("registered adapter in MLflow", r"mlartifacts/.*/artifacts/adapter/.*", ("reproduce",)),
    StoredKind("evidence in MLflow", r"mlartifacts/.*/artifacts/evidence/.*", ("champion", "materialize")),
    StoredKind("registry copy of an adapter", r"\.ftzard/registry/[0-9a-f]{64}/.*", ("serve", "reproduce")),
    StoredKind("Dagster's storage", r"\.dagster/.*\.db", ("history", "materialize"), _NO_CHECKSUM),
    StoredKind("Dagster's settings", r"\.dagster/dagster\.yaml", ("history",), _SETTINGS),
    StoredKind("staged file", r"\.ftzard/incoming/[0-9a-f]{32}/content.*", ("serve",)),
    StoredKind("note of the store", r"\.ftzard/tracking\.seen", ("champion",)),
    StoredKind("what waits for a server", r"\.ftzard/outbox/.*/\d+\.json", ("send",)),
    StoredKind("configuration", r"conf/.*\.yaml", ("materialize",), _SETTINGS),
)

_SHORT = frozenset(
    {"Parquet of an asset", "adapter", "pointer data.dvc", "listing in DVC's cache", "evidence in MLflow"}
)


def damage_scenario(
    templates: Templates, scratch: Path, num_files: int | None, seed: int, jobs: int
) -> Iterator[Tally]:
    """Each kind of stored file, of each `num_files` files, with each damage; None: a few kinds, one damage each."""
    template = templates.served
    expected: dict[str, Outcome] = {}
    kinds = KINDS if num_files is not None else tuple(_in_short(kind) for kind in KINDS if kind.name in _SHORT)
    for name in sorted({read for kind in kinds for read in kind.reads}):
        project = copy_project(template, scratch / f"expected-{name}")
        expected[name] = run_with(Fault(), lambda name=name, project=project: READS[name](project))  # type: ignore[misc]
        if expected[name].exit_code != 0:
            raise RuntimeError(f"{name}: {expected[name].error}")
        shutil.rmtree(project)
    files = sorted(path for path in template.rglob("*") if path.is_file() and not path.is_symlink())
    names = [path.relative_to(template).as_posix() for path in files]
    draw = random.Random(f"{seed} damage")  # noqa: S311 - not for secrets
    for number, kind in enumerate(kinds):
        found = [name for name in names if _kind_of(name) == kind.name]
        if not found:
            raise RuntimeError(f"the project holds no {kind.name}")
        some = (_DAMAGES[number % len(_DAMAGES)],) if num_files is None else _DAMAGES
        trials = [
            Trial(f"{damage} of {name}", _trial(template, kind, name, damage, draw.random(), expected))
            for name in draw.sample(found, min(num_files or 1, len(found)))
            for damage in some
        ]
        yield run_trials(f"damaged {kind.name}", trials, scratch, jobs)


def _kind_of(name: str) -> str | None:
    return next((kind.name for kind in KINDS if re.fullmatch(kind.pattern, name)), None)


def _in_short(kind: StoredKind) -> StoredKind:
    """With the first of what reads it, which takes a second."""
    return replace(kind, reads=kind.reads[:1])


def _trial(
    template: Path, kind: StoredKind, name: str, damage: Damage, where: float, expected: dict[str, Outcome]
) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        finding = Finding()
        project = copy_project(template, folder)
        original = (project / name).read_bytes()
        if not original:
            return finding
        _damage(project / name, damage, where)
        for read in kind.reads:
            _judge(finding, project, name, original, kind, read, expected)
        return finding

    return run


def _damage(path: Path, damage: Damage, where: float) -> None:
    content = bytearray(path.read_bytes())
    if damage == "flip":
        bit = int(where * len(content) * 8)
        content[bit // 8] ^= 1 << bit % 8
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-1]), "empty": b""}[damage])
    path.chmod(mode)


def _judge(
    finding: Finding,
    project: Path,
    name: str,
    original: bytes,
    kind: StoredKind,
    read: str,
    outcomes: Mapping[str, Outcome],
) -> None:
    expected = outcomes[read].value
    outcome = run_with(Fault(), lambda: READS[read](project), timeout_s=_TIMEOUT_S)
    if outcome.exit_code == 0:
        if outcome.value == expected:
            finding.notes.append("the same content")
        elif kind.undetectable:
            finding.notes.append(f"another content, unnoticed: {kind.undetectable}")
        else:
            finding.violations.append(f"{read}: silently {_difference(outcome.value, expected)}")
        return
    finding.hit = True
    if not outcome.is_explained or outcome.exit_code < 0:
        finding.unexplained.append(f"{read}: {outcome.error or outcome.exit_code}")
        return
    finding.notes.append("an error that says what to do")
    if not _names(outcome.error, name):
        finding.violations.append(f"{read}: the error does not name the file: {_message(outcome.error)}")
    said = _go_back(project, name, original, _message(outcome.error))
    finding.notes.append(f"way back: {said}")
    again = run_with(Fault(), lambda: READS[read](project), timeout_s=_TIMEOUT_S)
    if again.exit_code != 0:
        finding.violations.append(f"{read}: after its way back ({said}): {_message(again.error)}")
        return
    found = again.value
    if said == _MATERIALIZED and read == "values":
        # Which took in the batch that had come: what is then expected are the versions of a run without damage.
        expected = outcomes["materialize"].value
        found = {asset: found[asset] for asset in expected}
    if found != expected and not kind.undetectable:
        finding.violations.append(f"{read}: after its way back ({said}), {_difference(found, expected)}")


def _message(error: str) -> str:
    """The error's own words, at the end of its traceback."""
    start = error.rfind("\nftzard.errors.")
    return error[start + 1 :].strip() if start >= 0 else error.strip()


def _names(error: str, name: str) -> bool:
    """By its path, its folder's, or the asset or commit that it belongs to."""
    message, path = _message(error), Path(name)
    known = [path.name, path.parent.name, path.stem]
    if name.startswith((".dvc/cache", "dvc-remote")):
        # Named by the first two digits' folder and the rest.
        known += [path.parent.name + path.name, "cache", "remote"]
    if name.startswith("mlartifacts"):
        known += ["version 1", "evidence", "adapter"]
    return any(word in message for word in known)


def _go_back(project: Path, name: str, original: bytes, message: str) -> str:
    """Do what the message says."""
    fix = message.partition("To fix it:")[2]
    if folder := re.search(r"delete the folder (\S+?)[;,]", fix):
        shutil.rmtree(folder[1])
        return "delete the folder"
    if deleted := re.search(r"(?:delete|remove) (?:the file )?`?(/\S+?)`?[;,.]", fix):
        Path(deleted[1]).unlink()
        return "delete the file"
    if done := _by_dvc(project, name, fix):
        return done
    if "git checkout" in fix:
        subprocess.run(["git", "checkout", "--", name], cwd=project, check=True, capture_output=True)
        return "git checkout"
    if "materialize" in fix and name.startswith(".ftzard/assets"):
        # Not here, where threads would be left that a fork takes for alive.
        run_with(Fault(), lambda: operations.materialize_by_force(project))
        return _MATERIALIZED
    (project / name).write_bytes(original)
    return "restored from a copy"


def _by_dvc(project: Path, name: str, fix: str) -> str | None:
    """Do what it says with DVC; None where it says nothing of that."""
    if command := re.search(r"`dvc (checkout --force [^`]+)` in ([^,;]+)", fix):
        _dvc(Path(command[2]), *command[1].split(" ", 2))
        return "dvc checkout"
    if "remove the broken object" in fix and name.startswith(".dvc/cache"):
        (project / name).unlink()
        _dvc(project, "fetch", "--all-commits")
        return "dvc fetch"
    if "run `dvc push`" in fix and name.startswith("dvc-remote"):
        (project / name).unlink()
        _dvc(project, "push")
        return "dvc push"
    return None


def _dvc(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True)


def _difference(found: Any, expected: Any) -> str:
    return f"another content: {found!r:.300}, not {expected!r:.300}"


READS: dict[str, Callable[[Path], Any]] = {
    "values": operations.load_values,
    "serving": operations.load_serving,
    "materialize": operations.materialize,
    "commit": operations.commit,
    "checkout": operations.checkout,
    "pull": operations.pull,
    "champion": operations.champion,
    "history": operations.history,
    "reproduce": operations.reproduce,
    "serve": operations.serve,
    "send": operations.send_waiting,
}
