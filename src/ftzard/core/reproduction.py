"""Two adapter directories side by side: is the second what the first was?

On a CPU that is a question of bytes. On CUDA the same training may add up the same numbers in another order, and what
is asked there is whether the two can be told apart by their answers on the test split.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import AdapterManifest, read_manifest
from ftzard.core.bootstrap import CONFIDENCE_LEVEL
from ftzard.core.evaluation_report import Interval
from ftzard.core.task_judging import compare_any, predict_any

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from ftzard.config import EvaluationConfig, FtzardConfig
    from ftzard.core.records import AdapterDirectory

Agreement = Literal["bit for bit", "within the interval", "none"]


@dataclass(frozen=True)
class ScoreAgreement:
    """The adapter that was trained now beside the original on the same test rows.

    Attributes:
        original: Score of the original.
        again: Score of the one that was trained now.
        difference: The second minus the first, with its paired 95 % interval.
        num_rows: Test rows.
        metric: What is scored, in words.
    """

    original: float
    again: float
    difference: Interval
    num_rows: int
    metric: str = "macro-F1"

    @property
    def is_within(self) -> bool:
        """Whether no difference is shown."""
        return self.difference.low <= 0 <= self.difference.high

    def __str__(self) -> str:
        """For a person."""
        low, high = self.difference.low, self.difference.high
        return (
            f"{self.metric} {self.again:.3f} in the place of {self.original:.3f} on {self.num_rows} test rows, "
            f"a difference of {self.difference.value:+.3f} [{low:+.3f}, {high:+.3f}]"
        )


@dataclass(frozen=True)
class ReproductionReport:
    """What came of training an adapter once more.

    Attributes:
        original: Checksum of the adapter that was to be reproduced.
        again: Checksum of the one that was trained now.
        differences: In words, one for each file or tensor that differs.
        other_versions: In words, one for each version, device or number of threads that is another one.
        scores: How both answer on the test split, where bytes do not decide; None where they do.
    """

    original: str
    again: str
    differences: tuple[str, ...]
    other_versions: tuple[str, ...]
    scores: ScoreAgreement | None = None

    @property
    def agreement(self) -> Agreement:
        """In what the second is what the first was."""
        if not self.differences:
            return "bit for bit"
        return "within the interval" if self.scores is not None and self.scores.is_within else "none"

    @property
    def is_reproduced(self) -> bool:
        """Whether every file is the same, byte for byte, or the answers are where bytes do not decide."""
        return self.agreement != "none"

    def lines(self) -> list[str]:
        """The report for a person."""
        verdict = f"reproduced, {self.agreement}" if self.is_reproduced else "NOT reproduced"
        return [
            f"adapter {self.original}: {verdict}{f': {self.again}' if self.differences else ''}",
            *([] if self.scores is None else [f"  scores: {self.scores}"]),
            *(f"  version: {line}" for line in self.other_versions),
            *(f"  differs: {line}" for line in self.differences),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "reproduced": self.is_reproduced,
            "agreement": self.agreement,
            "original": self.original,
            "again": self.again,
            "differences": list(self.differences),
            "other_versions": list(self.other_versions),
            "scores": None if self.scores is None else asdict(self.scores),
        }


def judge(
    original: "AdapterDirectory",
    again: "AdapterDirectory",
    device: str,
    recorded: "Callable[[], pl.DataFrame]",
    test: "pl.DataFrame",
    config: "FtzardConfig",
) -> ReproductionReport:
    """Compare an adapter with the original.

    Args:
        original: Verified.
        again: Trained now, and verified.
        device: What the original was trained on. On a CPU bytes decide, on `cuda` answers where only weights differ.
        recorded: What the original answered on the test split; asked for where answers decide.
        test: The test split, `EXAMPLE_SCHEMA`.
        config: Where `again` answers, and the bootstrap.

    Raises:
        FtzardError: As `predict_any` and `compare_any`.
    """
    before, after = read_manifest(original.path), read_manifest(again.path)
    differences = adapter_differences(original.path, before, again.path, after)
    files = {line for line in differences if line.startswith("file ")}
    scores = None
    if device == "cuda" and files == {f"file {WEIGHTS_NAME}"}:
        scores = score_agreement(recorded(), predict_any(again, test, config), config.evaluation)
    versions = version_differences(before, after)
    return ReproductionReport(original.checksum, again.checksum, differences, versions, scores)


def score_agreement(original: "pl.DataFrame", again: "pl.DataFrame", config: "EvaluationConfig") -> ScoreAgreement:
    """Compare two adapters' answers for the same rows by the metric of their task.

    Args:
        original: `prediction_schema` or `answer_schema`.
        again: Likewise, of the one that was trained now.
        config: Number of resamples and the seed.

    Raises:
        FtzardError: As `compare_any`.
    """
    # By convention, not at the level of the gate, on which something hangs.
    gate = replace(config.gate, significance=1 - CONFIDENCE_LEVEL)
    found = compare_any(again, original, "original", replace(config, gate=gate))
    return ScoreAgreement(found.other_score, found.score, found.difference, original.height, found.metric_in_words)


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
