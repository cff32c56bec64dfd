"""The rows that are worth a person's time."""

import polars as pl

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.label_queue import LabelQueue, make_label_queue


@tracked_asset(
    "DATA_SAMPLING",
    group="labelling",
    kinds={"csv", "dvc"},
    io="queue",
    sections=("data", "labelling"),
    partitioned=True,
)
def label_queue(incoming: pl.DataFrame, incoming_predictions: pl.DataFrame, step: Step) -> StepResult[LabelQueue]:
    """The rows of one incoming file to be labelled: the uncertain ones, and a random control arm among them.

    `queue.csv` is for a person, who fills in the label and puts the file into the folder for labelled data.
    """
    from ftzard.core.figures import uncertainty_histogram

    labelling = step.config.labelling
    version = incoming_predictions["champion_version"][0]
    value = make_label_queue(incoming, incoming_predictions, version, labelling)
    chosen = value.sidecar.filter(value.sidecar["arm"] == "strategy")["uncertainty"]
    return StepResult(
        value=value,
        metadata={"strategy": labelling.query_strategy, "preview": value.rows.head(5)},
        metrics={"num_queued": value.rows.height, "num_control": value.rows.height - chosen.len()},
        figures={"uncertainty": uncertainty_histogram(incoming_predictions["probabilities"], chosen)},
    )
