"""What `import ftzard.definitions` costs over `import dagster`.

Whoever uses FTzard pays for Dagster anyway; what counts is what comes on top, each time a code location is loaded and
in each process that Dagster starts for a step. Each import is timed in a fresh interpreter. The two take turns, so that
a machine that becomes slower or faster meanwhile does so for both, and the figures are medians: of each import, and of
the differences within the pairs. Beside the wall-clock time there is that of the CPU, which other people's work on the
machine disturbs less.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from benchmarks.report import Result, at_most

_NUM_PAIRS = 9
_MAX_DIFFERENCE_S = 0.4

_BASE, _OURS = "dagster", "ftzard.definitions"
_TIMED_IMPORT = """
import sys, time
wall, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def run(num_pairs: int = _NUM_PAIRS) -> Result:
    """Measure `num_pairs` pairs of imports, seconds each."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _with_bytecode_in(folder)
        # The first import of each writes the compiled bytecode, which nobody pays for twice.
        for module in (_BASE, _OURS):
            _time_import(module, environment)
        pairs = [(_time_import(_BASE, environment), _time_import(_OURS, environment)) for _ in range(num_pairs)]
    figures = {
        "dagster_s": statistics.median(base_s for (base_s, _), _ in pairs),
        "definitions_s": statistics.median(ours_s for _, (ours_s, _) in pairs),
        "definitions_over_dagster_s": statistics.median(ours_s - base_s for (base_s, _), (ours_s, _) in pairs),
        "definitions_over_dagster_cpu_s": statistics.median(ours_s - base_s for (_, base_s), (_, ours_s) in pairs),
    }
    return Result(figures, {"definitions_over_dagster_s": at_most(_MAX_DIFFERENCE_S)})


def _with_bytecode_in(folder: str) -> dict[str, str]:
    """This process' environment with a bytecode cache of its own.

    Installed packages usually have bytecode and a checkout may have none, above all where writing it is switched off;
    then compiling FTzard each time would be measured instead of importing it.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": folder}


def _time_import(module: str, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds that importing a module takes in a new interpreter: on the clock, and on the CPU."""
    # -P: what lies in the current folder is not what is measured.
    command = [sys.executable, "-P", "-c", _TIMED_IMPORT, module]
    answer = subprocess.run(command, capture_output=True, check=True, env=environment, text=True).stdout
    wall_s, cpu_s = answer.split()
    return float(wall_s), float(cpu_s)
