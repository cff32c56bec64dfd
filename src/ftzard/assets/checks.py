"""Asset checks: what must hold before anything downstream runs, and what one would like to be warned of."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, TypeVar

import dagster as dg

from ftzard.assets.evaluation import Report
from ftzard.assets.metadata import table
from ftzard.assets.pipeline import Pipeline
from ftzard.config import FtzardConfig
from ftzard.core.cleaning import labels_of
from ftzard.core.frozen_test import FrozenTest, frozen_path, read_frozen
from ftzard.core.label_names import label_names
from ftzard.core.leakage import find_leakage
from ftzard.core.records import EXAMPLE_SCHEMA, PLACEMENT_SCHEMA, Cleaned, Splits
from ftzard.core.splitting import overlap

if TYPE_CHECKING:
    from ftzard.resources.configuration import ConfigurationResource

V = TypeVar("V")

_NUM_COPIES_SHOWN = 10


@dataclass(frozen=True)
class AssetCheck(Generic[V]):
    """A check function and the asset it looks at.

    Attributes:
        function: Takes the asset's value and the configuration.
        asset: The asset's name.
        blocking: Whether a failure stops what is downstream.
        reads_frozen_test: Whether the function takes the frozen test split, or None, as a third argument.
    """

    function: Callable[..., dg.AssetCheckResult]
    asset: str
    blocking: bool
    reads_frozen_test: bool = False

    def __call__(self, value: V, config: FtzardConfig, *frozen: FrozenTest | None) -> dg.AssetCheckResult:
        """Check a value."""
        return self.function(value, config, *frozen)

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
            frozen = [_frozen_test(configuration)] if self.reads_frozen_test else []
            return self.function(value, configuration.config, *frozen)

        return check


def asset_check(
    asset: str, *, blocking: bool, reads_frozen_test: bool = False
) -> Callable[[Callable[Concatenate[V, FtzardConfig, ...], dg.AssetCheckResult]], AssetCheck[V]]:
    """Declare a check; the arguments are those of `AssetCheck`."""

    def declare(function: Callable[Concatenate[V, FtzardConfig, ...], dg.AssetCheckResult]) -> AssetCheck[V]:
        return AssetCheck(function, asset, blocking, reads_frozen_test)

    return declare


def _frozen_test(configuration: "ConfigurationResource") -> FrozenTest | None:
    config = configuration.config
    if config.data.test_split != "frozen":
        return None
    return read_frozen(frozen_path(configuration.project_path, config.versioning))


@asset_check("cleaned", blocking=True)
def examples_fit_the_schema(cleaned: Cleaned, config: FtzardConfig) -> dg.AssetCheckResult:
    """Every example has all columns, a text and a label, of the label set if there is one; no text occurs twice.

    Where conflicting labels are kept, no text occurs twice with the same label.
    """
    identity = ["text_hash", "label"] if config.data.conflicting_labels == "keep" else ["text_hash"]
    examples = cleaned.examples
    labels, given = labels_of(examples, config.data), examples["label"].drop_nulls()
    problems = {
        "schema": str(examples.schema)
        if examples.drop(*PLACEMENT_SCHEMA, strict=False).schema != EXAMPLE_SCHEMA
        else "",
        "nulls": examples.select("text", "label", "text_hash").null_count().sum_horizontal().item(),
        "empty texts": examples.filter(examples["text"].str.len_bytes() == 0).height,
        "unknown labels": ", ".join(sorted({*label_names(given, config.data.task)} - {*labels})) if labels else "",
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


@asset_check("splits", blocking=True, reads_frozen_test=True)
def no_test_row_is_trained_on(
    splits: Splits, config: FtzardConfig, frozen: FrozenTest | None = None
) -> dg.AssetCheckResult:
    """No text of train or validation is in the test split, exactly or nearly, and the test split holds what was frozen.

    Rows of the frozen test split that are gone from the data count too.
    """
    found = find_leakage(splits, frozen, config.data)
    metadata: dict[str, Any] = {"num_copies": found.copies.height, "num_rows_that_nobody_froze": found.num_foreign}
    if not found.copies.is_empty():
        metadata["copies"] = table(found.copies.head(_NUM_COPIES_SHOWN))
    return dg.AssetCheckResult(passed=found.is_none, metadata=metadata)


@asset_check("metrics", blocking=False)
def adapter_beats_baseline(metrics: Report, config: FtzardConfig) -> dg.AssetCheckResult:
    """The adapter is shown to be better than what stands beside it: the 95 % interval of the difference is above zero.

    For labels, one or several, that is TF-IDF, by macro-F1; for generation and preference the same model without the
    adapter.
    """
    del config
    return dg.AssetCheckResult(
        passed=metrics.verdict == "better",
        severity=dg.AssetCheckSeverity.WARN,
        description=metrics.sentence,
        metadata={"difference": metrics.difference.value},
    )
