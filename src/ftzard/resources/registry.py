"""Adapters in MLflow's model registry: versions, and the alias `champion`."""

from dataclasses import dataclass

from ftzard.resources.tracking import Tracking


@dataclass(frozen=True)
class AdapterRegistry:
    """The registered model `tracking.registered_model` of one tracking store.

    Args:
        tracking: The store.
    """

    tracking: Tracking
