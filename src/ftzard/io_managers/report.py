"""Evaluation reports as JSON files."""

import json
from pathlib import Path

from ftzard.core.evaluation_report import EvaluationReport
from ftzard.errors import StorageError
from ftzard.io_managers.committing import CommittingIOManager
from ftzard.resources.tracking import TrackedRun


class ReportIOManager(CommittingIOManager):
    """An `EvaluationReport` as indented JSON."""

    extension = ".json"

    def write(self, value: EvaluationReport, path: Path) -> None:
        """Write strict JSON."""
        path.write_text(json.dumps(value.to_dict(), indent=2, ensure_ascii=False, allow_nan=False), encoding="utf-8")

    def read(self, path: Path) -> EvaluationReport:
        """Read a report."""
        return read_report(path)

    def log_artifacts(self, run: TrackedRun, path: Path) -> None:
        """The report, whole, beside the metrics drawn from it."""
        run.log_text(path.read_text(encoding="utf-8"), "report.json")


def read_report(path: Path) -> EvaluationReport:
    """Read what `ReportIOManager` wrote.

    Raises:
        StorageError: The file is no report.
    """
    try:
        return EvaluationReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise StorageError(
            f"{path} is not a report: {error}",
            fix="materialize metrics again, or restore the file with `dvc checkout`",
        ) from error
