"""Which adapter serves."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ftzard.assets.evaluation import Report
from ftzard.assets.gpu import GPU_POOL, GPU_TAGS
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.gate import AnyComparison, PromotionVerdict
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.errors import ConfigError, TrackingUnavailableError


def _has_versions(step: Step) -> bool:
    """Whether the registry is still there, and not a new one in the place of one that was lost."""
    try:
        return step.registry is None or bool(step.registry.versions())
    except TrackingUnavailableError:
        # A server that is away may have them.
        return True


@tracked_asset(
    "CHOOSE_BEST_MODEL",
    group="evaluation",
    kinds={"mlflow", "json"},
    io="verdict",
    sections=("data", "evaluation", "tracking"),
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
    is_kept=_has_versions,
)
def champion(
    lora_adapter: AdapterDirectory, predictions: pl.DataFrame, splits: Splits, metrics: Report, step: Step
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
    judged = replace(splits, train=_trained_on(lora_adapter, splits, step).train)
    verdict = challenge(lora_adapter, predictions, judged, step.config, step.registry, step.run_id)
    differences = {found.other: found.difference for found in verdict.comparisons}
    confidence = 1 - step.config.evaluation.gate.significance
    return StepResult(
        value=verdict,
        metadata={
            "verdict": verdict.verdict,
            "sentence": verdict.sentence,
            "challenger_version": verdict.challenger_version,
            "champion_before": verdict.champion or "none",
            "comparisons": _table(verdict.comparisons),
        },
        metrics=_numbers(verdict),
        figures={
            f"{_metric(verdict)} against others": difference_plot(
                differences, confidence=confidence, metric=_metric(verdict)
            )
        },
        tags={"ftzard.verdict": verdict.verdict, "ftzard.sentence": verdict.sentence},
    )


def _trained_on(adapter: AdapterDirectory, splits: Splits, step: Step) -> Splits:
    """The splits that an adapter was trained on: earlier ones, where labels came while it was trained.

    Taken for those that it has seen, the new ones would never be news to it.
    """
    from ftzard.core.adapter_documents import SPLITS_KEY, read_manifest

    made_from = read_manifest(adapter.path).provenance
    before, now = made_from.get(SPLITS_KEY), step.provenance.get(SPLITS_KEY)
    # A version that is not known, of data that a colleague made, is no other one.
    if step.committed_splits is None or before is None or now in {None, before}:
        return splits
    return step.committed_splits(made_from)


def _numbers(verdict: PromotionVerdict) -> dict[str, float]:
    """Under names that stay the same from champion to champion, so that MLflow can draw them over time."""
    sides = {"champion": verdict.against_champion, "baseline": verdict.against_baseline}
    numbers = {
        "num_rows": verdict.num_rows,
        "num_rows_left_out": verdict.num_rows_left_out,
        "num_more_labels": verdict.num_more_labels,
        **{f"difference_to_{name}": side.difference.value for name, side in sides.items() if side is not None},
    }
    return {name: float(number) for name, number in numbers.items() if number is not None}


def _metric(verdict: PromotionVerdict) -> str:
    """What it is about, for people; macro-F1 where nothing was compared, as of classifiers."""
    return next((one.metric_in_words for one in verdict.comparisons), "macro-F1")


def _table(comparisons: Sequence[AnyComparison]) -> pl.DataFrame:
    """The numbers behind a verdict, a row for each that the challenger was compared with."""
    rows = [
        {
            "other": found.other,
            found.metric_in_words: found.score,
            "of the other": found.other_score,
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            **found.details,
        }
        for found in comparisons
    ]
    return pl.DataFrame(rows)
