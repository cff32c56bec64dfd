"""The rows that are worth a person's time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.assets.gpu import GPU_POOL
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.records import LabelQueue
from ftzard.errors import ConfigError

if TYPE_CHECKING:
    from ftzard.core.champion_records import RegisteredAdapter


@tracked_asset(
    "DATA_SAMPLING",
    group="labelling",
    kinds={"csv", "dvc"},
    io="queue",
    sections=("data", "labelling"),
    partitioned=True,
    # Embeddings, where the strategy wants them, are the champion's.
    pool=GPU_POOL,
)
def label_queue(incoming: pl.DataFrame, incoming_predictions: pl.DataFrame, step: Step) -> StepResult[LabelQueue]:
    """The rows of one incoming file to be labelled: the uncertain ones, and a random control arm among them.

    `queue.csv` is for a person, who fills in the label and puts the file into the folder for labelled data;
    `label-studio.json` and `label-studio.xml` are for Label Studio. For labels only, one or several for each text.
    """
    from ftzard.core.label_figures import uncertainty_histogram
    from ftzard.core.label_queue import file_uncertainty, make_label_queue

    labelling = step.config.labelling
    if not step.config.data.has_labels:
        raise ConfigError(
            f"there are no label queues where data.task is {step.config.data.task!r}: a queue asks people to choose a "
            "label",
            fix="materialize `incoming_predictions` alone; put prompts with answers into data.labelled_dir as a batch",
        )
    version = str(incoming_predictions["champion_version"][0])
    value = make_label_queue(incoming, incoming_predictions, version, labelling, **_knowledge(incoming, version, step))
    uncertainty, threshold = file_uncertainty(incoming_predictions, labelling)
    queued, name = value.sidecar["uncertainty"].to_numpy(), labelling.query_strategy
    return StepResult(
        value=value,
        metadata={"strategy": name, "champion_version": version, "threshold": threshold},
        metrics={
            "num_queued": value.rows.height,
            "num_control": value.sidecar.filter(pl.col("arm") == "control").height,
            "mean_uncertainty": float(uncertainty.mean()),
        },
        figures={"uncertainty": uncertainty_histogram(uncertainty, threshold, queued, strategy=name)},
    )


def _knowledge(incoming: pl.DataFrame, version: str, step: Step) -> Mapping[str, Any]:
    """What the registry adds: the rows whose labels the champion has seen, and embeddings where they are wanted."""
    from ftzard.core.adapter import config_for
    from ftzard.core.embeddings import embed
    from ftzard.core.query_strategies import make_query_strategy

    champion = _registered(version, step)
    if step.registry is None or champion is None:
        return {}
    evidence = step.registry.evidence(champion)
    known = {"already_labelled": {*evidence.train_hashes, *evidence.predictions["text_hash"]}}
    if not make_query_strategy(step.config.labelling).needs_embeddings:
        return known
    adapter = step.registry.load(champion)
    return {**known, "embeddings": embed(adapter, incoming["text"].to_list(), config_for(adapter, step.config))}


def _registered(version: str, step: Step) -> "RegisteredAdapter | None":
    versions = step.registry.versions() if step.registry else ()
    return next((one for one in versions if one.version == version), None)
