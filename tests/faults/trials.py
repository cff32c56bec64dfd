"""Trials: each in a process and a folder of its own, some side by side, and what they showed."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.injection import Fault, Victim

_TIMEOUT_S = 900.0
_POLL_S = 0.02


@dataclass
class Finding:
    """What one trial showed.

    Attributes:
        hit: Whether the fault did something, such as end the operation; otherwise it came after its last change.
        violations: What must not be and was.
        unexplained: Errors that were not FTzard's own.
        notes: What is counted besides, such as how something ended.
    """

    hit: bool = False
    violations: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One fault, and how it is judged.

    Attributes:
        name: Of the fault, as printed.
        run: Given a folder that does not exist yet.
    """

    name: str
    run: Callable[[Path], Finding]


@dataclass
class Tally:
    """What a scenario showed.

    Attributes:
        scenario: Its name.
        num_faults: Faults that were made to happen.
        num_hit: How many of them did something; the others came after the operation's last change.
        violations: What must not be and was, each with its fault.
        unexplained: Errors that were not FTzard's own, each with its fault.
        notes: How often what else was seen.
        seconds: How long it took.
    """

    scenario: str
    num_faults: int = 0
    num_hit: int = 0
    violations: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, name: str, finding: Finding) -> None:
        """Count a trial."""
        self.num_faults += 1
        self.num_hit += finding.hit
        self.violations += [f"{name}: {text}" for text in finding.violations]
        self.unexplained += [f"{name}: {text}" for text in finding.unexplained]
        for note in finding.notes:
            self.notes[note] = self.notes.get(note, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "notes": dict(sorted(self.notes.items()))}

    def __str__(self) -> str:
        """One line, and one for each thing that was wrong or is told besides."""
        line = (
            f"{self.scenario}: {self.num_faults} faults, {self.num_hit} hit, {len(self.violations)} violation(s), "
            f"{len(self.unexplained)} unexplained error(s), {self.seconds:.0f} s"
        )
        notes = [f"{number} x {note}" for note, number in sorted(self.notes.items())]
        return "\n".join([line, *(f"  {text}" for text in [*notes, *self.violations, *self.unexplained])])


def run_trials(scenario: str, trials: Sequence[Trial], scratch: Path, jobs: int) -> Tally:
    """Run trials, `jobs` of them side by side, each in a process forked from this one."""
    tally = Tally(scenario)
    start = time.monotonic()
    waiting = list(enumerate(trials))
    running: list[tuple[Trial, Path, Victim, float]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            number, trial = waiting.pop(0)
            folder = scratch / f"{scenario.replace(' ', '-').replace(',', '')}-{number}"
            victim = Victim.start(Fault(), lambda trial=trial, folder=folder: trial.run(folder))  # type: ignore[misc]
            running.append((trial, folder, victim, time.monotonic()))
        for item in list(running):
            trial, folder, victim, began = item
            if victim.is_over or time.monotonic() - began > _TIMEOUT_S:
                running.remove(item)
                outcome = victim.outcome(5.0)
                lost = Finding(violations=[f"the trial itself failed: {outcome.error or outcome.exit_code}"])
                tally.add(trial.name, outcome.value if isinstance(outcome.value, Finding) else lost)
                shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_POLL_S)
    tally.seconds = time.monotonic() - start
    return tally
