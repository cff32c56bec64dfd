"""`python -m tests.faults [--short]`: every fault, its counts, and exit code 1 where an invariant did not hold."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.faults import damage, operations, others, scenarios, servers
from tests.faults.injection import Kind
from tests.faults.templates import Templates
from tests.faults.trials import Tally

_SCENARIOS = ("commit", "pairs", "remotes", "damage", "random", "person", "tracking", "pipeline")
_KINDS: tuple[Kind, ...] = ("kill", "cut", "no_space", "io_error", "full")
_ROOM_IN_MEMORY = 2**30


def _tallies(arguments: argparse.Namespace, scratch: Path) -> Iterator[Tally]:
    templates = Templates(scratch)
    short, seed, jobs, wanted = arguments.short, arguments.seed, arguments.jobs, arguments.scenarios
    if "commit" in wanted:
        yield from scenarios.commit_scenario(templates, scratch, _KINDS, 1 if short else None, seed, jobs)
    if "pairs" in wanted:
        yield others.pairs_scenario(templates, scratch, 2 if short else 95, 0 if short else 5, seed, jobs)
    if "remotes" in wanted:
        yield servers.remotes_scenario(templates, scratch, 1 if short else 15, seed, jobs)
    if "damage" in wanted:
        num_files = None if short else arguments.files
        yield from damage.damage_scenario(templates, scratch, num_files, seed, jobs)
    if "random" in wanted:
        yield scenarios.random_kills_scenario(templates, scratch, 1 if short else 200, seed, jobs)
    if "person" in wanted:
        yield others.person_scenario(templates, scratch, 1 if short else 20, seed, jobs)
    if "tracking" in wanted:
        yield servers.tracking_scenario(templates, scratch, 1 if short else 15, seed, jobs)
    if "pipeline" in wanted:
        kinds: tuple[Kind, ...] = ("cut",) if short else _KINDS
        yield from scenarios.pipeline_scenario(templates, scratch, kinds, 1 if short else 60, seed, jobs)


def main() -> int:
    """Run the scenarios and print what they showed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=[*_SCENARIOS], help=f"some of {', '.join(_SCENARIOS)}")
    parser.add_argument("--short", action="store_true", help="a few faults of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many trials run side by side")
    parser.add_argument("--files", type=int, default=4, help="how many files of each kind are damaged")
    parser.add_argument("--json", type=Path, help="also write the counts here")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ftzard-faults-", dir=_memory()) as folder:
        _isolate(Path(folder) / "home")
        # Data commits alone need no model.
        is_commit = arguments.scenarios == ["commit"]
        operations.preload(Path(folder), operations.commit if is_commit else operations.materialize)
        tallies = []
        for tally in _tallies(arguments, Path(folder)):
            print(tally, flush=True)  # noqa: T201 - what this command is for
            tallies.append(tally)
            if arguments.json is not None:
                # After each, so that a run that is broken off has told what it found.
                text = json.dumps(_document(arguments, tallies, time.monotonic() - start), indent=2)
                arguments.json.write_text(f"{text}\n", encoding="utf-8")
    found = sum(len(tally.violations) + len(tally.unexplained) for tally in tallies)
    num_faults, num_hit = sum(tally.num_faults for tally in tallies), sum(tally.num_hit for tally in tallies)
    seconds = time.monotonic() - start
    said = "No invariant was violated." if not found else f"{found} violation(s)."
    print(f"{num_faults} faults, {num_hit} hit, {seconds:.0f} s. {said}")  # noqa: T201
    return min(found, 1)


def _memory() -> Path | None:
    """In memory, where there is room: each change is synced to disk otherwise, which says nothing about kills."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    has_room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_IN_MEMORY
    return memory if has_room else None


def _isolate(home: Path) -> None:
    """Neither the machine's configuration nor a person's has a say; and trials side by side share the processors."""
    home.mkdir()
    os.environ |= {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        # More would be threads in the process that forks.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _document(arguments: argparse.Namespace, tallies: list[Tally], seconds: float) -> dict[str, object]:
    from importlib.metadata import version

    libraries = ("ftzard", "dagster", "mlflow", "dvc", "polars", "torch", "transformers", "peft", "sqlalchemy")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": arguments.seed,
        "seconds": round(seconds, 1),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in libraries},
        "num_faults": sum(tally.num_faults for tally in tallies),
        "num_hit": sum(tally.num_hit for tally in tallies),
        "num_violations": sum(len(tally.violations) for tally in tallies),
        "num_unexplained": sum(len(tally.unexplained) for tally in tallies),
        "scenarios": [tally.to_dict() for tally in tallies],
    }


if __name__ == "__main__":
    sys.exit(main())
