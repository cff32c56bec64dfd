"""Two adapter directories side by side: is the second what the first was, bit for bit?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftzard.core.adapter import WEIGHTS_NAME, AdapterManifest


@dataclass(frozen=True)
class ReproductionReport:
    """What came of training an adapter once more.

    Attributes:
        original: Checksum of the adapter that was to be reproduced.
        again: Checksum of the one that was trained now.
        differences: In words, one for each file or tensor that differs.
        other_versions: In words, one for each version, device or number of threads that is another one.
    """

    original: str
    again: str
    differences: tuple[str, ...]
    other_versions: tuple[str, ...]

    @property
    def is_reproduced(self) -> bool:
        """Whether every file is the same, byte for byte."""
        return not self.differences

    def lines(self) -> list[str]:
        """The report for a person."""
        verdict = "reproduced, bit for bit" if self.is_reproduced else f"NOT reproduced: {self.again}"
        return [
            f"adapter {self.original}: {verdict}",
            *(f"  version: {line}" for line in self.other_versions),
            *(f"  differs: {line}" for line in self.differences),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "reproduced": self.is_reproduced,
            "original": self.original,
            "again": self.again,
            "differences": list(self.differences),
            "other_versions": list(self.other_versions),
        }


def version_differences(before: AdapterManifest, after: AdapterManifest) -> tuple[str, ...]:
    """Name each library version, device, floating-point type or number of threads that is another one now."""
    was, now = before.versions | before.compute, after.versions | after.compute
    pairs = ((name, was.get(name, "unknown"), now.get(name, "unknown")) for name in sorted(was.keys() | now.keys()))
    return tuple(f"{name} was {old}, is {new}" for name, old, new in pairs if old != new)


def adapter_differences(
    original: Path, before: AdapterManifest, again: Path, after: AdapterManifest
) -> tuple[str, ...]:
    """Name each file, and of the weights each tensor, that differs between two verified adapters."""
    names = sorted(before.files.keys() | after.files.keys())
    found = [f"file {name}" for name in names if before.files.get(name) != after.files.get(name)]
    if before.files.get(WEIGHTS_NAME) != after.files.get(WEIGHTS_NAME):
        found += _tensor_differences(original / WEIGHTS_NAME, again / WEIGHTS_NAME)
    return tuple(found)


def _tensor_differences(original: Path, again: Path) -> list[str]:
    from safetensors.torch import load_file

    before, after = load_file(original), load_file(again)
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            found.append(f"tensor {name}: missing, or of another shape")
        elif not before[name].equal(after[name]):
            found.append(f"tensor {name}: by up to {float((before[name] - after[name]).abs().max()):g}")
    return found
