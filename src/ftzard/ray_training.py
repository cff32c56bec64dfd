"""Ray as a launcher: `python -m ftzard.ray_training NUM_PROCESSES JOB OUTPUT [options of ftzard.training_process]`.

A cluster of this machine alone is started for the training, which only who has its token can talk to, and ended with
it. Ray places the processes, one a task; what they do is `ftzard.training_process`. The exit code is 0 where all of
theirs are, else that of the first that ended otherwise.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from ftzard.resources.interruption import ask_to_end, end_with_standard_input
from ftzard.resources.rank_reports import read_reports

# Room for objects that tasks hand to each other; ours hand over a number.
_OBJECT_STORE_BYTES = 80 * 2**20
# How long the processes may take to save where they were, when whoever started this one is gone.
_GRACE_S = 20.0


def main(arguments: Sequence[str]) -> int:
    """Run the processes of a training; returns the exit code."""
    # Read by Ray when it is imported, and by each process of the cluster.
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's way to say that the cluster is for this machine: its servers then listen on the loopback interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # A task without a GPU is one on a CPU, and need not be kept from what there is.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    import ray

    size, own = int(arguments[0]), list(arguments[1:])
    end_with_standard_input(partial(_end, Path(own[1])))
    num_gpus = _num_gpus()
    with tempfile.TemporaryDirectory(prefix="ftzard-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=size,
            num_gpus=num_gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            _temp_dir=folder,
        )
        try:
            task = ray.remote(num_cpus=1, num_gpus=int(num_gpus >= size), max_retries=0)(run_rank)
            return _first_failure([task.remote(rank, size, own) for rank in range(size)])
        finally:
            ray.shutdown()


def run_rank(rank: int, size: int, arguments: Sequence[str]) -> int:
    """Run one process of a training from a process of Ray's, with which it ends; returns its exit code.

    It is none of Ray's own, because that would have no main thread that a signal could interrupt.
    """
    # Ray shows each task the GPU that it gave it, and no other.
    environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": "0"}
    command = [sys.executable, "-m", "ftzard.training_process", *arguments]
    # The pipe ends with Ray's process, however that ends.
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:  # noqa: S603 - no shell
        return process.wait()


def _end(output: Path) -> None:
    """Let the processes keep where they are; the cluster ends when they have, and would else take them with it."""
    for report in read_reports(output):
        with suppress(ProcessLookupError):
            os.kill(report.pid, signal.SIGTERM)
    time.sleep(_GRACE_S)
    ask_to_end()


def _first_failure(tasks: "Sequence[object]") -> int:
    import ray

    code, pending = 0, list(tasks)
    while pending:
        (done, *_), pending = ray.wait(pending)
        code = code or ray.get(done)
    return code


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _exit() -> NoReturn:
    # A process that a signal ended has a negative exit code.
    sys.exit(abs(main(sys.argv[1:])))


if __name__ == "__main__":
    _exit()
