"""Run the benchmarks: all of them, or those that are named.

Each prints its figures and writes `benchmarks/results/NAME.json`. The exit status is 0 where all bars hold, 1 where one
does not or a benchmark could not run, and 2 for a name that does not exist.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import (
    active_learning,
    checkpoints,
    data_commit,
    data_size,
    definitions_import,
    estimate,
    forgetting,
    frozen_layers,
    generation,
    inference_throughput,
    launchers,
    near_duplicates,
    orchestration,
    quality,
    study,
    tracking,
    training_throughput,
)
from benchmarks.report import Result, lines, write
from ftzard.errors import FtzardError

# Cheap ones first, so that there is something to read soon.
BENCHMARKS: Mapping[str, Callable[[], Result]] = {
    "definitions_import": definitions_import.run,
    "near_duplicates": near_duplicates.run,
    "orchestration": orchestration.run,
    "data_commit": data_commit.run,
    "tracking": tracking.run,
    "data_size": data_size.run,
    "checkpoints": checkpoints.run,
    "training_throughput": training_throughput.run,
    "frozen_layers": frozen_layers.run,
    "study": study.run,
    "launchers": launchers.run,
    "estimate": estimate.run,
    "inference_throughput": inference_throughput.run,
    "active_learning": active_learning.run,
    "forgetting": forgetting.run,
    "generation": generation.run,
    "quality": quality.run,
}
RESULTS_DIR = Path(__file__).parent / "results"

_ALL_HOLD, _FAILED, _UNKNOWN_NAME = 0, 1, 2


def main(
    names: Sequence[str],
    benchmarks: Mapping[str, Callable[[], Result]] = BENCHMARKS,
    results_dir: Path = RESULTS_DIR,
) -> int:
    """Run benchmarks and report each as soon as it is done.

    Args:
        names: Which ones; all where none is named.
        benchmarks: What there is.
        results_dir: Where the JSON files go.

    Returns:
        The exit status.
    """
    unknown = [name for name in names if name not in benchmarks]
    if unknown:
        known = "\n  ".join(benchmarks)
        print(f"there is no benchmark {', '.join(unknown)}; there are:\n  {known}", file=sys.stderr)
        return _UNKNOWN_NAME
    # All are run, whatever the first ones say: people want the whole picture.
    outcomes = [_measure(name, benchmarks[name], results_dir) for name in names or benchmarks]
    return _ALL_HOLD if all(outcomes) else _FAILED


def _measure(name: str, run: Callable[[], Result], results_dir: Path) -> bool:
    """Run one benchmark, print and write what it measured; whether it ran and its bars hold."""
    print(f"{name} ...", file=sys.stderr)
    try:
        result = run()
    except FtzardError as error:
        print(f"{name} could not run: {error}", file=sys.stderr)
        return False
    print(*lines(name, result), sep="\n", flush=True)
    write(name, result, results_dir)
    return result.holds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
