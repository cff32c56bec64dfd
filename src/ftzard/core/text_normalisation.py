"""Cleaning steps applied to texts until nothing changes, and what each of them changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
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
_NUM_TOGETHER: Final = 200_000
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


# Takes what each step changed.
Told = Callable[[tuple[StepChanges, ...]], object]


class StepTally:
    """What each step changes, kept count of while `normalise_text` applies them."""

    def __init__(self, num_rows: int, rows: pl.Series | None = None) -> None:
        """Begin to count.

        Args:
            num_rows: How many rows there are.
            rows: For each text the position of the row that it belongs to, where a row can have several; None: each
                text is a row.
        """
        self._rows = pl.arange(0, num_rows, eager=True) if rows is None else rows
        self._num_rows = num_rows
        self._is_changed: dict[str, Any] = {}
        self._examples: dict[str, list[tuple[str, str]]] = {}

    def add(self, step: str, positions: pl.Series, before: pl.Series, after: pl.Series) -> None:
        """Count what a step made of the texts at some positions."""
        is_changed = self._is_changed.setdefault(step, np.zeros(self._num_rows, dtype=bool))
        examples = self._examples.setdefault(step, [])
        differing = before.ne_missing(after).arg_true()
        is_changed[self._rows[positions[differing]].to_numpy()] = True
        shown = differing.head(_NUM_LOOKED_AT)
        pairs = pl.DataFrame({"before": before[shown], "after": after[shown]}).unique(maintain_order=True)
        examples += pairs.head(_NUM_EXAMPLES - len(examples)).rows()

    def changes(self, steps: Sequence[str]) -> tuple[StepChanges, ...]:
        """What there was of some steps, in their order; one that is named twice occurs once."""
        none = np.zeros(0, dtype=bool)
        return tuple(
            StepChanges(step, int(self._is_changed.get(step, none).sum()), tuple(self._examples.get(step, ())))
            for step in dict.fromkeys(steps)
        )


def normalise_text(texts: pl.Series, steps: Sequence[str], tally: StepTally | None = None) -> pl.Series:
    """Apply cleaning steps, in order and then again until nothing changes.

    The repetition makes cleaning idempotent whatever the steps and their order: removing a character can join others
    to something that an earlier step would have changed. Each of FTzard's steps removes something or is stable, so it
    ends; one pass that changes the text and one that does not are the rule.

    Args:
        texts: Text, labelled or not; null stays null.
        steps: Names of FTzard's steps or of registered ones.
        tally: Keeps count of what each changes.

    Returns:
        A series of the same length and name.

    Raises:
        ConfigError: A step does not exist, fails, makes something else than one text of each text, or never ends.
        MissingPackageError: A step needs a package that is not installed.
    """
    found, texts = [find_step(name) for name in steps], texts.cast(pl.String)
    # What is made on the way takes several times the memory of the texts.
    starts = range(0, max(texts.len(), 1), _NUM_TOGETHER)
    made = [_normalised(texts.slice(start, _NUM_TOGETHER), found, tally, start) for start in starts]
    return pl.concat(made)


def _normalised(texts: pl.Series, steps: Sequence[CleaningStep], tally: StepTally | None, first: int) -> pl.Series:
    """The texts, of which the first has the position `first` among all, when the steps change nothing more."""
    limit, open_, after = _Limit(texts), pl.arange(0, texts.len(), eager=True), texts
    while not open_.is_empty():
        before = after if open_.len() == after.len() else after[open_]
        made = _in_one_pass(before, steps, tally, open_ + first)
        is_changed = before.ne_missing(made)
        open_, made = open_.filter(is_changed), made.filter(is_changed)
        after = made if made.len() == after.len() else after.scatter(open_, made)
        limit.check(made, steps)
        is_concerned = _concerned(made, steps)
        open_ = open_ if is_concerned is None else open_.filter(is_concerned)
    return after.rename(texts.name)


def step_changes(texts: pl.Series, steps: Sequence[str]) -> tuple[StepChanges, ...]:
    """Say what each step does when `normalise_text` applies them, by doing so.

    Args:
        texts: As for `normalise_text`.
        steps: As for `normalise_text`.

    Returns:
        In the order of `steps`; a step that is named twice occurs once.

    Raises:
        FtzardError: As `normalise_text`.
    """
    tally = StepTally(texts.len())
    normalise_text(texts, steps, tally)
    return tally.changes(steps)


class _Limit:
    """How often and how far texts may change; what exceeds it would never end, or only when memory does."""

    def __init__(self, texts: pl.Series) -> None:
        self._max_bytes = _MAX_GROWTH * _num_bytes(texts) + _ALWAYS_ALLOWED_BYTES
        self._num_passes = 0

    def check(self, texts: pl.Series, steps: Sequence[CleaningStep]) -> None:
        """Count a pass that changed texts into these."""
        self._num_passes += 1
        if self._num_passes < _MAX_PASSES and _num_bytes(texts) <= self._max_bytes:
            return
        raise ConfigError(
            f"data.cleaning_steps ({', '.join(step.name for step in steps)}) still change {texts.len()} text(s) after "
            f"{self._num_passes} passes, such as {texts[0][:80]!r}",
            fix="steps are applied until nothing changes: let each leave what it has made as it is",
        )


def _num_bytes(texts: pl.Series) -> int:
    return int(texts.str.len_bytes().sum())


def _concerned(texts: pl.Series, steps: Sequence[CleaningStep]) -> pl.Series | None:
    """Which texts the steps may change; None where one of them does not say so."""
    tests = [step.concerns for step in steps if step.concerns is not None]
    if not tests or len(tests) < len(steps):
        return None
    return _evaluated(pl.any_horizontal(concerns(pl.col("text")) for concerns in tests), texts)


def _in_one_pass(
    texts: pl.Series, steps: Sequence[CleaningStep], tally: StepTally | None, positions: pl.Series
) -> pl.Series:
    """All steps as one expression; one by one where that is counted, or somebody else's code could be at fault."""
    if tally or any(step.version for step in steps):
        for step in steps:
            after = _applied(step, texts)
            if tally:
                tally.add(step.name, positions, texts, after)
            texts = after
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
