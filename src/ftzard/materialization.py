"""Running a pipeline from code: what is stale, and a run of just that.

Dagster itself keeps no account of what an asset was made from beyond its data versions. Each materialization therefore
carries a fingerprint (code version, configuration, versions of its inputs and batch files), and a step whose
fingerprint is unchanged has nothing to do.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from ftzard.assets.bookkeeping import read_versions
from ftzard.assets.execution import FINGERPRINT_KEY
from ftzard.assets.step import Step
from ftzard.assets.stored import input_versions, stored_materialization
from ftzard.assets.tracked import TrackedAsset
from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.core.frozen_test import frozen_path
from ftzard.core.records import ASSETS_DIR
from ftzard.dagster_instance import project_instance
from ftzard.dead_runs import close_dead_runs, in_process_tags
from ftzard.definitions import DEFAULT_NAME, IO_MANAGERS, SPINE, build_definitions, make_pipeline
from ftzard.errors import ConfigError, FtzardError
from ftzard.in_process_run import run_in_process
from ftzard.io_managers.committing import PRIVATE_DIR
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.run_lease import hold_lease
from ftzard.resources.tracking import Tracking
from ftzard.resources.versioning import DvcRepository


@dataclass(frozen=True)
class Materialization:
    """What a call of `materialize` did.

    Attributes:
        ran: Names of the assets that were materialized, in order.
        fresh: Names of those that had nothing to do.
        run_id: The Dagster run; None where nothing ran.
    """

    ran: tuple[str, ...]
    fresh: tuple[str, ...]
    run_id: str | None


def stale_assets(project_dir: Path, overrides: Sequence[str], instance: dg.DagsterInstance) -> tuple[str, ...]:
    """The assets of the spine whose code, configuration or inputs changed since they were materialized, in order.

    What counts is what is stored: after a checkout of other data, the materialization that wrote that.

    Raises:
        ConfigError: The configuration is invalid.
        NoBatchesError: There are no labelled batches.
        DataCommitError: git has moved the `.dvc` file, and the data did not follow.
    """
    pipeline = make_pipeline(DEFAULT_NAME)
    config = compose(overrides, project_dir=project_dir)
    step = Step(
        config,
        project_dir,
        registry=AdapterRegistry(Tracking(config.tracking, project_dir)),
        frozen_path=frozen_path(project_dir, config.versioning),
    )
    assets_dir = project_dir / config.versioning.data_dir / ASSETS_DIR
    repository = DvcRepository(project_dir, config.versioning)
    contents = repository.stored_contents(assets_dir)
    stale: list[str] = []
    for asset in SPINE:
        key, content = pipeline.asset_key(asset.name), contents.get(asset.name)
        known = input_versions(instance, pipeline, asset.inputs, contents)
        is_fresh = (
            not set(asset.inputs) & set(stale)
            # Before the look at the disk, so that a project without batches is told so before a run begins.
            and _recorded_fingerprint(stored_materialization(instance, key, content))
            == _fingerprint(asset, step, known)
            and _is_stored(asset, config, project_dir)
            and asset.is_kept(step)
        )
        if not is_fresh:
            stale.append(asset.name)
    # Nothing is fresh of data that has not arrived.
    repository.check()
    return tuple(stale)


def materialize(
    project_dir: Path | str, overrides: Sequence[str] = (), *, force: bool = False, until: str | None = None
) -> Materialization:
    """Materialize the spine of a project, as far as it is stale.

    Args:
        project_dir: The project folder.
        overrides: In Hydra's grammar.
        force: Materialize also what is not stale.
        until: The last asset that is wanted, with what it is made from; None: everything.

    Raises:
        ConfigError: There is no asset of that name, or the configuration is invalid.
        FtzardError: What went wrong in the step that failed; what was stored before is still there.
    """
    project_dir = Path(project_dir)
    pipeline = make_pipeline(DEFAULT_NAME)
    names = _names_until(until)
    with disk_failures_explained(), project_instance(project_dir) as instance:
        # A killed run would keep the only place in the pool that this one needs.
        close_dead_runs(instance, project_dir, now_s=time.time(), abandoned_since={})
        stale = names
        if not force:
            stale = tuple(name for name in stale_assets(project_dir, overrides, instance) if name in names)
        fresh = tuple(name for name in names if name not in stale)
        if not stale:
            return Materialization((), fresh, None)
        definitions = build_definitions(project_dir=project_dir)
        job = definitions.resolve_job_def(f"{pipeline.name}_spine")
        # The lease comes before the run: of a run without one nobody could tell at once that its process was killed.
        run_id = str(uuid.uuid4())
        hold_lease(project_dir, run_id)
        try:
            run_in_process(
                job,
                instance,
                run_id=run_id,
                assets=[pipeline.asset_key(name) for name in stale],
                run_config=_run_config(pipeline.configuration, overrides),
                tags=in_process_tags(project_dir),
            )
        except Exception as error:
            _raise_cause(error)
            raise
    return Materialization(stale, fresh, run_id)


def _names_until(last: str | None) -> tuple[str, ...]:
    """The assets of the spine in order; where one is named, that one and what it is made from."""
    names = tuple(asset.name for asset in SPINE)
    if last is None:
        return names
    if last not in names:
        raise ConfigError(
            f"there is no asset {last!r} that a project is materialized until", fix=f"name one of {', '.join(names)}"
        )
    wanted = {last}
    # Each comes after what it is made from.
    for asset in reversed(SPINE):
        if asset.name in wanted:
            wanted.update(asset.inputs)
    return tuple(name for name in names if name in wanted)


def _run_config(resource_key: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Dagster's console stays quiet: who calls has our log records, and gets the error itself, once."""
    return {
        "resources": {resource_key: {"config": {"overrides": list(overrides)}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _raise_cause(error: BaseException) -> None:
    """Raise the FTzard error that Dagster wrapped, if there is one: it says what to do."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    # An error raised again while it is handled can be its own context.
    while cause is not None and cause not in seen:
        if isinstance(cause, FtzardError):
            raise cause from None
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__


def _fingerprint(asset: TrackedAsset[Any, Any], step: Step, versions: Mapping[str, str]) -> str:
    """As the step itself takes it."""
    return asset.fingerprint(replace(step, provenance=read_versions(versions)), versions)


def _is_stored(asset: TrackedAsset[Any, Any], config: FtzardConfig, project_dir: Path) -> bool:
    parent = config.versioning.data_dir if IO_MANAGERS[asset.io].commits else PRIVATE_DIR
    return any((project_dir / parent / ASSETS_DIR).glob(f"{asset.name}*"))


def _recorded_fingerprint(materialization: dg.AssetMaterialization | None) -> str | None:
    entry = materialization.metadata.get(FINGERPRINT_KEY) if materialization else None
    return str(entry.value) if entry is not None else None
