"""Files that come in without labels, and what the champion says of them."""

import logging

import polars as pl

from ftzard.assets.data import cleaning_code
from ftzard.assets.evaluation import shown_answers
from ftzard.assets.gpu import GPU_POOL, GPU_TAGS
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.config import FtzardConfig
from ftzard.core.adapter import config_for
from ftzard.core.batch_names import printable
from ftzard.core.intake import find_content, read_unlabelled
from ftzard.core.records import AdapterDirectory
from ftzard.core.step_registry import registered_version
from ftzard.errors import NoChampionError

_logger = logging.getLogger(__name__)

_GROUP = "serving"
_MAX_NAMED = 5


@tracked_asset(
    "INFERENCE_DATA_PROCESSING",
    group=_GROUP,
    kinds={"polars", "parquet", "dvc"},
    io="frame",
    sections=("data",),
    outside_version=cleaning_code,
    registered_version=registered_version,
    code_version="2",
    partitioned=True,
)
def incoming(step: Step) -> StepResult[pl.DataFrame]:
    """The texts of one file from the folder for incoming data, cleaned as training data is.

    One row per distinct text, with the file and the line it stands on; the label is null. A partition is the content
    of a file: the same bytes under another name are the same partition.
    """
    path, name = find_content(step.project_dir, step.config.data, step.staging_dir, step.partition_key or "")
    value = read_unlabelled(path, name, step.config.data)
    reasons = value.rejected.group_by("reason").len("rows").sort("rows", "reason", descending=[True, False])
    return StepResult(
        value=value.examples,
        metadata={"file": name, "left_out": reasons},
        metrics={"num_rows": value.examples.height, "num_left_out": value.rejected.height},
    )


@tracked_asset(
    "INFERENCE",
    group=_GROUP,
    kinds={"pytorch", "parquet", "dvc"},
    io="frame",
    sections=("data", "model", "training"),
    partitioned=True,
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
)
def incoming_predictions(incoming: pl.DataFrame, step: Step) -> StepResult[pl.DataFrame]:
    """The champion's prediction for each text of one incoming file.

    One row per text: its hash, the predicted label, probability and logit of each label, and the champion's version.
    For generation and preference: what the champion writes, and the log-probability of each of its tokens. A prompt
    that leaves no room for an answer in the model's context window is left out, counted and named.
    """
    from ftzard.core.inference import predict

    champion = step.registry.champion() if step.registry else None
    if step.registry is None or champion is None:
        raise NoChampionError(
            "there is no champion to predict with",
            fix="materialize the assets up to champion; the first adapter becomes it unless shown to be worse",
        )
    adapter = step.registry.load(champion)
    is_classifier = step.config.data.has_labels
    ask = predict if is_classifier else _answers
    answers = ask(adapter, incoming, config_for(adapter, step.config))
    value = answers.with_columns(champion_version=pl.lit(champion.version))
    numbers: dict[str, float] = {}
    if is_classifier:
        shown = value.group_by("predicted_label").len("rows").sort("predicted_label")
    else:
        shown, numbers = shown_answers(answers, incoming, adapter, step)
        numbers["num_left_out"] = incoming.height - answers.height
    return StepResult(
        value=value,
        metadata={
            "champion_version": champion.version,
            "adapter": champion.checksum,
            "predicted" if is_classifier else "examples": shown,
        },
        metrics={"num_predictions": value.height, **numbers},
    )


def _answers(adapter: AdapterDirectory, incoming: pl.DataFrame, config: FtzardConfig) -> pl.DataFrame:
    from ftzard.core.answer_inference import predict_answers

    answers = predict_answers(adapter, incoming, config, leave_out=True)
    left_out = incoming.join(answers, "text_hash", "anti")
    for batch, row in left_out.select("batch", "row").head(_MAX_NAMED).iter_rows():
        _logger.warning("%s, row %d: the prompt leaves no room for an answer, and gets none", printable(batch), row)
    if left_out.height > _MAX_NAMED:
        _logger.warning("%d more prompts of this file get none either", left_out.height - _MAX_NAMED)
    return answers
