"""Cleaning steps applied to texts until nothing changes, and what each of them changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ftzard.core.cleaning_steps import CleaningStep
from ftzard.core.step_registry import find_step
from ftzard.errors import ConfigError, FtzardError

_NUM_EXAMPLES: Final = 5
# Far beyond what FTzard's own steps need for a text that nobody made for it; a step of somebody else may never end.
_MAX_PASSES: Final = 1000
_MAX_GROWTH: Final = 100
_ALWAYS_ALLOWED_BYTES: Final = 100_000
# Setting up a stream costs more than so many texts do.
_NUM_AT_ONCE: Final = 5000
# Of the changed rows, among how many distinct examples are looked for.
_NUM_LOOKED_AT: Final = 1000


@dataclass(frozen=True)
class StepChanges:
    """What one step did to a column of texts.

    Attributes:
        name: Of the step.
        num_rows: How many rows it changed, in any pass.
        examples: The first five distinct pairs of text before and after the step, by pass and row.
    """

    name: str
    num_rows: int
    examples: tuple[tuple[str, str], ...]


def normalise_text(texts: pl.Series, steps: Sequence[str]) -> pl.Series:
    """Apply cleaning steps, in order and then again until nothing changes.

    The repetition makes cleaning idempotent whatever the steps and their order: removing a character can join others
    to something that an earlier step would have changed. Each of FTzard's steps removes something or is stable, so it
    ends; one pass that changes the text and one that does not are the rule.

    Args:
        texts: Text, labelled or not; null stays null.
        steps: Names of FTzard's steps or of registered ones.

    Returns:
        A series of the same length and name.

    Raises:
        ConfigError: A step does not exist, fails, makes something else than one text of each text, or never ends.
        MissingPackageError: A step needs a package that is not installed.
    """
    found = [find_step(name) for name in steps]
    rows = _numbered(texts)
    limit = _Limit(rows)
    settled: list[pl.DataFrame] = []
    while not rows.is_empty():
        after = _in_one_pass(rows["text"], found)
        is_settled = rows["text"].eq_missing(after)
        settled.append(rows.filter(is_settled))
        rows = rows.with_columns(text=after).filter(~is_settled)
        limit.check(rows, found)
    return pl.concat([rows, *settled]).sort("index")["text"].rename(texts.name)


def step_changes(texts: pl.Series, steps: Sequence[str], rows: pl.Series | None = None) -> tuple[StepChanges, ...]:
    """Say what each step does when `normalise_text` applies them, by doing it once more step by step.

    Args:
        texts: As for `normalise_text`.
        steps: As for `normalise_text`.
        rows: Numbers of the rows that the texts belong to, where a row can have several; None: each is a row.

    Returns:
        In the order of `steps`; a step that is named twice occurs once.

    Raises:
        FtzardError: As `normalise_text`.
    """
    found = [find_step(name) for name in steps]
    numbered = _numbered(texts).with_columns(row=pl.int_range(pl.len()) if rows is None else rows).drop_nulls("text")
    limit = _Limit(numbered)
    changed = {step.name: numbered["row"].clear() for step in found}
    examples: dict[str, list[tuple[str, str]]] = {step.name: [] for step in found}
    while not numbered.is_empty():
        before = numbered["text"]
        for step in found:
            after = numbered.with_columns(after=_applied(step, numbered["text"]))
            differing = after.filter(pl.col("text") != pl.col("after"))
            changed[step.name] = pl.concat([changed[step.name], differing["row"]]).unique()
            examples[step.name] += _distinct(differing, _NUM_EXAMPLES - len(examples[step.name]))
            numbered = after.drop("text").rename({"after": "text"})
        numbered = numbered.filter(numbered["text"] != before)
        limit.check(numbered, found)
    return tuple(StepChanges(name, changed[name].len(), tuple(pairs)) for name, pairs in examples.items())


class _Limit:
    """How often and how far texts may change; what exceeds it would never end, or only when memory does."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._max_bytes = _MAX_GROWTH * _num_bytes(rows) + _ALWAYS_ALLOWED_BYTES
        self._num_passes = 0

    def check(self, rows: pl.DataFrame, steps: Sequence[CleaningStep]) -> None:
        """Count a pass that left these rows unsettled."""
        self._num_passes += 1
        if self._num_passes < _MAX_PASSES and _num_bytes(rows) <= self._max_bytes:
            return
        raise ConfigError(
            f"data.cleaning_steps ({', '.join(step.name for step in steps)}) still change {rows.height} text(s) after "
            f"{self._num_passes} passes, such as {rows['text'][0][:80]!r}",
            fix="steps are applied until nothing changes: let each leave what it has made as it is",
        )


def _numbered(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"index": pl.int_range(texts.len(), eager=True), "text": texts.cast(pl.String)})


def _num_bytes(rows: pl.DataFrame) -> int:
    return int(rows["text"].str.len_bytes().sum())


def _distinct(differing: pl.DataFrame, num_wanted: int) -> list[tuple[str, str]]:
    pairs = differing.head(_NUM_LOOKED_AT).select("text", "after").unique(maintain_order=True)
    return [(before, after) for before, after in pairs.head(num_wanted).iter_rows()]


def _in_one_pass(texts: pl.Series, steps: Sequence[CleaningStep]) -> pl.Series:
    """All steps as one expression; one by one where somebody else's code could be at fault, so as to name it."""
    if any(step.version for step in steps):
        for step in steps:
            texts = _applied(step, texts)
        return texts
    expression = pl.col("text")
    for step in steps:
        expression = step.apply(expression)
    return _evaluated(expression, texts)


def _evaluated(expression: pl.Expr, texts: pl.Series) -> pl.Series:
    """Many texts in pieces, by all processors: one expression on a whole column is the work of one of them."""
    lazy = texts.to_frame("text").lazy().select(expression)
    return lazy.collect(engine="streaming" if texts.len() > _NUM_AT_ONCE else "in-memory").to_series()


def _expression_of(step: CleaningStep) -> pl.Expr:
    made: object = step.apply(pl.col("text"))
    if isinstance(made, pl.Expr):
        return made
    raise ConfigError(
        f"the cleaning step {step.name} returns a {type(made).__name__}",
        fix="let the registered function return a polars expression",
    )


def _applied(step: CleaningStep, texts: pl.Series) -> pl.Series:
    if not step.version:
        return _evaluated(step.apply(pl.col("text")), texts)
    try:
        after = _evaluated(_expression_of(step), texts)
    except FtzardError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the cleaning step {step.name} fails: {type(error).__name__}: {error}",
            fix="correct the registered function, or take the step out of data.cleaning_steps",
        ) from error
    if after.dtype != pl.String or after.len() != texts.len() or not after.is_null().equals(texts.is_null()):
        raise ConfigError(
            f"the cleaning step {step.name} makes {after.len()} value(s) of type {after.dtype}, {after.null_count()} "
            f"of them null, of {texts.len()} text(s), {texts.null_count()} of them null",
            fix="let the registered function return an expression that makes one text of each text, and null of null",
        )
    return after
