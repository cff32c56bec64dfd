"""Continual fine-tuning of LLMs as Dagster assets: labelled text in, an adapter and honest numbers out.

The names below are the public surface; each is imported when it is first used, so that `import ftzard` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftzard.assets.step import Step, StepResult
    from ftzard.composition import compose
    from ftzard.config import FtzardConfig
    from ftzard.core.batch_objects import write_batch
    from ftzard.core.evaluation_report import EvaluationReport
    from ftzard.core.records import AdapterDirectory, Cleaned, Raw, Splits
    from ftzard.core.step_registry import cleaning_step
    from ftzard.definitions import build_definitions
    from ftzard.errors import FtzardError
    from ftzard.materialization import materialize

__all__ = [
    "AdapterDirectory",
    "Cleaned",
    "EvaluationReport",
    "FtzardConfig",
    "FtzardError",
    "Raw",
    "Splits",
    "Step",
    "StepResult",
    "build_definitions",
    "cleaning_step",
    "compose",
    "materialize",
    "write_batch",
]

_HOMES = {
    "AdapterDirectory": "ftzard.core.records",
    "Cleaned": "ftzard.core.records",
    "EvaluationReport": "ftzard.core.evaluation_report",
    "FtzardConfig": "ftzard.config",
    "FtzardError": "ftzard.errors",
    "Raw": "ftzard.core.records",
    "Splits": "ftzard.core.records",
    "Step": "ftzard.assets.step",
    "StepResult": "ftzard.assets.step",
    "build_definitions": "ftzard.definitions",
    "cleaning_step": "ftzard.core.step_registry",
    "compose": "ftzard.composition",
    "materialize": "ftzard.materialization",
    "write_batch": "ftzard.core.batch_objects",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module 'ftzard' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
