"""From rows as read to examples: text normalised, labels mapped, and every row that is not an example accounted for.

The same normalisation serves text that arrives without a label, so that a model sees in use what it saw in training.
"""

import hashlib
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.conflicting_labels import log_conflicts, repetition_reason
from ftzard.core.language_filter import with_language_reason
from ftzard.core.records import EXAMPLE_SCHEMA, PLACEMENT_SCHEMA, REJECTED_SCHEMA, Cleaned
from ftzard.core.text_normalisation import normalise_text
from ftzard.errors import NoExamplesError, SingleClassError, TooFewExamplesError, UnknownLabelError

_NUM_HASH_BYTES: Final = 16
_NUM_CULPRITS_SHOWN: Final = 5


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
    blank), `empty_after_cleaning`, `too_short` or `too_long` (the cleaned text, which is never cut), `other_language`,
    `conflicting_label` (its cleaned text occurs with several labels, and `data.conflicting_labels` does not keep this
    one) or `duplicate` (of an earlier row by batch and row). The order of `raw` does not matter.

    Args:
        raw: `RAW_SCHEMA`.
        config: Names the cleaning steps, limits the length, maps and restricts the labels, decides on conflicts.

    Returns:
        Examples and rejected rows, each sorted by batch and row; together as many rows as `raw`.

    Raises:
        ConfigError: As `normalise_text` and `with_language_reason`.
        UnknownLabelError: A label is neither mapped nor allowed.
        NoExamplesError: All rows are rejected.
        SingleClassError: All examples have the same label.
        TooFewExamplesError: A label in `data.labels` has no example.
    """
    # Ties in batch and row are broken by content, so that the result never depends on the order of the input.
    rows = raw.sort("batch", "row", "text", "label")
    rows = rows.with_columns(cleaned=normalise_text(rows["text"], config.cleaning_steps))
    rows = with_language_reason(map_labels(rows, config).with_columns(reason=_basic_reason(config)), config)
    rows = rows.with_columns(reason=repetition_reason(config.conflicting_labels))
    log_conflicts(rows, config.conflicting_labels)
    kept = rows.filter(pl.col("reason").is_null())
    rejected = rows.filter(pl.col("reason").is_not_null()).select(REJECTED_SCHEMA.names())
    _check_labels(kept, rejected, config)
    placing = [column for column in PLACEMENT_SCHEMA if column in kept.columns]
    examples = kept.select("batch", "row", *placing, text="cleaned", label="mapped")
    examples = examples.with_columns(hash_texts(examples["text"])).select(*EXAMPLE_SCHEMA.names(), *placing)
    return Cleaned(examples, rejected)


def labels_of(examples: pl.DataFrame, config: DataConfig) -> tuple[str, ...]:
    """Return the labels in the order of the classifier's outputs: those configured, otherwise those found, sorted.

    None where the answers are free text.
    """
    if config.task != "classification":
        return ()
    return config.labels or tuple(sorted(examples["label"].unique().to_list()))


def map_labels(rows: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """Add `mapped`: the label, or null where there is none.

    A value that is already a label stays one beside a mapping: what people have labelled carries the labels' own
    names, while the raw files still say what the mapping maps.

    Args:
        rows: Columns of `RAW_SCHEMA`.
        config: Maps and restricts the labels.

    Raises:
        UnknownLabelError: A label is neither mapped nor allowed.
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


def length_reason(num_characters: pl.Expr, config: DataConfig) -> pl.Expr:
    """The reason against a text that is not empty but has too few or too many characters; null where none holds."""
    longest = config.max_characters
    is_too_long = pl.lit(value=False) if longest is None else num_characters > longest
    return (
        pl.when(num_characters < config.min_characters)
        .then(pl.lit("too_short"))
        .when(is_too_long)
        .then(pl.lit("too_long"))
    )


def _basic_reason(config: DataConfig) -> pl.Expr:
    is_missing = pl.col("text").is_null() | (pl.col("text") == "")
    return (
        pl.when(is_missing)
        .then(pl.lit("missing_text"))
        .when(pl.col("mapped").is_null())
        .then(pl.lit("missing_label"))
        .when(pl.col("cleaned").str.strip_chars() == "")
        .then(pl.lit("empty_after_cleaning"))
        .otherwise(length_reason(pl.col("cleaned").str.len_chars(), config))
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
