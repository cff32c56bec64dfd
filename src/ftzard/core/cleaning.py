"""From rows as read to examples: text normalised, labels mapped, and every row that is not an example accounted for.

The same normalisation serves text that arrives without a label, so that a model sees in use what it saw in training.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.records import EXAMPLE_SCHEMA, REJECTED_SCHEMA, Cleaned
from ftzard.errors import ConfigError, NoExamplesError, SingleClassError, TooFewExamplesError, UnknownLabelError

_logger = logging.getLogger(__name__)

_NUM_HASH_BYTES: Final = 16
_NUM_CULPRITS_SHOWN: Final = 5


@dataclass(frozen=True)
class CleaningStep:
    """One named way to change text.

    Attributes:
        name: As in `data.cleaning_steps`.
        description: What it does, in one sentence.
        apply: From an expression of text to one of text.
    """

    name: str
    description: str
    apply: Callable[[pl.Expr], pl.Expr]


_STEPS: Final = (
    CleaningStep(
        "unicode_nfc",
        "Write each character in its composed form (Unicode NFC), so that equal-looking texts are equal.",
        lambda text: text.str.normalize("NFC"),
    ),
    CleaningStep(
        "collapse_whitespace",
        "Make each run of whitespace, line breaks included, one space, and remove it at both ends.",
        lambda text: text.str.replace_all(r"\s+", " ").str.strip_chars(),
    ),
    CleaningStep("lowercase", "Make all letters lower case.", lambda text: text.str.to_lowercase()),
    CleaningStep(
        "user_names",
        "Write `@name` as `user name`: an `@` in front of a word becomes the word `user`.",
        lambda text: text.str.replace_all(r"@+(\w)", "user ${1}"),
    ),
    CleaningStep(
        "basic_characters",
        "Remove all characters but ASCII letters, digits, full stop and space.",
        lambda text: text.str.replace_all(r"[^a-zA-Z0-9. ]", ""),
    ),
    CleaningStep(
        "replace_urls",
        "Write each web address (from `http://`, `https://` or `www.` to the next whitespace) as `http`.",
        lambda text: text.str.replace_all(r"(?i)(?:https?://|\bwww\.)\S+", "http"),
    ),
)

CLEANING_STEPS: Final[Mapping[str, CleaningStep]] = MappingProxyType({step.name: step for step in _STEPS})


def normalise_text(texts: pl.Series, steps: Sequence[str]) -> pl.Series:
    """Apply cleaning steps, in order and then again until nothing changes.

    The repetition makes cleaning idempotent whatever the steps and their order: removing a character can join others
    to something that an earlier step would have changed. Each step removes something or is stable, so it ends;
    one pass that changes the text and one that does not are the rule.

    Args:
        texts: Text, labelled or not; null stays null.
        steps: Names in `CLEANING_STEPS`.

    Returns:
        A series of the same length and name.

    Raises:
        ConfigError: A step does not exist.
    """
    expression = pl.col("text")
    for name in steps:
        expression = _find_step(name).apply(expression)
    rows = pl.DataFrame({"index": pl.int_range(texts.len(), eager=True), "text": texts.cast(pl.String)})
    settled: list[pl.DataFrame] = []
    while not rows.is_empty():
        rows = rows.with_columns(expression.alias("cleaned"))
        is_settled = pl.col("text").eq_missing(pl.col("cleaned"))
        settled.append(rows.filter(is_settled).select("index", "text"))
        rows = rows.filter(~is_settled).select("index", text="cleaned")
    return pl.concat([rows.select("index", "text"), *settled]).sort("index")["text"].rename(texts.name)


def hash_texts(texts: pl.Series) -> pl.Series:
    """Identify texts by their content: the first 16 bytes of the SHA-256 of their UTF-8, as 32 hexadecimal digits.

    Args:
        texts: Cleaned texts without null.

    Returns:
        A series named `text_hash`, of the same length.
    """
    hashes = [hashlib.sha256(text.encode("utf-8")).digest()[:_NUM_HASH_BYTES].hex() for text in texts]
    return pl.Series("text_hash", hashes, dtype=pl.String)


def clean(raw: pl.DataFrame, config: DataConfig) -> Cleaned:
    """Turn rows as read into examples.

    A row is rejected, with the first reason that holds, for `missing_text` (null or empty), `missing_label` (null or
    blank), `empty_after_cleaning`, `conflicting_label` (its cleaned text occurs with several labels: all those rows
    go, because nothing says which is right) or `duplicate` (of an earlier row by batch and row). The order of `raw`
    does not matter.

    Args:
        raw: `RAW_SCHEMA`.
        config: Names the cleaning steps, maps and restricts the labels.

    Returns:
        Examples and rejected rows, each sorted by batch and row; together as many rows as `raw`.

    Raises:
        ConfigError: A cleaning step does not exist.
        UnknownLabelError: A label is neither mapped nor allowed.
        NoExamplesError: All rows are rejected.
        SingleClassError: All examples have the same label.
        TooFewExamplesError: A label in `data.labels` has no example.
    """
    # Ties in batch and row are broken by content, so that the result never depends on the order of the input.
    rows = raw.sort("batch", "row", "text", "label")
    rows = rows.with_columns(cleaned=normalise_text(rows["text"], config.cleaning_steps))
    rows = _map_labels(rows, config)
    rows = rows.with_columns(reason=_basic_reason()).with_columns(reason=_repetition_reason())
    _report_conflicts(rows)
    kept = rows.filter(pl.col("reason").is_null())
    rejected = rows.filter(pl.col("reason").is_not_null()).select(REJECTED_SCHEMA.names())
    _check_labels(kept, rejected, config)
    examples = kept.select(text="cleaned", label="mapped", batch="batch", row="row")
    examples = examples.with_columns(hash_texts(examples["text"])).select(EXAMPLE_SCHEMA.names())
    return Cleaned(examples, rejected)


def labels_of(examples: pl.DataFrame, config: DataConfig) -> tuple[str, ...]:
    """Return the labels in the order of the classifier's outputs: those configured, otherwise those found, sorted.

    None where the answers are free text.
    """
    if config.task != "classification":
        return ()
    return config.labels or tuple(sorted(examples["label"].unique().to_list()))


def _find_step(name: str) -> CleaningStep:
    if name not in CLEANING_STEPS:
        raise ConfigError(
            f"data.cleaning_steps names the unknown step {name!r}",
            fix=f"use names among {', '.join(CLEANING_STEPS)}",
        )
    return CLEANING_STEPS[name]


def _map_labels(rows: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """Add `mapped`: the label, or null where there is none.

    A value that is already a label stays one beside a mapping: what people have labelled carries the labels' own
    names, while the raw files still say what the mapping maps.
    """
    stripped = pl.col("label").str.strip_chars()
    rows = rows.with_columns(stripped=pl.when(stripped != "").then(stripped))
    allowed = config.labels or tuple(dict.fromkeys(config.label_mapping.values()))
    mapped = pl.col("stripped").replace(dict(config.label_mapping))
    rows = rows.with_columns(mapped=mapped)
    if allowed:
        _check_known(rows.filter(pl.col("mapped").is_not_null() & ~pl.col("mapped").is_in(list(allowed))), config)
    return rows


def _check_known(unknown: pl.DataFrame, config: DataConfig) -> None:
    if unknown.is_empty():
        return
    shown = unknown.head(_NUM_CULPRITS_SHOWN).select("batch", "row", "label")
    culprits = "; ".join(f"{batch}, row {row}: {label!r}" for batch, row, label in shown.iter_rows())
    more = f" and {unknown.height - shown.height} more" if unknown.height > shown.height else ""
    allowed = list(config.labels) or list(dict.fromkeys(config.label_mapping.values()))
    mapping = f"; data.label_mapping maps {sorted(config.label_mapping)}" if config.label_mapping else ""
    raise UnknownLabelError(
        f"{unknown.height} row(s) have an unknown label: {culprits}{more}; allowed: {allowed}{mapping}",
        fix="correct the labels in the file(s), add them to data.label_mapping, or add them to data.labels",
    )


def _basic_reason() -> pl.Expr:
    is_missing = pl.col("text").is_null() | (pl.col("text") == "")
    return (
        pl.when(is_missing)
        .then(pl.lit("missing_text"))
        .when(pl.col("mapped").is_null())
        .then(pl.lit("missing_label"))
        .when(pl.col("cleaned").str.strip_chars() == "")
        .then(pl.lit("empty_after_cleaning"))
    )


def _repetition_reason() -> pl.Expr:
    """Among rows without a reason so far, those whose text occurs with several labels, and all but the first of one."""
    group = ["cleaned", "reason"]
    return (
        pl.when(pl.col("reason").is_not_null())
        .then(pl.col("reason"))
        .when(pl.col("mapped").n_unique().over(group) > 1)
        .then(pl.lit("conflicting_label"))
        .when(pl.int_range(pl.len()).over(group) > 0)
        .then(pl.lit("duplicate"))
    )


def _report_conflicts(rows: pl.DataFrame) -> None:
    conflicts = rows.filter(pl.col("reason") == "conflicting_label")
    if conflicts.is_empty():
        return
    shown = conflicts.sort("cleaned", maintain_order=True).head(_NUM_CULPRITS_SHOWN)
    culprits = "; ".join(
        f"{batch}, row {row}: {label!r}" for batch, row, label in shown.select("batch", "row", "mapped").iter_rows()
    )
    _logger.warning(
        "rejected %d rows because the same text has different labels, of %d texts: %s%s",
        conflicts.height,
        conflicts["cleaned"].n_unique(),
        culprits,
        ", ..." if conflicts.height > shown.height else "",
    )


def nothing_left(rejected: pl.DataFrame, what: str) -> NoExamplesError:
    """The error for rows that were all rejected, with the reasons counted.

    Args:
        rejected: `REJECTED_SCHEMA`.
        what: What would have been needed.
    """
    counts = rejected["reason"].value_counts(sort=True).iter_rows()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts) or "there was none to begin with"
    return NoExamplesError(
        f"no row is left after cleaning, of {rejected.height}: {reasons}",
        fix=f"look at the rejected rows; add {what}, or take steps that remove less in data.cleaning_steps",
    )


def _check_labels(kept: pl.DataFrame, rejected: pl.DataFrame, config: DataConfig) -> None:
    if kept.is_empty():
        raise nothing_left(rejected, "labelled text")
    found = kept["mapped"].unique().to_list()
    if len(found) == 1:
        raise SingleClassError(
            f"all {kept.height} examples have the label {found[0]!r}, so there is nothing to learn",
            fix="add examples of at least one other label, or look at data.label_column and data.label_mapping",
        )
    lacking = [label for label in config.labels if label not in found]
    if lacking:
        raise TooFewExamplesError(
            f"no example has the label(s) {lacking} that data.labels names; found: {sorted(found)}",
            fix="add examples of them, or take them out of data.labels",
        )
