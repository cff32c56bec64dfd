"""What a step asks of the machine, sampled by MLflow's own monitors beside the work and logged into its run."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, cast

from ftzard.resources.tracked_run import TrackedRun

logger = logging.getLogger(__name__)

# The names under which MLflow's page finds them.
_PREFIX = "system/"


class _Monitor(Protocol):
    """MLflow's monitors, which have no types."""

    def collect_metrics(self) -> None: ...

    def aggregate_metrics(self) -> Mapping[str, float]: ...

    def clear_metrics(self) -> None: ...


@contextmanager
def system_metrics_logged(run: TrackedRun, interval_s: float | None) -> Iterator[None]:
    """Log processor, memory, disk, network and, where NVML is installed, GPU use while the block runs.

    Each interval gives one point of each metric, and so does the end.

    Args:
        run: Where to.
        interval_s: Seconds between two samples; None logs nothing.
    """
    if interval_s is None:
        yield
        return
    monitors = _monitors()
    ended = threading.Event()
    thread = threading.Thread(
        target=_sample, args=(run, monitors, interval_s, ended), daemon=True, name="ftzard-system-metrics"
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _monitors() -> list[_Monitor]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    kinds = cast("list[Callable[[], _Monitor]]", [CPUMonitor, DiskMonitor, NetworkMonitor])
    found = [kind() for kind in kinds]
    try:
        found.append(cast("Callable[[], _Monitor]", GPUMonitor)())
    except (ImportError, RuntimeError) as error:
        # No GPU, or no `nvidia-ml-py`.
        logger.debug("no GPU metrics: %s", error)
    # The first sample of the processor says nothing: it is the use since the one before.
    found[0].collect_metrics()
    found[0].clear_metrics()
    return found


def _sample(run: TrackedRun, monitors: list[_Monitor], interval_s: float, ended: threading.Event) -> None:
    number = 0
    while True:
        is_last = ended.wait(interval_s)
        try:
            run.log_now(_collect(monitors), step=number)
        except Exception:
            # What the machine did is never worth a training.
            logger.exception("system metrics of MLflow run %s cannot be logged", run.run_id)
            return
        if is_last:
            return
        number += 1


def _collect(monitors: list[_Monitor]) -> dict[str, float]:
    found: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        found |= {f"{_PREFIX}{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return found
