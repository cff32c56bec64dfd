"""The project's DVC repository as a Dagster resource."""

from functools import cached_property

import dagster as dg

from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.versioning import DvcRepository


class DvcResource(dg.ConfigurableResource):  # type: ignore[type-arg] # its type variable is for other resources
    """The data folder that `versioning.*` in the configuration names, and its commits."""

    configuration: dg.ResourceDependency[ConfigurationResource]

    @cached_property
    def repository(self) -> DvcRepository:
        """The repository of this run's project."""
        return DvcRepository(self.configuration.project_path, self.configuration.config.versioning)
