"""What MLflow and Dagster are told of a materialization: configuration, data read, results, and each other's pages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ftzard.assets.metadata import as_metadata, describe, picture
from ftzard.assets.pipeline import Pipeline
from ftzard.assets.step import Step, StepResult
from ftzard.composition import to_dict, to_yaml
from ftzard.config import FtzardConfig, TrackingConfig
from ftzard.core.records import ASSETS_DIR
from ftzard.resources.run_environment import log_environment
from ftzard.resources.run_operations import TrackedDataset
from ftzard.resources.tracked_run import TrackedRun
from ftzard.resources.tracking import RUN_ID_KEY

if TYPE_CHECKING:
    from ftzard.resources.dvc import DvcResource

# The description that MLflow shows at the top of a run's page.
_DESCRIPTION_TAG = "mlflow.note.content"


def provenance(dvc: "DvcResource", versions: Mapping[str, str]) -> dict[str, str]:
    """What a product is made from: the data commit, DVC's hash of the data, the versions of what is read."""
    return {
        "data_commit": dvc.repository.head() or "",
        "data_hash": dvc.repository.data_hash() or "",
        **read_versions(versions),
    }


def read_versions(versions: Mapping[str, str]) -> dict[str, str]:
    """How a product's provenance names the data versions that it was made from."""
    return {f"read.{name}": version for name, version in versions.items()}


def log_start(run: TrackedRun, step: Step, pipeline: Pipeline, versions: Mapping[str, str]) -> None:
    """Log with what a step begins: configuration, environment, the data that it reads, and where Dagster shows it."""
    _log_configuration(run, step.config)
    run.set_tags(_dagster_link(step))
    log_environment(run, step.project_dir, step.config.versioning.data_dir)
    run.log_datasets(_datasets_read(pipeline, step, versions))


def log_result(run: TrackedRun, result: StepResult[Any], *, number: int = 0, folder: str = "") -> None:
    """Log parameters, metrics, figures and texts of one result; of several each has its number and its folder."""
    if result.params:
        run.log_params({f"{folder}{name}": value for name, value in result.params.items()})
    run.log_metrics(result.metrics, step=number)
    for title, png in result.figures.items():
        run.log_bytes(png, f"figures/{folder}{title}.png")
    for path, text in result.texts.items():
        run.log_text(text, f"{folder}{path}")


def result_metadata(result: StepResult[Any], asset: str) -> dict[str, Any]:
    """What Dagster shows of a result of an asset."""
    return {
        **describe(result.value, asset),
        **as_metadata(result.metadata),
        **{title: picture(png, title) for title, png in result.figures.items()},
        **{name: float(value) for name, value in result.metrics.items()},
    }


def run_metadata(run: TrackedRun, config: TrackingConfig) -> dict[str, Any]:
    """The MLflow run by its id and, where MLflow's pages are, by a link."""
    ids = {RUN_ID_KEY: run.run_id, "mlflow_parent_run_id": run.parent_run_id}
    # A run that the server does not know yet has no page.
    base = config.pages_url if run.experiment_id else None
    if base is None:
        return ids
    page = f"{base.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    return {**ids, "mlflow_run": dg.MetadataValue.url(page)}


def _dagster_link(step: Step) -> dict[str, str]:
    base = step.config.tracking.dagster_url
    if base is None or not step.dagster_run_id:
        return {}
    page = f"{base.rstrip('/')}/runs/{step.dagster_run_id}"
    return {"ftzard.dagster_run_url": page, _DESCRIPTION_TAG: f"[The run in Dagster]({page})"}


def _log_configuration(run: TrackedRun, config: FtzardConfig) -> None:
    run.log_params(to_dict(config))
    run.log_text(to_yaml(config), "config.yaml")


def _datasets_read(pipeline: Pipeline, step: Step, versions: Mapping[str, str]) -> list[TrackedDataset]:
    """The inputs that are data; a verdict or a decision lies outside of the data folder."""
    folder = step.project_dir / step.config.versioning.data_dir / ASSETS_DIR
    stored = {path.stem for path in folder.iterdir()} if folder.is_dir() else set()
    data_hash, commit = step.provenance["data_hash"], step.provenance["data_commit"]
    return [
        TrackedDataset(pipeline.asset_key(name).to_user_string(), data_hash, "read", commit, version)
        for name, version in versions.items()
        if name in stored
    ]
