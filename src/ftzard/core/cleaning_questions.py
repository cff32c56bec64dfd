"""What a model is asked, cleaned the same with an answer beside it and without."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning import hash_texts, nothing_left, with_reason
from ftzard.core.conversations import read_messages, write_messages
from ftzard.core.records import EXAMPLE_SCHEMA, REJECTED_SCHEMA, Cleaned
from ftzard.core.text_normalisation import StepChanges, StepTally, Told, normalise_text


def normalise_questions(texts: pl.Series, config: DataConfig, told: Told | None = None) -> pl.Series:
    """Apply the configured cleaning steps to what a model is asked.

    Args:
        texts: `text` of `RAW_SCHEMA`; null stays null.
        config: Names the steps. Of messages, the content of each that is not an assistant's is normalised.
        told: Is told what each step changes. Rows are counted; the examples are of single messages.

    Returns:
        A series of the same length and name. Messages whose last content is then blank become empty as a whole.

    Raises:
        ConfigError: As `normalise_text`.
    """
    if config.messages_column is None:
        tally = StepTally(texts.len()) if told else None
        normalised = normalise_text(texts, config.cleaning_steps, tally)
    else:
        all_messages = _all_messages(texts)
        asked = [
            (row, message["content"])
            for row, messages in enumerate(all_messages)
            for message in messages or ()
            if message["role"] != "assistant"
        ]
        rows = pl.Series("row", [row for row, _ in asked], dtype=pl.Int64)
        tally = StepTally(texts.len(), rows) if told else None
        flat = pl.Series("content", [content for _, content in asked], dtype=pl.String)
        contents = iter(normalise_text(flat, config.cleaning_steps, tally))
        changed = [None if messages is None else _with_contents(messages, contents) for messages in all_messages]
        normalised = pl.Series(texts.name, changed, dtype=pl.String)
    if told and tally:
        told(tally.changes(config.cleaning_steps))
    return normalised


def question_changes(texts: pl.Series, config: DataConfig) -> tuple[StepChanges, ...]:
    """Say what each of the configured steps changes in what a model is asked.

    Args:
        texts: As for `normalise_questions`.
        config: Likewise.

    Raises:
        ConfigError: As `normalise_text`.
    """
    changes: list[StepChanges] = []
    normalise_questions(texts, config, changes.extend)
    return tuple(changes)


def question_lengths(texts: pl.Series, config: DataConfig) -> pl.Series:
    """How many characters a model is asked with; of messages, those of their contents.

    Args:
        texts: As `normalise_questions` returns them.
        config: Says whether they are messages.
    """
    if config.messages_column is None:
        return texts.str.len_chars()
    lengths = [
        None if messages is None else sum(len(message["content"]) for message in messages)
        for messages in _all_messages(texts)
    ]
    return pl.Series(texts.name, lengths, dtype=pl.UInt32)


def question_contents(texts: pl.Series, config: DataConfig, *, systems: bool = True) -> pl.Series:
    """What was said: of messages their contents, because how they are written down is the same for all.

    Args:
        texts: As `normalise_questions` returns them, without null.
        config: Says whether they are messages.
        systems: Whether what a system says counts, where anybody else says something.
    """
    if config.messages_column is None:
        return texts
    said = ["\n".join(_contents(read_messages(text), systems=systems)) for text in texts]
    return pl.Series(texts.name, said, dtype=pl.String)


def compared_texts(texts: pl.Series, config: DataConfig) -> pl.Series:
    """What texts are compared by to find those that are nearly the same; of chats, what others than systems say.

    In a short text one word is the message, and so it is in a short chat below a long system prompt.
    """
    return question_contents(texts, config, systems=False)


def clean_unlabelled(raw: pl.DataFrame, config: DataConfig) -> Cleaned:
    """Turn rows without labels into texts that a model can be asked about, exactly as with labels.

    A row is rejected for `missing_text`, `empty_after_cleaning`, `too_short`, `too_long` or `duplicate`, as in
    `ftzard.core.cleaning.clean`.

    Args:
        raw: `RAW_SCHEMA`; the labels are not looked at.
        config: Names the cleaning steps.

    Returns:
        Examples, whose label is null, and rejected rows, each sorted by batch and row; together as many rows as `raw`.

    Raises:
        ConfigError: As `normalise_text`.
        NoExamplesError: All rows are rejected.
    """
    rows = raw.with_columns(label=pl.lit(None, pl.String)).sort("batch", "row", "text")
    rows = rows.with_columns(cleaned=normalise_questions(rows["text"], config))
    rows = rows.with_columns(length=question_lengths(rows["cleaned"], config))
    rows = with_reason(rows, pl.col("length"), config)
    is_repeated = pl.col("reason").is_null() & (pl.int_range(pl.len()).over("cleaned", "reason") > 0)
    rows = rows.with_columns(reason=pl.when(is_repeated).then(pl.lit("duplicate")).otherwise("reason"))
    kept = rows.filter(pl.col("reason").is_null())
    rejected = rows.filter(pl.col("reason").is_not_null()).select(REJECTED_SCHEMA.names())
    if kept.is_empty():
        raise nothing_left(rejected, "rows with text")
    examples = kept.select("label", "batch", "row", text="cleaned")
    return Cleaned(examples.with_columns(hash_texts(examples["text"])).select(EXAMPLE_SCHEMA.names()), rejected)


def _all_messages(texts: pl.Series) -> list[list[dict[str, str]] | None]:
    return [read_messages(text) if text else None for text in texts]


def _contents(messages: Sequence[Mapping[str, str]], *, systems: bool) -> list[str]:
    counted = [message["content"] for message in messages if systems or message["role"] != "system"]
    return counted or [message["content"] for message in messages]


def _with_contents(messages: Sequence[Mapping[str, str]], contents: Iterator[str]) -> str:
    changed = [
        {**message, "content": message["content"] if message["role"] == "assistant" else next(contents)}
        for message in messages
    ]
    return write_messages(changed) if changed[-1]["content"].strip() else ""
