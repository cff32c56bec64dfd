"""Training an adapter once more from what its manifest says, beside the project and without a trace in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import polars as pl
from pydantic import TypeAdapter

from ftzard.composition import compose, validate
from ftzard.config import FtzardConfig, LauncherConfig
from ftzard.core.adapter import verify_adapter
from ftzard.core.adapter_documents import AdapterManifest, read_labels, read_manifest
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.records import ASSETS_DIR, AdapterDirectory, Splits
from ftzard.core.reproduction import ReproductionReport, judge
from ftzard.core.retraining import FORGOTTEN_KEY, PREDECESSOR_KEY, RetrainingPlan, retraining_plan
from ftzard.core.task_judging import predict_any
from ftzard.core.training_job import TrainingJob, train_here
from ftzard.errors import RegistryVersionError
from ftzard.references import find_run, find_version
from ftzard.resources.committed_splits import fetch_splits
from ftzard.resources.launcher import ProcessTrainer
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

# Where the run of a training keeps what it made.
_ADAPTER_ARTIFACT = "adapter"


def reproduce(project_dir: Path, which: str, overrides: Sequence[str] = ()) -> ReproductionReport:
    """Train an adapter again, in a temporary folder, and compare.

    Args:
        project_dir: The project folder.
        which: A registered version, `champion`, or the MLflow run that trained or judged the adapter: its id, or at
            least six digits of its beginning.
        overrides: In Hydra's grammar; they say where the registry is, the training's come from the manifest.

    Raises:
        RegistryVersionError: There is no such version or run, or the version that it went on from is gone.
        StorageError: Its data is not to be had, or is not what it was trained on.
        FtzardError: As `train_adapter`.
    """
    project = compose(overrides, project_dir=project_dir)
    registry = AdapterRegistry(Tracking(project.tracking, project_dir))
    with TemporaryDirectory(prefix="ftzard-reproduce-") as folder:
        original, version = _find(registry, which, Path(folder) / "original")
        manifest = read_manifest(original.path)
        # `auto` may stand for another device here than it did there.
        device = TypeAdapter(Literal["auto", "cpu", "cuda"]).validate_python(manifest.compute["device"])
        recorded = validate(manifest.config)
        config = replace(recorded, training=replace(recorded.training, device=device), evaluation=project.evaluation)
        assets_dir = project_dir / project.versioning.data_dir / ASSETS_DIR
        splits = fetch_splits(project_dir, assets_dir, manifest.provenance)
        again = _train(registry, original, manifest, splits, config, Path(folder) / "adapter")

        def predictions() -> pl.DataFrame:
            return _recorded_predictions(registry, version, original, splits.test, config)

        return judge(original, verify_adapter(again.path), device, predictions, splits.test, config)


def _find(registry: AdapterRegistry, which: str, folder: Path) -> tuple[AdapterDirectory, RegisteredAdapter | None]:
    """The adapter, and the version that it is; None where it was never registered."""
    version, run = find_version(registry, which), find_run(registry.tracking, which)
    if version is None and run is not None:
        version = next((one for one in registry.versions() if one.run_id == run.run_id), None)
    if version is not None:
        return registry.load(version), version
    if run is None:
        raise RegistryVersionError(
            f"{registry.name} has no version {which!r}, and no MLflow run begins so",
            fix="name a version, `champion`, or the id of the run that trained an adapter",
        )
    return _adapter_of_run(registry.tracking, run.run_id, folder), None


def _adapter_of_run(tracking: Tracking, run_id: str, folder: Path) -> AdapterDirectory:
    folder.mkdir(parents=True)
    with tracking.connected() as client:
        if not client.list_artifacts(run_id, _ADAPTER_ARTIFACT):
            step = tracking.run(run_id).step
            raise RegistryVersionError(
                f"the MLflow run {run_id} of {step} holds no adapter", fix="name a run of TRAINING or RETRAINING"
            )
        return verify_adapter(Path(client.download_artifacts(run_id, _ADAPTER_ARTIFACT, str(folder))))


def _recorded_predictions(
    registry: AdapterRegistry,
    version: RegisteredAdapter | None,
    original: AdapterDirectory,
    test: pl.DataFrame,
    config: FtzardConfig,
) -> pl.DataFrame:
    """What the original answered when it was judged, or answers now where it was not judged on these rows."""
    if version is not None:
        judged = registry.evidence(version).predictions
        if set(judged["text_hash"]) == set(test["text_hash"]):
            return judged
    return predict_any(original, test, config)


def _train(
    registry: AdapterRegistry,
    original: AdapterDirectory,
    manifest: AdapterManifest,
    splits: Splits,
    config: FtzardConfig,
    target: Path,
) -> AdapterDirectory:
    plan, initial = _start(registry, manifest, splits, config)
    planned = Splits(plan.examples, splits.validation, splits.test)
    labels = read_labels(original.path).labels if config.data.has_labels else ()
    job = TrainingJob(planned, config, labels, manifest.provenance, initial)
    num_threads, num_processes = manifest.compute.get("num_threads"), int(manifest.compute.get("num_processes", "1"))
    if num_processes == 1:
        with _threads(num_threads):
            return train_here(job, target).result.adapter
    # Wherever they ran then: how many there were decides, like the number of threads, the order of sums.
    launcher = LauncherConfig(
        kind="torchrun", num_processes=num_processes, num_threads=int(num_threads) if num_threads else None
    )
    return ProcessTrainer(launcher, target.with_name("logs"))(job, target).result.adapter


def _start(
    registry: AdapterRegistry, manifest: AdapterManifest, splits: Splits, config: FtzardConfig
) -> tuple[RetrainingPlan, AdapterDirectory | None]:
    """What was trained on, and from which weights: the predecessor of then, whoever is champion now."""
    training, checksum = config.training, manifest.provenance.get(PREDECESSOR_KEY)
    if checksum is None:
        return retraining_plan(splits.train, None, training.retraining, training.seed), None
    before = next((one for one in registry.versions() if one.checksum == checksum), None)
    if before is None:
        raise RegistryVersionError(
            f"the adapter follows {checksum}, which is not registered any more", fix="reproduce another version"
        )
    seen = registry.evidence(before).seen
    num_forgotten = int(manifest.provenance.get(FORGOTTEN_KEY, "0"))
    task = config.data.task
    plan = retraining_plan(splits.train, seen, training.retraining, training.seed, num_forgotten, task=task)
    return plan, registry.load(before) if plan.continues else None


@contextmanager
def _threads(recorded: str | None) -> Iterator[None]:
    """The number of threads decides the order of sums, and so the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(recorded) if recorded else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
