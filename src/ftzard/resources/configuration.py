"""The configuration as a Dagster resource: what makes `overrides` a list in the Launchpad."""

from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from ftzard.composition import compose, override, to_dict, validate
from ftzard.config import FtzardConfig
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.resources.run_lease import hold_lease


class ConfigurationResource(dg.ConfigurableResource):  # type: ignore[type-arg] # its type variable is for other resources
    """Composes the configuration of a run when the first step asks for it.

    Loading the definitions therefore neither imports Hydra nor reads `conf/`, and a run can override any value.
    """

    project_dir: str = Field(description="The project folder; every relative path is taken from it.")
    values: dict[str, Any] | None = Field(
        default=None, description="A whole configuration made in Python; absent: composed from the project's conf/."
    )
    base_overrides: list[str] = Field(default=[], description="Overrides that belong to the pipeline.")
    overrides: list[str] = Field(
        default=[],
        description="Overrides for this run, in Hydra's grammar: training.learning_rate=1e-4, experiment=tiny.",
    )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Hold the run's lease from before its first step, which may have to wait for a pool.

        Raises:
            StorageError: The disk does not take the lease.
        """
        if context.run_id:
            with disk_failures_explained():
                hold_lease(self.project_path, context.run_id)

    @classmethod
    def of(cls, config: FtzardConfig, project_dir: Path) -> "ConfigurationResource":
        """A resource for a configuration made in Python."""
        return cls(project_dir=str(project_dir), values=to_dict(config))

    @property
    def project_path(self) -> Path:
        """The project folder, absolute."""
        return Path(self.project_dir).resolve()

    @cached_property
    def config(self) -> FtzardConfig:
        """The validated configuration.

        Raises:
            ConfigError: Naming file, key, value and what is allowed.
        """
        overrides = [*self.base_overrides, *self.overrides]
        if self.values is None:
            return compose(overrides, project_dir=self.project_path)
        return override(validate(self.values), overrides)
