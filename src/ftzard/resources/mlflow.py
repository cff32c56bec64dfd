"""MLflow tracking as a Dagster resource."""

from functools import cached_property

import dagster as dg

from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking


class MlflowResource(dg.ConfigurableResource):  # type: ignore[type-arg] # its type variable is for other resources
    """The tracking store that `tracking.*` in the configuration names.

    It stands beside `dagster_mlflow.mlflow_tracking` and shares no state with it (docs/adr/0004).
    """

    configuration: dg.ResourceDependency[ConfigurationResource]

    @cached_property
    def tracking(self) -> Tracking:
        """The experiment of this run."""
        return Tracking(self.configuration.config.tracking, self.configuration.project_path)

    @cached_property
    def registry(self) -> AdapterRegistry:
        """The registered model that this run's adapters become versions of."""
        return AdapterRegistry(self.tracking)
