"""The whole graph on one screen.

`build_definitions` makes a pipeline's `Definitions`; `defs` is the pipeline of the current folder, which is what
`dagster dev` loads. Loading composes no configuration and imports neither torch nor MLflow.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ftzard.assets.champion import champion
from ftzard.assets.checks import (
    adapter_beats_baseline,
    examples_fit_the_schema,
    no_test_row_is_trained_on,
    splits_are_disjoint,
)
from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.decision import retrain_decision
from ftzard.assets.evaluation import metrics, predictions
from ftzard.assets.labelling import label_queue
from ftzard.assets.neighbours import place_metadata
from ftzard.assets.pipeline import Pipeline
from ftzard.assets.serving import incoming, incoming_predictions
from ftzard.assets.tracked import Dep
from ftzard.assets.training import lora_adapter
from ftzard.assets.tuning import tuned_hyperparameters
from ftzard.automation import automation_sensor, conditions
from ftzard.composition import as_overrides, to_dict
from ftzard.config import FtzardConfig
from ftzard.dead_runs import in_process_tags
from ftzard.errors import ConfigError
from ftzard.io_managers.adapter import AdapterIOManager
from ftzard.io_managers.committing import ManagerType, define_io_manager
from ftzard.io_managers.document import (
    DecisionIOManager,
    HyperparametersIOManager,
    ReportIOManager,
    VerdictIOManager,
)
from ftzard.io_managers.label_queue import LabelQueueIOManager
from ftzard.io_managers.parquet import FrameIOManager, RecordIOManager
from ftzard.resources.configuration import ConfigurationResource
from ftzard.resources.dvc import DvcResource
from ftzard.resources.mlflow import MlflowResource
from ftzard.sensors import (
    LABELLED_BATCHES,
    dead_runs_sensor,
    incoming_files_sensor,
    labelled_batches_sensor,
    serving_job_name,
)

DEFAULT_NAME = "ftzard"
SPINE = (
    raw_data,
    cleaned,
    splits,
    retrain_decision,
    tuned_hyperparameters,
    lora_adapter,
    predictions,
    metrics,
    champion,
)
# One partition for each file that comes in.
SERVING = (incoming, incoming_predictions, label_queue)
CHECKS = (examples_fit_the_schema, splits_are_disjoint, no_test_row_is_trained_on, adapter_beats_baseline)

IO_MANAGERS: Mapping[str, ManagerType] = {
    "frame": FrameIOManager,
    "record": RecordIOManager,
    "adapter": AdapterIOManager,
    "report": ReportIOManager,
    "verdict": VerdictIOManager,
    "decision": DecisionIOManager,
    "hyperparameters": HyperparametersIOManager,
    "queue": LabelQueueIOManager,
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = re.compile(r"[A-Za-z0-9_]+")


def build_definitions(
    config: FtzardConfig | Sequence[str] = (),
    *,
    name: str = DEFAULT_NAME,
    key_prefix: str | Sequence[str] | None = None,
    project_dir: Path | str | None = None,
    deps: Sequence[Dep] = (),
    executor: dg.ExecutorDefinition | None = dg.in_process_executor,
    automation: bool = False,
) -> dg.Definitions:
    """Build the definitions of one pipeline, ready to merge into a code location.

    Args:
        config: A configuration made in Python, or overrides of the project's `conf/` in Hydra's grammar.
        name: Keeps resources and jobs of two pipelines apart.
        key_prefix: Prefix of the asset keys. None: no prefix for the default name, else the name.
        project_dir: The project folder (git, DVC, `data/`, `conf/`). None: the current folder.
        deps: Assets of the code location that put labelled files into the project's data folders, such as by
            `ftzard.write_batch`: in a run with them `raw_data` comes after them. By itself it follows the content of
            the files, whoever wrote them.
        executor: How the steps of a run are executed; one process by default, because starting one costs seconds.
            None leaves it to the code location, which may name an executor of its own only then.
        automation: Whether the sensors run from the start; otherwise somebody switches them on in the browser.

    Raises:
        ConfigError: `name` is not a Python identifier, `key_prefix` no prefix of names, or `config` neither a
            configuration nor a list of texts.
    """
    pipeline = make_pipeline(name, key_prefix)
    when = conditions(pipeline)
    assets: Sequence[Any] = (*SPINE, *SERVING)
    # So that a killed run is ended at once and not after a wait for the next step's process.
    folder = Path(project_dir or Path.cwd()).resolve()
    run_tags = in_process_tags(folder) if executor is dg.in_process_executor else {}
    with warnings.catch_warnings():
        # That a feature of Dagster may change is FTzard's concern, and no news for who loads a pipeline.
        warnings.simplefilter("ignore", dg.BetaWarning)
        built = [asset.build(pipeline, when.get(asset.name), deps if asset is raw_data else ()) for asset in assets]
    return dg.Definitions(
        assets=[_batches(pipeline, folder), *built],
        asset_checks=[check.build(pipeline) for check in CHECKS],
        jobs=[_spine_job(pipeline, run_tags), _serving_job(pipeline, run_tags)],
        sensors=_sensors(pipeline, run_tags, running=automation),
        resources=_resources(pipeline, config, folder),
        executor=executor,
    )


def make_pipeline(name: str, key_prefix: str | Sequence[str] | None = None) -> Pipeline:
    """The names a pipeline uses; see `build_definitions`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name = {name!r} cannot be part of a resource key", fix="use letters, digits and underscores"
        )
    if key_prefix is None:
        return Pipeline(name, () if name == DEFAULT_NAME else (name,))
    parts = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
    # They name the folders of the assets, too.
    if odd := [part for part in parts if not _PREFIX.fullmatch(part)]:
        raise ConfigError(
            f"key_prefix = {key_prefix!r} cannot be the prefix of asset keys: {odd[0]!r} is no part of one",
            fix='use letters, digits and underscores; several parts are a list, such as ["team", "sentiment"]',
        )
    return Pipeline(name, parts)


def _spine_job(pipeline: Pipeline, run_tags: Mapping[str, str]) -> Any:
    keys = [pipeline.asset_key(asset.name) for asset in SPINE]
    return dg.define_asset_job(
        f"{pipeline.name}_spine",
        selection=dg.AssetSelection.assets(*keys),
        description="From labelled files to the evaluation report.",
        tags=run_tags,
    )


def _serving_job(pipeline: Pipeline, run_tags: Mapping[str, str]) -> Any:
    keys = [pipeline.asset_key(asset.name) for asset in SERVING]
    return dg.define_asset_job(
        serving_job_name(pipeline),
        selection=dg.AssetSelection.assets(*keys),
        description="From incoming files to predictions and to the rows that are worth a label.",
        tags=run_tags,
    )


def _batches(pipeline: Pipeline, project_dir: Path) -> dg.AssetSpec:
    return dg.AssetSpec(
        pipeline.asset_key(LABELLED_BATCHES),
        group_name="data",
        kinds={"file"},
        owners=[f"team:{pipeline.name}"],
        metadata=place_metadata(pipeline, project_dir),
        description="The labelled batch files in the data folders: a person puts them there, a sensor tells of them.",
    )


def _sensors(pipeline: Pipeline, run_tags: Mapping[str, str], *, running: bool) -> list[dg.SensorDefinition]:
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    makers = (labelled_batches_sensor, incoming_files_sensor, dead_runs_sensor)
    return [*(make(pipeline, status) for make in makers), automation_sensor(pipeline, status, run_tags)]


def _resources(pipeline: Pipeline, config: FtzardConfig | Sequence[str], project_dir: Path) -> dict[str, Any]:
    given: dict[str, Any] = (
        {"values": to_dict(config)} if isinstance(config, FtzardConfig) else {"base_overrides": as_overrides(config)}
    )
    # Configured at launch, so that a run can bring overrides, and the resources that nest it follow them.
    configuration = ConfigurationResource.configure_at_launch(project_dir=str(project_dir), **given)
    keys = {"configuration": pipeline.configuration, "mlflow": pipeline.mlflow, "dvc": pipeline.dvc}
    return {
        pipeline.configuration: configuration,
        pipeline.mlflow: MlflowResource(configuration=configuration),
        pipeline.dvc: DvcResource(configuration=configuration),
        **{
            pipeline.io_manager(kind): define_io_manager(manager, **keys, key_prefix=pipeline.key_prefix)
            for kind, manager in IO_MANAGERS.items()
        },
    }


defs = build_definitions(automation=True)


def paused_definitions() -> dg.Definitions:
    """The same with sensors that wait for somebody to switch them on.

    For a look at a project that should not begin to train and to make data commits, such as FTzard's own repository.
    """
    return build_definitions()
