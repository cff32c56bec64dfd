"""What each process of a training says of itself, so that the one that started it can tell what became of it.

A process writes `rank-N.json` into the output folder when it begins, and again when it ends. One that began and said
nothing more was killed, or crashed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import ftzard.errors
from ftzard.errors import FtzardError, TrainingProcessError

DONE: Final = 0
FAILED: Final = 1
# As for `ftzard.cli`.
USAGE: Final = 2
RANK_LOST: Final = 3
# 128 + SIGINT, as a shell says it.
INTERRUPTED: Final = 130

_FIX_FAILED = "read the log; `launcher=in_process` trains without another process"


@dataclass(frozen=True)
class RankReport:
    """One process of a training.

    Attributes:
        rank: Its number, from 0.
        pid: Its process id.
        exit_code: One of this module's; None while it runs, and where it was killed.
        error: The name of the class of what it failed with; empty where it did not fail.
        what: What went wrong.
        fix: What to do about it.
    """

    rank: int
    pid: int
    exit_code: int | None = None
    error: str = ""
    what: str = ""
    fix: str = ""

    def write(self, output: Path) -> None:
        """Put the report in the place of an earlier one."""
        path = output / f"rank-{self.rank}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def of(cls, rank: int, exit_code: int | None = None, error: BaseException | None = None) -> "RankReport":
        """This process's own report."""
        if error is None:
            return cls(rank, os.getpid(), exit_code)
        if isinstance(error, FtzardError):
            return cls(rank, os.getpid(), exit_code, type(error).__name__, error.what, error.fix)
        return cls(rank, os.getpid(), exit_code, type(error).__name__, f"{type(error).__name__}: {error}")


def read_reports(output: Path) -> list[RankReport]:
    """The reports that there are, in the order of the ranks."""
    found = [RankReport(**json.loads(path.read_text(encoding="utf-8"))) for path in output.glob("rank-*.json")]
    return sorted(found, key=lambda report: report.rank)


def failure(output: Path, num_processes: int, log: Path) -> FtzardError:
    """What went wrong in a training that did not end well: the first cause, not what followed from it.

    Args:
        output: The output folder.
        num_processes: How many there should have been.
        log: The folder of the logs, to be named.
    """
    reports = {report.rank: report for report in read_reports(output)}
    for report in reports.values():
        if report.exit_code == FAILED:
            return _told(report, log)
    silent = [report for report in reports.values() if report.exit_code is None]
    if silent:
        who = ", ".join(f"rank {each.rank} of {num_processes} (process {each.pid})" for each in silent)
        logs = ", ".join(str(log_file(log, each.rank)) for each in silent)
        return TrainingProcessError(
            f"{who} of the training is gone without a word: it was killed, or crashed; its log is {logs}",
            fix="look whether the machine ran out of memory (`dmesg`), then run again: the training goes on from "
            "its last checkpoint",
        )
    lost = [report.rank for report in reports.values() if report.exit_code == RANK_LOST]
    if lost:
        return TrainingProcessError(
            f"rank {lost[0]} of {num_processes} of the training lost the others; the logs are in {log}",
            fix="raise launcher.peer_timeout_s where the processes only were slow, and run again: the training goes on "
            "from its last checkpoint",
        )
    if any(report.exit_code == INTERRUPTED for report in reports.values()):
        return TrainingProcessError(
            f"the training was asked to end by somebody else; the logs are in {log}",
            fix="run again: it goes on from its last checkpoint",
        )
    missing = [rank for rank in range(num_processes) if rank not in reports]
    return TrainingProcessError(
        f"the training's processes could not be started (no word of rank {missing}); the logs are in {log}",
        fix=_FIX_FAILED,
    )


def log_file(folder: Path, rank: int) -> Path:
    """The log of a process."""
    return folder / f"rank-{rank}.log"


def _told(report: RankReport, log: Path) -> FtzardError:
    """The very error where it is one of FTzard's."""
    known = getattr(ftzard.errors, report.error, None)
    if isinstance(known, type) and issubclass(known, FtzardError):
        return known(report.what, fix=report.fix)
    return TrainingProcessError(
        f"rank {report.rank} of the training failed: {report.what}; its log is {log_file(log, report.rank)}",
        fix=_FIX_FAILED,
    )
