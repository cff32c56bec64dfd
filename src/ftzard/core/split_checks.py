"""What splits lack, so that nothing could be trained or judged on them, and what a person can do about it."""

from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.label_names import label_counts
from ftzard.core.quarantine import culprits
from ftzard.core.records import Splits
from ftzard.errors import TooFewExamplesError

_NUM_COUNTS_SHOWN: Final = 5
_MORE: Final = (
    "add labelled examples; or set another data.seed, or larger fractions for the splits that lack some "
    "(validation_fraction=0 does without validation); or raise data.sample_fraction if it is below 1. Where "
    "texts are many variants of a few, data.near_duplicate_edits=0 takes only equal ones for the same; where "
    "the test split is frozen, `ftzard splits refreeze` draws it anew"
)


def named_splits(splits: Splits) -> tuple[tuple[str, pl.DataFrame], ...]:
    """The splits without the quarantine, by name."""
    return ("train", splits.train), ("validation", splits.validation), ("test", splits.test)


def check_sample(num_sampled: int, num_examples: int, labels: tuple[str, ...], config: DataConfig) -> None:
    """Refuse a sample that has fewer examples than there are labels."""
    if num_sampled < max(1, len(labels)):
        raise TooFewExamplesError(
            f"{num_sampled} example(s) for {len(labels)} label(s), of {num_examples} before "
            f"data.sample_fraction={config.sample_fraction:g}",
            fix="add labelled examples, or raise data.sample_fraction",
        )


def check_frozen(frozen: pl.DataFrame, examples: pl.DataFrame) -> None:
    """Refuse examples that hold nothing of the frozen test split."""
    if frozen.height and frozen.join(examples, on="text_hash", how="semi").is_empty():
        raise TooFewExamplesError(
            f"of the {frozen.height} row(s) of the frozen test split none is among the {examples.height} examples",
            fix="bring their batches back; or, where data.cleaning_steps or the data are others now on purpose, "
            "`ftzard splits refreeze --reason TEXT`",
        )


def check_splits(splits: Splits, labels: tuple[str, ...], config: DataConfig, held: pl.DataFrame | None) -> None:
    """Refuse splits that nothing could be trained or judged on.

    Args:
        splits: What was made.
        labels: Those that `train` and `test` must have.
        config: Gives the task and the fractions.
        held: Where the test split is frozen, the examples that wait for the next freeze; else None.

    Raises:
        TooFewExamplesError: `train` or `test` is empty or lacks a label, or `validation` is empty although it should
            not be.
    """
    lacking = [f"{name} is empty" for name, frame in named_splits(splits) if name != "validation" and frame.is_empty()]
    if labels:
        lacking = _lacking_labels(splits, labels, config.task)
    if splits.validation.is_empty() and config.validation_fraction > 0:
        lacking.append("validation is empty")
    if lacking:
        aside = f" ({splits.quarantined.height} of them quarantined)" if splits.quarantined.height else ""
        raise TooFewExamplesError(
            f"{splits.labelled.height} examples{aside} are too few for the fractions {config.train_fraction:g}, "
            f"{config.validation_fraction:g} and {config.test_fraction:g}: {'; '.join(lacking)}",
            fix=_refreeze(splits, labels, config, held) or _MORE,
        )


def _refreeze(splits: Splits, labels: tuple[str, ...], config: DataConfig, held: pl.DataFrame | None) -> str:
    """The way out for labels that came after the freeze: however many examples are added, none joins the test split."""
    new = set(labels) - set(label_counts(splits.test["label"], config.task))
    if held is None or not new:
        return ""
    counts = label_counts(held["label"], config.task)
    freeze = '`ftzard splits refreeze --reason "..."`'
    told = culprits([repr(label) for label in labels if label in new])
    if waiting := new - set(counts):
        return (
            f"the test split is frozen without {told}, and of {culprits([repr(one) for one in sorted(waiting)])} no "
            f"example was drawn for it: add labelled examples, and then {freeze} lets those join that were drawn"
        )
    return (
        f"the test split is frozen without {told}: {freeze} lets those join that were drawn for it since "
        f"({', '.join(f'{label!r} {counts[label]}' for label in labels if label in new)})"
    )


def _lacking_labels(splits: Splits, labels: tuple[str, ...], task: str) -> list[str]:
    found = {name: label_counts(frame["label"], task) for name, frame in named_splits(splits) if name != "validation"}
    lacking = {name: [repr(label) for label in labels if label not in counts] for name, counts in found.items()}
    return [
        f"{name} has no {culprits(missing)} (its counts: {_shown(found[name])})"
        for name, missing in lacking.items()
        if missing
    ]


def _shown(counts: dict[str, int]) -> str:
    """The rarest labels, of many."""
    if len(counts) <= _NUM_COUNTS_SHOWN:
        return str(counts or "none at all")
    rarest = sorted(counts.items(), key=lambda item: item[1])[:_NUM_COUNTS_SHOWN]
    return f"{dict(rarest)} and {len(counts) - _NUM_COUNTS_SHOWN} more labels with at least {rarest[-1][1]} each"
