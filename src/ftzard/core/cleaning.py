"""From rows as read to examples: text normalised, labels mapped, and every row that is not an example accounted for.

The same normalisation serves text that arrives without a label, so that a model sees in use what it saw in training.
"""

import logging
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import shorten
from ftzard.core.conflicting_labels import log_conflicts, repetition_reason
from ftzard.core.label_names import label_names
from ftzard.core.label_sets import map_label_sets
from ftzard.core.language_filter import with_language_reason
from ftzard.core.quarantine import culprits, max_quarantined, too_many
from ftzard.core.records import EXAMPLE_SCHEMA, PLACEMENT_SCHEMA, REJECTED_SCHEMA, Cleaned
from ftzard.core.text_normalisation import StepTally, Told, normalise_text
from ftzard.errors import NoExamplesError, SingleClassError, TooFewExamplesError, UnknownLabelError

_logger = logging.getLogger(__name__)

_NUM_HASH_BYTES: Final = 16
# What is told apart; the absence of a single label is none.
_MIN_LABELS: Final = 2
_INTEGRAL: Final = r"^(-?\d+)\.0+$"
# The reason against a row whose label is none of those that there may be.
UNKNOWN_LABEL: Final = "unknown_label"
# What helps where most rows are rejected for a reason: other columns more often than other data.
_FIX_BY_REASON: Final = {
    "missing_text": "name the column that holds the texts with data.text_column (of prompts data.prompt_column)",
    "missing_label": "name the column that holds the labels with data.label_column",
    "missing_answer": "name the column that holds the answers with data.completion_column (of pairs data.chosen_column "
    "and data.rejected_column)",
    "equal_answers": "name columns with two different answers with data.chosen_column and data.rejected_column",
}


def hash_texts(texts: pl.Series) -> pl.Series:
    """Identify texts by their content: the first 16 bytes of the SHA-256 of their UTF-8, as 32 hexadecimal digits.

    Args:
        texts: Cleaned texts without null.

    Returns:
        A series named `text_hash`, of the same length.
    """
    import polars_hash  # noqa: F401 - registers the namespace `chash`

    digits = pl.col("text").chash.sha2_256().str.slice(0, 2 * _NUM_HASH_BYTES)  # type: ignore[attr-defined]
    # As strings of their own: a slice alone would keep all 64 digits in memory.
    digits = digits + ""
    return (
        texts.cast(pl.String).to_frame("text").lazy().select(text_hash=digits).collect(engine="streaming").to_series()
    )


def clean(raw: pl.DataFrame, config: DataConfig, told: Told | None = None) -> Cleaned:
    """Turn rows as read into examples.

    A row is rejected, with the first reason that holds, for `unknown_label` (neither mapped nor allowed),
    `missing_text` (null or empty), `missing_label` (null or blank), `empty_after_cleaning`, `too_short` or `too_long`
    (the cleaned text, which is never cut), `other_language`, `conflicting_label` (its cleaned text occurs with several
    labels, and `data.conflicting_labels` does not keep this one) or `duplicate` (of an earlier row by batch and row).
    The order of `raw` does not matter.

    Args:
        raw: `RAW_SCHEMA`.
        config: Names the cleaning steps, limits the length, maps and restricts the labels, decides on conflicts.
        told: Is told what each cleaning step changed.

    Returns:
        Examples and rejected rows, each sorted by batch and row; together as many rows as `raw`.

    Raises:
        ConfigError: As `normalise_text`.
        UnknownLabelError: More of the rows of a batch have an unknown label than `data.max_quarantined_fraction`.
        NoExamplesError: All rows are rejected.
        SingleClassError: All examples have the same label.
        TooFewExamplesError: A label in `data.labels` has no example.
    """
    rows = _in_order(raw)
    tally = StepTally(rows.height) if told else None
    rows = rows.with_columns(cleaned=normalise_text(rows["text"], config.cleaning_steps, tally))
    if told and tally:
        told(tally.changes(config.cleaning_steps))
    rows = map_labels(rows, config)
    _require_few_unknown(rows, config)
    rows = with_reason(rows, pl.col("cleaned").str.len_chars(), config, (pl.col("mapped").is_null(), "missing_label"))
    rows = rows.with_columns(reason=pl.when("is_unknown").then(pl.lit(UNKNOWN_LABEL)).otherwise("reason"))
    rows = rows.with_columns(_with_repetitions(rows, config))
    log_conflicts(rows, config.conflicting_labels)
    rejected = rows.filter(pl.col("reason").is_not_null()).select(REJECTED_SCHEMA.names())
    placing = [column for column in PLACEMENT_SCHEMA if column in rows.columns]
    is_kept = rows["reason"].is_null()
    examples = rows.select("batch", "row", *placing, text="cleaned", label="mapped").filter(is_kept)
    _check_labels(examples, rejected, config)
    examples = examples.with_columns(hash_texts(examples["text"])).select(*EXAMPLE_SCHEMA.names(), *placing)
    return Cleaned(examples, rejected)


def _in_order(raw: pl.DataFrame) -> pl.DataFrame:
    """The rows by batch and row; ties are broken by content, so that the order of the input never counts.

    What `raw_data` holds is in that order, and a copy of all rows would only take memory.
    """
    batch, row = pl.col("batch"), pl.col("row")
    follows = (batch > batch.shift()) | ((batch == batch.shift()) & (row > row.shift()))
    if raw.select(follows.slice(1).all(ignore_nulls=False)).item():
        return raw
    return raw.sort("batch", "row", "text", "label")


def _with_repetitions(rows: pl.DataFrame, config: DataConfig) -> pl.Series:
    """The reasons, with those against repeated texts; most texts occur once, and are not looked at twice."""
    # By their hashes, which costs little; should two texts share one, both are looked at, and found to be different.
    is_repeated = rows["reason"].is_null() & rows["cleaned"].hash().is_duplicated()
    repeated = rows.filter(is_repeated).select(reason=repetition_reason(config.conflicting_labels))
    return rows["reason"].scatter(is_repeated.arg_true(), repeated["reason"])


def labels_of(examples: pl.DataFrame, config: DataConfig) -> tuple[str, ...]:
    """Return the labels in the order of the classifier's outputs: those configured, otherwise those found, sorted.

    None where the answers are free text.
    """
    if not config.has_labels:
        return ()
    return config.labels or tuple(sorted(label_names(examples["label"], config.task).unique().to_list()))


def map_labels(rows: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """Add `mapped`: the label, or null where there is none; and `is_unknown`: whether it is one that is not allowed.

    A value that is already a label stays one beside a mapping: what people have labelled carries the labels' own
    names, while the raw files still say what the mapping maps. What programs make of a column of integers in which a
    value is missing counts as the integer: 4.0 is 4, unless 4.0 is a label of its own.

    Args:
        rows: Columns of `RAW_SCHEMA`.
        config: Maps and restricts the labels.
    """
    if config.task == "multi_label":
        return map_label_sets(rows, config)
    # There are few labels, and many rows of each.
    distinct = _mapped(rows.select("label").unique(), config).drop("stripped")
    return rows.join(distinct, on="label", how="left", nulls_equal=True, maintain_order="left")


def _mapped(labels: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """The same for single labels alone."""
    stripped = pl.col("label").str.strip_chars()
    rows = labels.with_columns(stripped=pl.when(stripped != "").then(stripped))
    allowed, mapping = _allowed(config), dict(config.label_mapping)
    mapped = pl.col("stripped").replace(mapping)
    if not allowed:
        return rows.with_columns(mapped=mapped, is_unknown=pl.lit(value=False))
    as_integer = pl.col("stripped").str.replace(_INTEGRAL, "$1").replace(mapping)
    rows = rows.with_columns(
        mapped=pl.when(~mapped.is_in(allowed) & as_integer.is_in(allowed)).then(as_integer).otherwise(mapped)
    )
    return rows.with_columns(is_unknown=pl.col("mapped").is_not_null() & ~pl.col("mapped").is_in(allowed))


def _allowed(config: DataConfig) -> list[str]:
    """The labels that there may be; none where all may."""
    return list(config.labels or dict.fromkeys(config.label_mapping.values()))


def _require_few_unknown(rows: pl.DataFrame, config: DataConfig) -> None:
    """Warn of unknown labels; where a batch has too many, its labels are others than those of the configuration."""
    unknown = rows.filter("is_unknown")
    if unknown.is_empty():
        return
    counts = rows.group_by("batch", maintain_order=True).agg(pl.col("is_unknown").sum(), pl.len())
    for batch, num_unknown, num_rows in counts.iter_rows():
        if num_unknown > max_quarantined(num_rows, config):
            raise too_many(
                UnknownLabelError,
                f"{_told_unknown(unknown.filter(batch=batch), config)}; this is",
                (num_unknown, num_rows, batch),
                f"take {config.no_label!r} out of these cells, or choose another word with data.no_label"
                if _stand_beside_none(config)
                else "correct the labels in the file(s), add them to data.label_mapping, or add them to data.labels",
                config,
            )
    _logger.warning("rejected %s", _told_unknown(unknown, config))


def _stand_beside_none(config: DataConfig) -> bool:
    """Whether nothing else can be unknown about labels: each is allowed, and a set must not say none and name some."""
    return config.task == "multi_label" and not _allowed(config)


def _told_unknown(unknown: pl.DataFrame, config: DataConfig) -> str:
    places = unknown.select("batch", "row", "label").iter_rows()
    told = culprits([f"{batch}, row {row}: {shorten(label)!r}" for batch, row, label in places])
    mapping = f"; data.label_mapping maps {sorted(config.label_mapping)}" if config.label_mapping else ""
    if _stand_beside_none(config):
        return f"{unknown.height} row(s) name labels and say {config.no_label!r}, that there are none: {told}"
    allowed = _allowed(config) or "any"
    alone = f"; {config.no_label!r} stands alone" if config.task == "multi_label" else ""
    return f"{unknown.height} row(s) have an unknown label: {told}; allowed: {allowed}{alone}{mapping}"


def with_reason(
    rows: pl.DataFrame, num_characters: pl.Expr, config: DataConfig, *lacking: tuple[pl.Expr, str]
) -> pl.DataFrame:
    """Add `reason`: the first that speaks against a row by itself, or null.

    That there is no text, what else it lacks, that cleaning left nothing of it, its length, its language.

    Args:
        rows: With columns `text` and `cleaned`.
        num_characters: Of the cleaned text.
        config: Limits the length and names the languages.
        lacking: What else a row can lack, and the reason code for it.

    Raises:
        FtzardError: As `with_language_reason`.
    """
    longest = config.max_characters
    reasons = (
        (pl.col("text").is_null() | (pl.col("text") == ""), "missing_text"),
        *lacking,
        (pl.col("cleaned").str.strip_chars() == "", "empty_after_cleaning"),
        (num_characters < config.min_characters, "too_short"),
        (pl.lit(value=False) if longest is None else num_characters > longest, "too_long"),
    )
    reason = pl.coalesce(pl.when(holds).then(pl.lit(code)) for holds, code in reasons)
    return with_language_reason(rows.with_columns(reason=reason), config)


def nothing_left(rejected: pl.DataFrame, what: str) -> NoExamplesError:
    """The error for rows that were all rejected, with the reasons counted.

    Args:
        rejected: `REJECTED_SCHEMA`.
        what: What would have been needed.
    """
    counts = rejected["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False]).rows()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts) or "there was none to begin with"
    main = counts[0][0] if counts else ""
    fix = _FIX_BY_REASON.get(main, "take steps that remove less in data.cleaning_steps")
    return NoExamplesError(
        f"no row is left after cleaning, of {rejected.height}: {reasons}",
        fix=f"look at the rejected rows; add {what}, or {fix}",
    )


def _check_labels(examples: pl.DataFrame, rejected: pl.DataFrame, config: DataConfig) -> None:
    if examples.is_empty():
        raise nothing_left(rejected, "labelled text")
    found = label_names(examples["label"], config.task).unique().to_list()
    if len(found) < _MIN_LABELS:
        told = f"the label {found[0]!r}" if found else "none of the labels"
        told += " or none" if config.task == "multi_label" and found else ""
        raise SingleClassError(
            f"all {examples.height} examples have {told}, so there is nothing to learn",
            fix="add examples of at least one other label, or look at data.label_column and data.label_mapping",
        )
    lacking = [label for label in config.labels if label not in found]
    if lacking:
        raise TooFewExamplesError(
            f"no example has the label(s) {lacking} that data.labels names; found: {sorted(found)}",
            fix="add examples of them, or take them out of data.labels",
        )
