"""The names one pipeline uses in a code location."""

from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class Pipeline:
    """What keeps two pipelines in one code location apart.

    Attributes:
        name: Prefix of resource keys and job names; letters, digits and underscores.
        key_prefix: Prefix of asset keys.
    """

    name: str
    key_prefix: tuple[str, ...]

    def asset_key(self, name: str) -> dg.AssetKey:
        """The key of the pipeline's asset of this name."""
        return dg.AssetKey([*self.key_prefix, name])

    @property
    def configuration(self) -> str:
        """Resource key of the `ConfigurationResource`."""
        return f"{self.name}_configuration"

    @property
    def mlflow(self) -> str:
        """Resource key of the `MlflowResource`."""
        return f"{self.name}_mlflow"

    @property
    def dvc(self) -> str:
        """Resource key of the `DvcResource`."""
        return f"{self.name}_dvc"

    def io_manager(self, kind: str) -> str:
        """Resource key of the IO manager for a kind of value."""
        return f"{self.name}_{kind}_io"

    @property
    def incoming_partitions(self) -> str:
        """Name of the dynamic partitions: one for the content of each file that came in."""
        return f"{self.name}_incoming"
