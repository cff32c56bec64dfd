"""A project folder is one pipeline's.

Its data, labels, frozen test split, MLflow store and champion are found by fixed places and names. Two pipelines of a
code location in one project would train on each other's labels and judge their adapters beside each other's champion.
Definitions are only merged after they are built, so whoever begins to work looks who else is there.

In Dagster a pipeline's assets have a prefix of its own; the project needs it to find what Dagster knows of them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_shared.check import CheckError

from ftzard.assets.pipeline import Pipeline
from ftzard.errors import ConfigError

_PROJECT_KEY: Final = "ftzard/project"
_PIPELINE_KEY: Final = "ftzard/pipeline"
_PREFIXES_DIR: Final = ".ftzard/key-prefixes"


def place_metadata(pipeline: Pipeline, project_dir: Path) -> dict[str, Any]:
    """What one asset of a pipeline says of it: its name and its project, which Dagster shows."""
    return {_PIPELINE_KEY: pipeline.name, _PROJECT_KEY: dg.MetadataValue.path(str(project_dir))}


def note_prefix(pipeline: Pipeline, project_dir: Path) -> None:
    """Remember in the project under which prefix a pipeline's assets are known to Dagster."""
    if pipeline.key_prefix:
        folder = project_dir / _PREFIXES_DIR
        folder.mkdir(parents=True, exist_ok=True)
        # Parts have no dots in them, and a name of its own for each needs no lock.
        (folder / ".".join(pipeline.key_prefix)).touch()


def known_prefixes(project_dir: Path) -> tuple[tuple[str, ...], ...]:
    """Every prefix that the assets of a project were materialized under; first none, which leaves no note."""
    return ((), *(tuple(path.name.split(".")) for path in sorted((project_dir / _PREFIXES_DIR).glob("*"))))


def check_alone(
    context: dg.AssetExecutionContext | dg.SensorEvaluationContext, pipeline: Pipeline, project_dir: Path
) -> None:
    """Check that no other pipeline of the code location, as far as it is known, has this project.

    Args:
        context: Of a sensor, or of a step; `dg.materialize` and `execute_in_process` know their own job alone.
        pipeline: Who asks.
        project_dir: Its project folder, absolute.

    Raises:
        ConfigError: Another one has it.
    """
    places = (_place(metadata) for metadata in _metadata(context))
    names = {name for name, folder in places if folder == str(project_dir)} - {pipeline.name}
    if names:
        raise ConfigError(
            f"the pipelines {' and '.join(sorted({*names, pipeline.name}))} have the same project_dir, {project_dir}: "
            "they would take each other's data, labels, test split and champion for their own",
            fix="give each pipeline a project of its own: `ftzard init DIR` makes one, and project_dir names it; what "
            "they share can be written into both, as by `ftzard.write_batch`",
        )


def _place(metadata: Mapping[str, Any]) -> tuple[str, str]:
    name, folder = (metadata.get(key, "") for key in (_PIPELINE_KEY, _PROJECT_KEY))
    return str(name), str(getattr(folder, "value", folder))


def _metadata(context: dg.AssetExecutionContext | dg.SensorEvaluationContext) -> Iterable[Mapping[str, Any]]:
    try:
        repository = context.repository_def
        graph = repository.asset_graph if repository else None
    except CheckError:
        graph = context.job_def.asset_layer.asset_graph if isinstance(context, dg.AssetExecutionContext) else None
    return [node.metadata for node in graph.asset_nodes] if graph else []
