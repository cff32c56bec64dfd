"""Processes that die, and disks that refuse, while data is committed or the whole spine is materialized."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import operations
from tests.faults.injection import Fault, Kind, Outcome, run_with
from tests.faults.project import Before, violations, violations_after_recovery
from tests.faults.templates import Templates, copy_project
from tests.faults.trials import Finding, Tally, Trial, run_trials

# MLflow's tables are a fifth of a first run, and seldom what a kill is about.
_FRESH_EVERY = 10


def commit_scenario(
    templates: Templates, scratch: Path, kinds: Sequence[Kind], num_points: int | None, seed: int, jobs: int
) -> Iterator[Tally]:
    """A data commit, with faults at `num_points` of its changes for each kind; None: at every one."""
    template = copy_project(templates.fresh, scratch / "committed")
    run_with(Fault(), lambda: operations.commit(template))
    (template / "data" / "raw" / "second.csv").write_text("text,label\nA new cup was lovely,good\n")
    yield from _at_changes("data commit", template, scratch, operations.commit, kinds,
                           num_points, seed, jobs)  # fmt: skip


def pipeline_scenario(
    templates: Templates, scratch: Path, kinds: Sequence[Kind], num_points: int, seed: int, jobs: int
) -> Iterator[Tally]:
    """The whole spine with a tiny model, with faults at `num_points` of its changes for each kind."""
    yield from _at_changes("pipeline", templates.stored, scratch, operations.materialize, kinds, num_points, seed, jobs)


def random_kills_scenario(templates: Templates, scratch: Path, num_kills: int, seed: int, jobs: int) -> Tally:
    """The whole spine, killed at random times: on its first run, and when a second batch has come."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    names = [_template_of(number) for number in range(num_kills)]
    expected = {}
    for name in dict.fromkeys(names):
        folder = copy_project(getattr(templates, name), scratch / f"expected-{name}")
        expected[name] = _done(lambda folder=folder: operations.materialize(folder))  # type: ignore[misc]
    trials = []
    for name in names:
        fault = Fault("kill", after_s=draw.uniform(0.0, expected[name].duration_s))
        trials.append(
            Trial(
                f"{fault}, {name}",
                _trial(getattr(templates, name), operations.materialize, fault, expected[name].value),
            )
        )
    return run_trials("pipeline, kills at random instants", trials, scratch, jobs)


def _template_of(number: int) -> str:
    if number % _FRESH_EVERY == _FRESH_EVERY - 1:
        return "fresh"
    return "stored" if number % 2 else "second_batch"


def _at_changes(  # noqa: PLR0913, PLR0917 - the two scenarios above, in full
    name: str, template: Path, scratch: Path, operation: Callable[[Path], Any], kinds: Sequence[Kind],
    num_points: int | None, seed: int, jobs: int,
) -> Iterator[Tally]:  # fmt: skip
    trial = copy_project(template, scratch / f"trial-{name.replace(' ', '-')}")
    outcome = _done(lambda: operation(trial))
    for kind in kinds:
        draw = random.Random(f"{seed} {name} {kind}")  # noqa: S311 - not for secrets
        points = list(outcome.openings) if kind == "cut" else list(range(1, outcome.num_changes + 1))
        if num_points is not None and num_points < len(points):
            points = sorted(draw.sample(points, num_points))
        faults = [Fault(kind, at_change=point, share=_share(kind, draw)) for point in points]
        trials = [Trial(str(fault), _trial(template, operation, fault, outcome.value)) for fault in faults]
        yield run_trials(f"{name}, {kind}", trials, scratch, jobs)


def _share(kind: Kind, draw: random.Random) -> float:
    """Small files are many, so that a small share of a MiB meets more of them."""
    return draw.choice([0.0, draw.uniform(0, 0.01), draw.random()]) if kind in {"cut", "full"} else 0.0


def _done(operation: Callable[[], Any]) -> Outcome:
    outcome = run_with(Fault(), operation)
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)
    return outcome


def _trial(template: Path, operation: Callable[[Path], Any], fault: Fault, expected: Any) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        project = copy_project(template, folder)
        before = Before.of(project)
        struck = run_with(fault, lambda: operation(project))
        finding = Finding(hit=struck.exit_code != 0, violations=list(violations(project, before)))
        if not struck.is_explained:
            finding.unexplained.append(struck.error)
        judge_recovery(finding, project, before, operation, expected)
        return finding

    return run


def judge_recovery(
    finding: Finding, project: Path, before: Before, operation: Callable[[Path], Any], expected: Any
) -> None:
    """One more run has to end with the content that a run without a fault ends with."""
    again = run_with(Fault(), lambda: operation(project))
    if again.exit_code != 0:
        finding.violations.append(f"one more run failed: {again.error or again.exit_code}")
    elif expected is not None and again.value != expected:
        finding.violations.append(f"one more run gave {again.value}, not {expected}")
    finding.violations += [f"recovered: {what}" for what in violations(project, before)]
    finding.violations += [f"recovered: {what}" for what in violations_after_recovery(project)]
