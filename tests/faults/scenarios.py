"""What is done while faults happen, and how it is judged. Nothing here computes in the process that forks."""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.injection import Fault, Kind, run_with
from tests.faults.project import Before, git, make_project, violations, violations_after_recovery

from ftzard.config import VersioningConfig
from ftzard.resources.versioning import DvcRepository


@dataclass
class Tally:
    """What a scenario showed.

    Attributes:
        scenario: Its name.
        num_faults: Faults that were made to happen.
        num_hit: How many of them ended the operation; the others came after its last change.
        violations: What must not be and was, each with its fault.
        unexplained: Errors of a full or failing disk that were not FTzard's own, each with its fault.
    """

    scenario: str
    num_faults: int = 0
    num_hit: int = 0
    violations: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line, and one for each thing that was wrong."""
        line = f"{self.scenario}: {self.num_faults} faults, {self.num_hit} hit, {len(self.violations)} violation(s)"
        return "\n".join([line, *(f"  {text}" for text in [*self.violations, *self.unexplained])])


def commit_scenario(kinds: Sequence[Kind], num_points: int | None, seed: int) -> Iterator[Tally]:
    """A data commit, with faults at `num_points` of its changes for each kind; None: at every one."""
    with tempfile.TemporaryDirectory(prefix="ftzard-faults-") as scratch:
        template = make_project(Path(scratch, "template"))
        run_with(Fault(), lambda: _commit(template))
        (template / "data" / "raw" / "second.csv").write_text("text,label\nA new cup was lovely,good\n")
        yield from _at_changes("data commit", template, Path(scratch), _commit, kinds, num_points, seed)


def pipeline_scenario(kinds: Sequence[Kind], num_points: int | None, seed: int) -> Iterator[Tally]:
    """The whole spine with a tiny model, with faults at `num_points` of its changes for each kind."""
    with tempfile.TemporaryDirectory(prefix="ftzard-faults-") as scratch:
        template = make_project(Path(scratch, "template"))
        yield from _at_changes("pipeline", template, Path(scratch), _materialize, kinds, num_points, seed)


def random_kills_scenario(num_kills: int, seed: int) -> Tally:
    """The whole spine, killed at random times."""
    import time

    tally = Tally("pipeline, random instants")
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    with tempfile.TemporaryDirectory(prefix="ftzard-faults-") as scratch:
        template = make_project(Path(scratch, "template"))
        start = time.monotonic()
        expected = _expected(template, Path(scratch), _materialize)
        duration_s = time.monotonic() - start
        for number in range(num_kills):
            fault = Fault("kill", after_s=draw.uniform(0.0, duration_s))
            _try(tally, template, Path(scratch, f"random-{number}"), _materialize, fault, expected)
    return tally


def _at_changes(
    name: str,
    template: Path,
    scratch: Path,
    operation: Callable[[Path], Any],
    kinds: Sequence[Kind],
    num_points: int | None,
    seed: int,
) -> Iterator[Tally]:
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    trial = shutil.copytree(template, scratch / "trial", symlinks=True)
    outcome = run_with(Fault(), lambda: operation(trial))
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)
    for kind in kinds:
        tally = Tally(f"{name}, {kind}")
        points = list(range(1, outcome.num_changes + 1))
        if num_points is not None and num_points < len(points):
            points = sorted(draw.sample(points, num_points))
        for point in points:
            folder = scratch / f"{kind}-{point}"
            _try(tally, template, folder, operation, Fault(kind, at_change=point), outcome.value)
        yield tally


def _expected(template: Path, scratch: Path, operation: Callable[[Path], Any]) -> Any:
    folder = shutil.copytree(template, scratch / "expected", symlinks=True)
    outcome = run_with(Fault(), lambda: operation(folder))
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)
    return outcome.value


def _try(
    tally: Tally, template: Path, folder: Path, operation: Callable[[Path], Any], fault: Fault, expected: Any
) -> None:
    project = shutil.copytree(template, folder, symlinks=True)
    before = Before.of(project)
    struck = run_with(fault, lambda: operation(project))
    tally.num_faults += 1
    tally.num_hit += struck.exit_code != 0
    tally.violations += [f"{fault}: {what}" for what in violations(project, before)]
    if not struck.is_explained:
        tally.unexplained.append(f"{fault}: {struck.error}")
    again = run_with(Fault(), lambda: operation(project))
    if again.exit_code != 0:
        tally.violations.append(f"{fault}: one more run failed: {again.error}")
    elif again.value != expected:
        tally.violations.append(f"{fault}: one more run gave {again.value}, not {expected}")
    tally.violations += [f"{fault}, recovered: {what}" for what in violations(project, before)]
    tally.violations += [f"{fault}, recovered: {what}" for what in violations_after_recovery(project)]
    shutil.rmtree(folder)


def _commit(project: Path) -> str:
    commit = DvcRepository(project, VersioningConfig()).commit("Data")
    if git(project, "rev-parse", "HEAD") != commit.commit_id:
        message = "the commit that was returned is not the branch's tip"
        raise AssertionError(message)
    return commit.data_hash


def _materialize(project: Path) -> dict[str, str]:
    """Materialize what is stale; returns the version of each asset but the facts about runs."""
    import dagster as dg

    from ftzard.assets.tracked import latest_data_version
    from ftzard.dagster_instance import project_instance
    from ftzard.definitions import IO_MANAGERS, SPINE
    from ftzard.materialization import materialize

    materialize(project, ["experiment=tiny"])
    with project_instance(project) as instance:
        names = [asset.name for asset in SPINE if IO_MANAGERS[asset.io].commits]
        versions = {name: latest_data_version(instance, dg.AssetKey(name)) or "" for name in names}
        if running := instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            message = f"{len(running)} Dagster run(s) are left running"
            raise AssertionError(message)
    # The rest holds ids of commits and runs, which differ from run to run.
    return {name: versions[name] for name in ("raw_data", "cleaned", "splits", "predictions")}


def preload() -> None:
    """Import what the operations need once, so that each process begins with it."""
    import importlib

    for name in (
        "dvc.repo",
        "dvc.api",
        "mlflow",
        "torch",
        "transformers",
        "peft",
        "sqlalchemy",
        "ftzard.materialization",
    ):
        importlib.import_module(name)
