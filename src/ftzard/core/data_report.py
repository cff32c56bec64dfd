"""All that is worth knowing of a project's data before one trains on it, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from ftzard.core.cleaning import labels_of
from ftzard.core.cleaning_answers import answer_lengths
from ftzard.core.cleaning_questions import question_changes, question_lengths
from ftzard.core.data_drift import BatchDrift, batch_drifts, incoming_drifts
from ftzard.core.data_funnel import BatchRows, FunnelStep, StoredData, batch_rows, funnel, inconsistencies, label_counts
from ftzard.core.leakage import quarantined_examples
from ftzard.core.length_summary import LengthSummary, length_summaries
from ftzard.core.odd_characters import OddCharacters, odd_characters
from ftzard.core.repeated_texts import RepeatedTexts, repeated_texts
from ftzard.core.token_lengths import TokenLengths, token_lengths
from ftzard.errors import FtzardError

if TYPE_CHECKING:
    from ftzard.config import DataConfig, FtzardConfig
    from ftzard.core.metrics import IntArray
    from ftzard.core.text_normalisation import StepChanges

# Of more rows, so many are cleaned once more to see what each step does.
_MAX_CLEANED_AGAIN: Final = 200_000


@dataclass(frozen=True)
class Absence:
    """A part that is left out.

    Attributes:
        what: Which.
        why: The reason.
        fix: What would bring it back.
    """

    what: str
    why: str
    fix: str


@dataclass(frozen=True, eq=False)
class DataReport:
    """A project's data.

    Attributes:
        task: `data.task`.
        steps: The funnel.
        batches: What became of each file, newest first.
        unread: Files that are in the data folders, and of which nothing was read yet.
        labels: Split -> label -> rows; empty where the answers are free text.
        text_lengths: Characters of a text, by split.
        answer_lengths: Characters of an answer, by split and by what is an answer; empty where there are labels.
        repeated: None where nothing is cleaned yet.
        quarantined: Columns `batch`, `row`, `text`, `test_text`, `num_edits`: rows that repeat a test row.
        test_split: Since when it is frozen, or that it grows; empty where there is none.
        odd: What looks like an accident, most first.
        changes: What each cleaning step does to the rows as read.
        num_cleaned_again: Of how many rows that was counted.
        drifts: Of each batch, newest first, as far as it can be compared.
        incoming_drifts: Of each of the files that came in without labels, newest first, against the train split.
        tokens: None where they could not be counted.
        absences: What is left out.
        inconsistencies: Where what is stored was not made from each other.
    """

    task: str
    steps: tuple[FunnelStep, ...]
    batches: tuple[BatchRows, ...]
    unread: tuple[str, ...]
    labels: Mapping[str, Mapping[str, int]]
    text_lengths: tuple[LengthSummary, ...]
    answer_lengths: tuple[LengthSummary, ...]
    repeated: RepeatedTexts | None
    quarantined: pl.DataFrame
    test_split: str
    odd: tuple[OddCharacters, ...]
    changes: "tuple[StepChanges, ...]"
    num_cleaned_again: int
    drifts: tuple[BatchDrift, ...]
    incoming_drifts: tuple[BatchDrift, ...]
    tokens: TokenLengths | None
    absences: tuple[Absence, ...]
    inconsistencies: tuple[str, ...]

    def rows_after(self, step: str) -> int | None:
        """Rows that are left after a step of the funnel; None where it was not done."""
        return next((found.num_rows for found in self.steps if found.name == step), None)


def data_report(
    stored: StoredData, config: "FtzardConfig", absences: tuple[Absence, ...] = (), *, with_tokens: bool = True
) -> DataReport:
    """Look at everything once.

    Args:
        stored: What there is; whatever is None is left out.
        config: The project's, as it is now.
        absences: What is known to be missing, and why.
        with_tokens: Whether to read the base model's tokenizer.

    Raises:
        FtzardError: A registered cleaning step is broken.
    """
    data = config.data
    parts = stored.parts
    tokens, lacking = _tokens(stored, config) if with_tokens else (None, _TOKENS_NOT_ASKED_FOR)
    raw = stored.raw.head(_MAX_CLEANED_AGAIN).sort("batch", "row") if stored.raw is not None else None
    examples = stored.cleaned.examples if stored.cleaned else None
    has_labels = data.has_labels
    return DataReport(
        task=data.task,
        steps=funnel(stored),
        batches=batch_rows(stored, data),
        unread=stored.unread,
        labels={name: label_counts(frame, data.task) for name, frame in parts.items()} if has_labels else {},
        text_lengths=length_summaries(
            {name: question_lengths(frame["text"], data).to_numpy() for name, frame in parts.items()}
        ),
        answer_lengths=() if has_labels else _answer_lengths(parts, data),
        repeated=repeated_texts(stored.cleaned, data) if stored.cleaned else None,
        quarantined=quarantined_examples(stored.splits, stored.frozen, data) if stored.splits else pl.DataFrame(),
        test_split=_test_split(stored, data),
        odd=() if examples is None else odd_characters(examples["text"]),
        changes=() if raw is None else question_changes(raw["text"], data),
        num_cleaned_again=0 if raw is None else raw.height,
        drifts=_drifts(stored, config),
        incoming_drifts=incoming_drifts(stored.incoming, stored.splits.train, data) if stored.splits else (),
        tokens=tokens,
        absences=(*absences, *((lacking,) if lacking else ())),
        inconsistencies=tuple(inconsistencies(stored)),
    )


_TOKENS_NOT_ASKED_FOR: Final = Absence("token lengths", "they were not asked for", "run without --no-tokens")


def _tokens(stored: StoredData, config: "FtzardConfig") -> tuple[TokenLengths | None, Absence | None]:
    """Whatever is wrong with the base model, the data can be looked at."""
    train = stored.splits.train if stored.splits else stored.cleaned.examples if stored.cleaned else None
    if train is None:
        return None, None
    try:
        return token_lengths(train, labels_of(train, config.data), config), None
    except FtzardError as error:
        return None, Absence("token lengths", error.what, error.fix)


def _answer_lengths(parts: Mapping[str, pl.DataFrame], config: "DataConfig") -> tuple[LengthSummary, ...]:
    lengths: dict[str, IntArray] = {}
    for name, frame in parts.items():
        found = answer_lengths(frame["label"], config)
        lengths |= {
            name if len(found) == 1 else f"{name}, {kind.removesuffix(' answers')}": values.to_numpy()
            for kind, values in found.items()
        }
    return length_summaries(lengths)


def _test_split(stored: StoredData, config: "DataConfig") -> str:
    if stored.splits is None:
        return ""
    if config.test_split == "growing":
        return "grows by itself (data.test_split=growing)"
    return stored.frozen.current.sentence if stored.frozen else "is not frozen"


def _drifts(stored: StoredData, config: "FtzardConfig") -> tuple[BatchDrift, ...]:
    """Against the train split; nothing where there is none, or a single batch."""
    if stored.splits is None or len(stored.batches) == 1:
        return ()
    examples = stored.cleaned.examples if stored.cleaned else stored.splits.labelled
    return batch_drifts(examples, stored.splits.train, stored.batches, config.data)
