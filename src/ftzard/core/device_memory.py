"""How much memory a device has left, and how much a computation took at its peak."""

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ftzard.core.devices import Device

# Control groups, version 2 and version 1: what a container may have, and what it has.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_INTERVAL_S = 0.005
# Linux: what is written here is forgotten about the memory of this process.
_CLEAR_REFS = Path("/proc/self/clear_refs")


def free_bytes(device: "Device") -> int:
    """What a process can still get: of the GPU's memory, or of the machine's within the limit of its container."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        # What torch has reserved and does not use is free for torch.
        return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
    import psutil  # type: ignore[import-untyped]  # psutil ships no types

    limits = [_left(Path(limit), Path(used)) for limit, used in _CGROUPS]
    return min([int(psutil.virtual_memory().available), *(left for left in limits if left is not None)])


def _left(limit: Path, used: Path) -> int | None:
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        # There is no such group, or it says `max`.
        return None


class PeakMemory:
    """Measures the memory that a block takes beyond what was taken before it.

    On CUDA: torch's peak of allocated bytes. On the CPU: the peak of the process's resident memory, which Linux keeps
    and forgets on request; so a peak from before the block is no longer in the process's own figures. Where the system
    only keeps the peak of the process's whole life, a thread looks every few milliseconds, and a peak shorter than that
    can be missed.

    Args:
        device: Whose memory.

    Attributes:
        num_bytes: The peak, once the block is over.
    """

    def __init__(self, device: "Device") -> None:
        """Nothing is measured yet."""
        self._device = device
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ftzard-peak-memory", daemon=True)
        self.num_bytes = 0

    def __enter__(self) -> Self:
        """Begin."""
        import psutil

        if self._device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        self._process = psutil.Process()
        self._is_kept = _forget_peak()
        self._before = self._highest = self._process.memory_info().rss
        if not self._is_kept:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and tell the peak."""
        if self._device == "cuda":
            import torch

            self.num_bytes = torch.cuda.max_memory_allocated() - self._before
            return
        if self._is_kept:
            self._highest = max(self._highest, _peak())
        else:
            self._is_over.set()
            self._thread.join()
        self.num_bytes = self._highest - self._before

    def _watch(self) -> None:
        while not self._is_over.wait(_INTERVAL_S):
            self._highest = max(self._highest, self._process.memory_info().rss)


def _forget_peak() -> bool:
    """Make the peak of this process's resident memory what it has now; False where the system cannot (proc(5))."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int:
    import resource

    # Kilobytes on Linux, the only system that comes here.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
