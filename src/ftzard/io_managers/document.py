"""Reports, verdicts and decisions as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.gate import PromotionVerdict
from ftzard.core.generation_report import GenerationReport
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.core.retrain_decision import RetrainDecision
from ftzard.core.set_report import LabelSetReport
from ftzard.errors import StorageError
from ftzard.io_managers.committing import CommittingIOManager
from ftzard.resources.tracked_run import TrackedRun

D = TypeVar("D", bound=JsonDocument)
_REPORTS: Final[Mapping[str, type[JsonDocument]]] = {
    "multi_label": LabelSetReport,
    "generation": GenerationReport,
    "preference": GenerationReport,
}


class DocumentIOManager(CommittingIOManager):
    """A `JsonDocument` as indented JSON, in the data folder and beside the run that made it."""

    extension = ".json"
    document: ClassVar[type[JsonDocument]]
    # Name of the MLflow artifact.
    artifact: ClassVar[str]

    def write(self, value: JsonDocument, path: Path) -> None:
        """Write strict JSON."""
        path.write_text(json.dumps(value.to_dict(), indent=2, ensure_ascii=False, allow_nan=False), encoding="utf-8")

    def read(self, path: Path) -> JsonDocument:
        """Read a document."""
        return read_document(self.document, path)

    def log_artifacts(self, run: TrackedRun, path: Path) -> None:
        """The document, whole, beside the metrics drawn from it."""
        run.log_text(path.read_text(encoding="utf-8"), self.artifact)


class ReportIOManager(DocumentIOManager):
    """An `EvaluationReport`, or a report of another task, which names it."""

    document = EvaluationReport
    artifact = "report.json"

    def read(self, path: Path) -> JsonDocument:
        """Read whichever of them it is."""
        return read_document(_REPORTS.get(_task_named_in(path), EvaluationReport), path)


class VerdictIOManager(DocumentIOManager):
    """A `PromotionVerdict`; the champion itself is in the registry."""

    document = PromotionVerdict
    artifact = "verdict.json"
    commits = False


class DecisionIOManager(DocumentIOManager):
    """A `RetrainDecision`."""

    document = RetrainDecision
    artifact = "decision.json"
    commits = False


class HyperparametersIOManager(DocumentIOManager):
    """`TunedHyperparameters`; the study itself is in Optuna's storage."""

    document = TunedHyperparameters
    artifact = "hyperparameters.json"
    commits = False


def _task_named_in(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return ""
    return str(content.get("task", "")) if isinstance(content, dict) else ""


def read_document(document: type[D], path: Path) -> D:
    """Read what `DocumentIOManager` wrote.

    Raises:
        StorageError: The file is no such document.
    """
    try:
        return document.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise StorageError(
            f"{path} is no {document.__name__}: {error}",
            fix="materialize the asset again, or restore the file with `dvc checkout`",
        ) from error
