"""Which adapter serves."""

import polars as pl

from ftzard.assets.gpu import GPU_POOL, GPU_TAGS
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.gate import PromotionVerdict
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.errors import ConfigError


@tracked_asset(
    "CHOOSE_BEST_MODEL",
    group="evaluation",
    kinds={"mlflow", "json"},
    io="verdict",
    sections=("data", "evaluation", "tracking"),
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
)
def champion(
    lora_adapter: AdapterDirectory, predictions: pl.DataFrame, splits: Splits, metrics: EvaluationReport, step: Step
) -> StepResult[PromotionVerdict]:
    """The gate's verdict on the newest adapter: promote it, keep the champion, or get more labels first.

    Every adapter that comes here becomes a version in the model registry; a promoted one gets the alias `champion`.
    """
    del metrics  # It comes first, so that an adapter whose evaluation failed is never promoted.
    from ftzard.core.challenge import challenge
    from ftzard.core.figures import difference_plot

    if step.registry is None:
        raise ConfigError(
            "champion needs a registry", fix="give the step one: Step(..., registry=AdapterRegistry(...))"
        )
    verdict = challenge(lora_adapter, predictions, splits, step.config, step.registry, step.run_id)
    comparisons = [found for found in (verdict.against_champion, verdict.against_baseline) if found is not None]
    differences = {found.other: found.difference for found in comparisons}
    confidence = 1 - step.config.evaluation.gate.significance
    return StepResult(
        value=verdict,
        metadata={
            "verdict": verdict.verdict,
            "sentence": verdict.sentence,
            "champion_before": verdict.champion or "none",
        },
        metrics={"num_rows": verdict.num_rows, "num_rows_left_out": verdict.num_rows_left_out}
        | {f"difference_to_{other}": difference.value for other, difference in differences.items()},
        figures={"macro-F1 against others": difference_plot(differences, confidence=confidence)},
        tags={"ftzard.verdict": verdict.verdict},
    )
