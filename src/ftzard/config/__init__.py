"""The configuration: frozen, validated, and the only place where a default is written.

Everything else (YAML under `conf/`, command-line overrides, the Launchpad) only says where it departs from these
defaults. The classes are pydantic dataclasses: an unknown key, a wrong type or a value out of range is an error however
the configuration was made, and `ftzard.composition` adds the file it came from.
"""

from ftzard.config.automation import AutomationConfig
from ftzard.config.data import DataConfig
from ftzard.config.evaluation import EvaluationConfig, GateConfig
from ftzard.config.labelling import LabellingConfig
from ftzard.config.launcher import LauncherConfig
from ftzard.config.model import GenerationConfig, ModelConfig
from ftzard.config.pipeline import FtzardConfig, decisive
from ftzard.config.tracking import TrackingConfig
from ftzard.config.training import LoraConfig, RetrainingConfig, TrainingConfig
from ftzard.config.tuning import SearchDimension, TuningConfig
from ftzard.config.versioning import VersioningConfig

__all__ = [
    "AutomationConfig",
    "DataConfig",
    "EvaluationConfig",
    "FtzardConfig",
    "GateConfig",
    "GenerationConfig",
    "LabellingConfig",
    "LauncherConfig",
    "LoraConfig",
    "ModelConfig",
    "RetrainingConfig",
    "SearchDimension",
    "TrackingConfig",
    "TrainingConfig",
    "TuningConfig",
    "VersioningConfig",
    "decisive",
]
