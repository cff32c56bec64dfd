"""Asset checks: what must hold before anything downstream runs, and what one would like to be warned of."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import dagster as dg

from ftzard.assets.pipeline import Pipeline
from ftzard.config import FtzardConfig
from ftzard.core.cleaning import labels_of
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.generation_report import GenerationReport
from ftzard.core.records import EXAMPLE_SCHEMA, Cleaned, Splits
from ftzard.core.splitting import overlap

if TYPE_CHECKING:
    from ftzard.resources.configuration import ConfigurationResource

V = TypeVar("V")


@dataclass(frozen=True)
class AssetCheck(Generic[V]):
    """A check function and the asset it looks at.

    Attributes:
        function: Takes the asset's value and the configuration.
        asset: The asset's name.
        blocking: Whether a failure stops what is downstream.
    """

    function: Callable[[V, FtzardConfig], dg.AssetCheckResult]
    asset: str
    blocking: bool

    def __call__(self, value: V, config: FtzardConfig) -> dg.AssetCheckResult:
        """Check a value."""
        return self.function(value, config)

    def build(self, pipeline: Pipeline) -> dg.AssetChecksDefinition:
        """The Dagster definition of this check in a pipeline."""

        @dg.asset_check(
            asset=pipeline.asset_key(self.asset),
            name=self.function.__name__,
            description=inspect.getdoc(self.function),
            blocking=self.blocking,
            required_resource_keys={pipeline.configuration},
        )
        def check(context: dg.AssetCheckExecutionContext, value: Any) -> dg.AssetCheckResult:
            configuration: ConfigurationResource = getattr(context.resources, pipeline.configuration)
            return self.function(value, configuration.config)

        return check


def asset_check(
    asset: str, *, blocking: bool
) -> Callable[[Callable[[V, FtzardConfig], dg.AssetCheckResult]], AssetCheck[V]]:
    """Declare a check; the arguments are those of `AssetCheck`."""

    def declare(function: Callable[[V, FtzardConfig], dg.AssetCheckResult]) -> AssetCheck[V]:
        return AssetCheck(function, asset, blocking)

    return declare


@asset_check("cleaned", blocking=True)
def examples_fit_the_schema(cleaned: Cleaned, config: FtzardConfig) -> dg.AssetCheckResult:
    """Every example has all columns, a text and a label, of the label set if there is one; no text occurs twice.

    Where conflicting labels are kept, no text occurs twice with the same label.
    """
    identity = ["text_hash", "label"] if config.data.conflicting_labels == "keep" else ["text_hash"]
    examples = cleaned.examples
    labels = labels_of(examples, config.data)
    problems = {
        "schema": str(examples.schema) if examples.schema != EXAMPLE_SCHEMA else "",
        "nulls": examples.select("text", "label", "text_hash").null_count().sum_horizontal().item(),
        "empty texts": examples.filter(examples["text"].str.len_bytes() == 0).height,
        "unknown labels": ", ".join(sorted(set(examples["label"].drop_nulls()) - set(labels))) if labels else "",
        "repeated texts": examples.height - examples.select(identity).n_unique(),
    }
    found = {problem: extent for problem, extent in problems.items() if extent}
    return dg.AssetCheckResult(passed=not found, metadata={"labels": ", ".join(labels), **found})


@asset_check("splits", blocking=True)
def splits_are_disjoint(splits: Splits, config: FtzardConfig) -> dg.AssetCheckResult:
    """No text is in two splits."""
    del config
    shared = overlap(splits)
    metadata = {f"shared by {one} and {other}": count for (one, other), count in shared.items()}
    return dg.AssetCheckResult(passed=not any(shared.values()), metadata=metadata)


@asset_check("metrics", blocking=False)
def adapter_beats_baseline(metrics: EvaluationReport | GenerationReport, config: FtzardConfig) -> dg.AssetCheckResult:
    """The adapter is shown to be better than what stands beside it: the 95 % interval of the difference is above zero.

    For classification that is TF-IDF, by macro-F1; for generation and preference the same model without the adapter.
    """
    del config
    return dg.AssetCheckResult(
        passed=metrics.verdict == "better",
        severity=dg.AssetCheckSeverity.WARN,
        description=metrics.sentence,
        metadata={"difference": metrics.difference.value},
    )
