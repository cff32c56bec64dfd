"""A pipeline as a Dagster component, for a code location that is written in YAML.

In a folder of the location's `defs/`, a file `defs.yaml`:

    type: ftzard.component.FtzardComponent
    attributes:
      project_dir: "{{ project_root }}/sentiment"
      overrides: ["experiment=demo"]
      name: sentiment
"""

from pathlib import Path

import dagster as dg
from pydantic import Field

from ftzard.definitions import DEFAULT_NAME, build_definitions


class FtzardComponent(dg.Component, dg.Model, dg.Resolvable):
    """Continual fine-tuning of an LLM: from labelled files to an adapter that serves, as `ftzard.build_definitions`."""

    project_dir: str = Field(
        description="The project folder, as `ftzard init` makes it; a relative path is taken from this file's folder."
    )
    overrides: list[str] = Field(
        default=[], description="Overrides of the project's conf/ in Hydra's grammar, such as experiment=demo."
    )
    name: str = Field(default=DEFAULT_NAME, description="Keeps resources and jobs of two pipelines apart.")
    key_prefix: str | list[str] | None = Field(
        default=None, description="Prefix of the asset keys; by default the name, unless that is the default one."
    )
    deps: list[str] = Field(
        default=[],
        description="Keys of assets that put labelled files into the project's data folders, such as team/reviews: "
        "raw_data comes after them.",
    )
    automation: bool = Field(
        default=False,
        description="Whether the sensors run from the start; otherwise they are switched on in the browser.",
    )
    in_process: bool = Field(
        default=False,
        description="Whether all steps of a run share a process, which saves seconds for each. This is the executor of "
        "the whole code location, which can name no other one then.",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions.

        Raises:
            ConfigError: As `build_definitions`.
        """
        return build_definitions(
            self.overrides,
            name=self.name,
            key_prefix=self.key_prefix,
            project_dir=Path(context.path, self.project_dir),
            deps=[dg.AssetKey.from_user_string(key) for key in self.deps],
            executor=dg.in_process_executor if self.in_process else None,
            automation=self.automation,
        )
