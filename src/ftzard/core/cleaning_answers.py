"""From rows as read to examples where the answers are free text: prompts and completions, or pairs of answers.

Prompts are normalised as texts to classify are; answers only lose the whitespace around them, because what is learnt
is to write them.
"""

import logging

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean, hash_texts, nothing_left, with_reason
from ftzard.core.cleaning_questions import normalise_questions, question_lengths
from ftzard.core.quarantine import culprits
from ftzard.core.records import EXAMPLE_SCHEMA, PLACEMENT_SCHEMA, REJECTED_SCHEMA, Cleaned
from ftzard.core.row_columns import read_pair, write_pair
from ftzard.core.text_normalisation import Told

_logger = logging.getLogger(__name__)


def clean_for_task(raw: pl.DataFrame, config: DataConfig, told: Told | None = None) -> Cleaned:
    """Turn rows as read into examples of the configured task.

    Args:
        raw: `RAW_SCHEMA`.
        config: Names the task.
        told: Is told what each cleaning step changed.

    Raises:
        FtzardError: As `clean` and `clean_answers`.
    """
    return (clean if config.has_labels else clean_answers)(raw, config, told)


def clean_answers(raw: pl.DataFrame, config: DataConfig, told: Told | None = None) -> Cleaned:
    """Turn prompts with answers into examples, one for each distinct prompt.

    A row is rejected, with the first reason that holds, for `missing_text` (the prompt is null or empty),
    `missing_answer` (the completion, or one answer of a pair, is null or blank), `empty_after_cleaning`, `too_short` or
    `too_long` (the prompt), `equal_answers` (the chosen answer is the rejected one), `duplicate` (of an earlier row by
    batch and row) or `repeated_prompt` (the prompt of an earlier row with another answer: the first is kept, because a
    prompt must not be in two splits).

    Args:
        raw: `RAW_SCHEMA`, text and label as `row_columns` makes them.
        config: Names the task and the cleaning steps.
        told: Is told what each of those changed.

    Returns:
        Examples and rejected rows, each sorted by batch and row; together as many rows as `raw`.

    Raises:
        ConfigError: As `normalise_text`.
        NoExamplesError: All rows are rejected.
    """
    rows = raw.sort("batch", "row", "text", "label")
    answers = [_stripped(label, config) for label in rows["label"]]
    rows = rows.with_columns(
        cleaned=normalise_questions(rows["text"], config, told),
        answer=pl.Series([answer for answer, _ in answers], dtype=pl.String),
        equal=pl.Series([is_equal for _, is_equal in answers], dtype=pl.Boolean),
    )
    rows = rows.with_columns(length=question_lengths(rows["cleaned"], config))
    rows = with_reason(rows, pl.col("length"), config, (pl.col("answer").is_null(), "missing_answer"))
    is_equal = pl.col("reason").is_null() & pl.col("equal")
    rows = rows.with_columns(reason=pl.when(is_equal).then(pl.lit("equal_answers")).otherwise("reason"))
    rows = rows.with_columns(reason=_repetition_reason())
    _log_repeated(rows)
    kept = rows.filter(pl.col("reason").is_null())
    rejected = rows.filter(pl.col("reason").is_not_null()).select(REJECTED_SCHEMA.names())
    if kept.is_empty():
        raise nothing_left(rejected, "prompts with answers")
    placing = [column for column in PLACEMENT_SCHEMA if column in kept.columns]
    examples = kept.select("batch", "row", *placing, text="cleaned", label="answer")
    return Cleaned(
        examples.with_columns(hash_texts(examples["text"])).select(*EXAMPLE_SCHEMA.names(), *placing), rejected
    )


def answer_lengths(labels: pl.Series, config: DataConfig) -> dict[str, pl.Series]:
    """How many characters answers have, by what they are: `answers`; of pairs, `chosen answers` and `rejected answers`.

    Args:
        labels: `label` of `EXAMPLE_SCHEMA`, without null.
        config: Names the task.
    """
    if config.task != "preference":
        return {"answers": labels.str.len_chars()}
    pairs = [read_pair(label) for label in labels]
    return {
        f"{kind} answers": pl.Series([len(pair[place]) for pair in pairs], dtype=pl.UInt32)
        for place, kind in enumerate(("chosen", "rejected"))
    }


def _stripped(label: str | None, config: DataConfig) -> tuple[str | None, bool]:
    """An answer without the whitespace around it, null where nothing is left; and whether two answers are one."""
    if label is None or config.task != "preference":
        return (label or "").strip() or None, False
    chosen, rejected = (answer.strip() for answer in read_pair(label))
    return write_pair(chosen, rejected), chosen == rejected


def _log_repeated(rows: pl.DataFrame) -> None:
    """Warn of answers that are left out because an earlier row answers the same prompt otherwise."""
    repeated = rows.filter(pl.col("reason") == "repeated_prompt")
    if repeated.is_empty():
        return
    places = [f"{batch}, row {row}" for batch, row in repeated.select("batch", "row").iter_rows()]
    _logger.warning(
        "rejected %d rows because an earlier row answers the same prompt otherwise, and the first answer is kept: %s",
        repeated.height,
        culprits(places),
    )


def _repetition_reason() -> pl.Expr:
    """Among rows without a reason so far, all but the first of a prompt."""
    is_later = pl.int_range(pl.len()).over("cleaned", "reason") > 0
    is_other = pl.int_range(pl.len()).over("cleaned", "answer", "reason") == 0
    return (
        pl.when(pl.col("reason").is_not_null())
        .then(pl.col("reason"))
        .when(is_later & is_other)
        .then(pl.lit("repeated_prompt"))
        .when(is_later)
        .then(pl.lit("duplicate"))
    )
