"""The sensors of a pipeline: what arrives in its folders, and runs whose process is gone."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from ftzard.assets.neighbours import check_alone
from ftzard.assets.pipeline import Pipeline
from ftzard.core.batch_watch import BatchWatch, watch_batches
from ftzard.core.intake import STAGING_DIR, Rejection, Sighting, forget_copy, take_in
from ftzard.core.serving_plan import Attempt, Request, ServingPlan, plan_serving
from ftzard.dead_runs import close_dead_runs, has_died
from ftzard.errors import NoBatchesError

if TYPE_CHECKING:
    from ftzard.resources.configuration import ConfigurationResource
    from ftzard.resources.mlflow import MlflowResource

LABELLED_BATCHES: Final = "labelled_batches"
# What each incoming file goes through.
SERVING: Final = ("incoming", "incoming_predictions", "label_queue")
SERVING_TAG: Final = "ftzard/serving"
CHAMPION_TAG: Final = "ftzard/champion_version"

# Less than the five seconds after which Dagster's daemon looks what is due: with as many, every other look would come
# a moment too early, and files would wait for ten.
_LOOK_EVERY_S: Final = 4
_OPEN = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_UNSUCCESSFUL = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def labelled_batches_sensor(pipeline: Pipeline, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Reports the content of the labelled batches whenever it has changed and settled."""

    @dg.sensor(
        name=f"{pipeline.name}_labelled_batches",
        minimum_interval_seconds=_LOOK_EVERY_S,
        default_status=status,
        required_resource_keys={pipeline.configuration},
        description="Sees labelled batches that are new or changed, by their content.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
        check_alone(context, pipeline, configuration.project_path)
        before = BatchWatch(**json.loads(context.cursor)) if context.cursor else BatchWatch()
        settle_s = configuration.config.automation.settle_s
        try:
            watch, version = watch_batches(
                configuration.project_path, configuration.config.data, before, settle_s=settle_s, now_s=time.time()
            )
        except NoBatchesError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        cursor = json.dumps(asdict(watch))
        if version is None:
            return dg.SensorResult(skip_reason="no labelled batch is new or changed, as far as settled", cursor=cursor)
        key = pipeline.asset_key(LABELLED_BATCHES)
        event = dg.AssetMaterialization(key, tags={"dagster/data_version": version})
        return dg.SensorResult(asset_events=[event], cursor=cursor)

    return look


def incoming_files_sensor(pipeline: Pipeline, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Takes files in, and asks for one run after another until each has been predicted."""

    @dg.sensor(
        name=f"{pipeline.name}_incoming_files",
        job_name=serving_job_name(pipeline),
        minimum_interval_seconds=_LOOK_EVERY_S,
        default_status=status,
        required_resource_keys={pipeline.configuration, pipeline.mlflow},
        description="Takes files without labels in, once for each content, and has the champion predict them.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
        config, project_dir = configuration.config, configuration.project_path
        check_alone(context, pipeline, project_dir)
        sightings = _sightings(context.cursor)
        intake = take_in(
            project_dir,
            config.data,
            project_dir / STAGING_DIR,
            sightings,
            settle_s=config.automation.settle_s,
            now_s=time.time(),
        )
        for rejection in intake.rejections:
            context.log.warning("%s was moved to %s: %s", rejection.name, rejection.moved_to, rejection.reason)
        known = context.instance.get_dynamic_partitions(pipeline.incoming_partitions)
        arrived = dict.fromkeys(arrival.key for arrival in intake.arrivals if arrival.key not in known)
        # Queues ask people to choose a label, which other tasks do not have.
        serving = SERVING if config.data.has_labels else SERVING[:-1]
        made = {name: context.instance.get_materialized_partitions(pipeline.asset_key(name)) for name in serving}
        for key in known:
            if all(key in made[name] for name in serving):
                forget_copy(project_dir / STAGING_DIR, key)
        requests, reason = _requests(context, pipeline, [*known, *arrived], made, config.automation.max_files_per_run)
        partitions = dg.DynamicPartitionsDefinition(name=pipeline.incoming_partitions)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else reason,
            dynamic_partitions_requests=[partitions.build_add_request(list(arrived))] if arrived else [],
            asset_events=[_report(pipeline, rejection) for rejection in intake.rejections],
            cursor=json.dumps({name: asdict(sighting) for name, sighting in intake.sightings.items()}),
        )

    return look


def dead_runs_sensor(pipeline: Pipeline, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Ends runs whose process is gone."""

    @dg.sensor(
        name=f"{pipeline.name}_dead_runs",
        minimum_interval_seconds=2 * _LOOK_EVERY_S,
        default_status=status,
        required_resource_keys={pipeline.configuration},
        description="Ends runs whose process is gone, and gives back their places in pools.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
        closed, since = close_dead_runs(
            context.instance,
            configuration.project_path,
            now_s=time.time(),
            abandoned_since=json.loads(context.cursor or "{}"),
        )
        reason = f"ended {', '.join(closed)}" if closed else "every run that is open has a process"
        return dg.SensorResult(skip_reason=reason, cursor=json.dumps(since))

    return look


def serving_job_name(pipeline: Pipeline) -> str:
    """Name of the job that takes incoming files from the file to the label queue."""
    return f"{pipeline.name}_serving"


def _requests(
    context: dg.SensorEvaluationContext,
    pipeline: Pipeline,
    keys: Sequence[str],
    made: Mapping[str, set[str]],
    max_files: int,
) -> tuple[list[dg.RunRequest], str]:
    """At most one run, because two would predict the same files; or why there is none."""
    serving = tuple(made)
    if all(key in made[name] for key in keys for name in serving):
        return [], "no file is new"
    # All of them, and not only those with the tag: a person may have started one in the browser.
    open_runs = context.instance.get_runs(
        dg.RunsFilter(job_name=serving_job_name(pipeline), statuses=list(_OPEN)), limit=1
    )
    if open_runs:
        return [], f"the run {open_runs[0].run_id} is at work"
    mlflow: MlflowResource = getattr(context.resources, pipeline.mlflow)
    champion = mlflow.registry.champion()
    if champion is None:
        return [], "files wait for the first champion"
    attempts = _attempts(context.instance, pipeline, champion.version, keys)
    plan = plan_serving(keys, serving, made, attempts, max_files)
    if plan.request is None:
        return [], f"given up after errors: {', '.join(plan.given_up)}; materialize them by hand to try again"
    return [_run_request(pipeline, plan, plan.request, champion.version)], ""


def _run_request(pipeline: Pipeline, plan: ServingPlan, request: Request, version: str) -> dg.RunRequest:
    return dg.RunRequest(
        asset_selection=[pipeline.asset_key(name) for name in request.assets],
        tags={
            ASSET_PARTITION_RANGE_START_TAG: request.keys[0],
            ASSET_PARTITION_RANGE_END_TAG: request.keys[-1],
            SERVING_TAG: pipeline.name,
            CHAMPION_TAG: version,
            "ftzard/num_files": str(len(request.keys)),
            "ftzard/num_files_waiting": str(plan.num_waiting),
            # What is lacking afterwards is asked for here; a second try by Dagster would predict files twice.
            "dagster/max_retries": "0",
        },
    )


def _attempts(
    instance: dg.DagsterInstance, pipeline: Pipeline, version: str, keys: Sequence[str]
) -> tuple[Attempt, ...]:
    runs = instance.get_runs(
        dg.RunsFilter(tags={SERVING_TAG: pipeline.name, CHAMPION_TAG: version}, statuses=list(_UNSUCCESSFUL))
    )
    position = {key: number for number, key in enumerate(keys)}
    attempts = []
    for run in runs:
        first, last = (
            position.get(run.tags.get(tag, ""))
            for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
        )
        if first is not None and last is not None:
            is_death = has_died(run) or run.status is dg.DagsterRunStatus.CANCELED
            attempts.append(Attempt(tuple(keys[first : last + 1]), is_death))
    return tuple(attempts)


def _report(pipeline: Pipeline, rejection: Rejection) -> dg.AssetObservation:
    return dg.AssetObservation(
        pipeline.asset_key(SERVING[0]),
        description=f"{rejection.name} cannot be read and was moved aside",
        metadata={"file": rejection.name, "moved_to": rejection.moved_to, "reason": rejection.reason},
    )


def _sightings(cursor: str | None) -> dict[str, Sighting]:
    return {
        name: Sighting(tuple(fields["signature"]), fields["since_s"], fields["key"])
        for name, fields in json.loads(cursor or "{}").items()
    }
