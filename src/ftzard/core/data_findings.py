"""What of a project's data a person should look at first, in sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ftzard.core.data_drift import AUC_MEDIUM, BatchDrift
from ftzard.core.data_report import DataReport
from ftzard.core.population_stability import PSI_LARGE, Stability
from ftzard.core.visible_text import excerpt

# Shares from which on something is told.
_MANY_REJECTED: Final = 0.05
_RARE_LABEL: Final = 0.05
_OTHER_LABEL_SHARE: Final = 0.05
# Standard deviations of a label's share in a split, which is drawn by lot, that chance hardly goes beyond.
_BEYOND_CHANCE: Final = 3.0
_MANY_NEAR: Final = 0.02
_MANY_TRUNCATED: Final = 0.01
_MANY_ODD: Final = 0.01
# From how many drifting batches on they are counted instead of named.
_NUM_NAMED: Final = 3
_NUM_NAME_CHARACTERS: Final = 60

Level = Literal["problem", "look"]


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        level: `problem` where something has to be done before numbers can be trusted, `look` where a person decides.
        sentence: What it is.
        section: Where on the page it is shown.
    """

    level: Level
    sentence: str
    section: str


def findings(report: DataReport) -> tuple[Finding, ...]:
    """What is worth a look, what has to be done first; empty where nothing is."""
    found = [Finding("problem", f"{sentence} `ftzard materialize` makes them fit.", "rows")
             for sentence in report.inconsistencies]  # fmt: skip
    if report.unread:
        found.append(Finding("problem", f"{_files(len(report.unread))} in the data folders not read yet.", "files"))
    found += [Finding("look", sentence, section) for section, sentence in _to_look_at(report)]
    return tuple(found)


def _to_look_at(report: DataReport) -> Iterator[tuple[str, str]]:
    yield from (("rows", sentence) for sentence in _losses(report))
    yield from (("labels", sentence) for sentence in _labels(report))
    yield from (("repeated", sentence) for sentence in _repetitions(report))
    num_examples = report.rows_after("cleaned") or 1
    for odd in report.odd:
        if odd.num_texts >= _MANY_ODD * num_examples:
            share = odd.num_texts / num_examples
            yield "characters", f"{percent(share)} of the examples have {odd.kind.name}: {odd.kind.advice}."
    yield from (("drift", sentence) for sentence in _drifting(report.drifts, "the rest of the training data"))
    yield from (("incoming", sentence) for sentence in _drifting(report.incoming_drifts, "the training data"))
    if report.tokens and report.tokens.truncated_share >= _MANY_TRUNCATED:
        cut = percent(report.tokens.truncated_share)
        yield "tokens", f"{cut} of the training examples are cut at model.max_length={report.tokens.max_length}."


def _losses(report: DataReport) -> Iterator[str]:
    read = report.rows_after("read")
    for step in report.steps:
        if step.name == "read" and step.lost:
            reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in list(step.lost.items())[:3])
            yield f"{sum(step.lost.values()):,} row(s) could not be read and were set aside: {reasons}."
        if step.name == "cleaned" and read:
            lost = sum(step.lost.values())
            if lost >= _MANY_REJECTED * read:
                reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in list(step.lost.items())[:3])
                yield f"{percent(lost / read)} of the rows did not become examples: {reasons}."
        if "not_sampled" in step.lost:
            yield f"{step.lost['not_sampled']:,} examples are not used, because data.sample_fraction is below 1."


def _labels(report: DataReport) -> Iterator[str]:
    whole: dict[str, int] = {}
    for counts in report.labels.values():
        for label, rows in counts.items():
            whole[label] = whole.get(label, 0) + rows
    total = sum(whole.values())
    rare = [label for label, rows in whole.items() if rows < _RARE_LABEL * total]
    if rare:
        names = ", ".join(f"{excerpt(label, 40)} ({percent(whole[label] / total)})" for label in rare[:_NUM_NAMED])
        more = f" and {len(rare) - _NUM_NAMED} more" if len(rare) > _NUM_NAMED else ""
        yield f"Rare labels: {names}{more}. What is learned of them rests on few rows."
    yield from (sentence for name in report.labels if (sentence := _skewed(name, report.labels[name], whole)))


def _skewed(name: str, counts: Mapping[str, int], whole: Mapping[str, int]) -> str:
    """Which label's share in a split is off by more than chance and a few points; empty where none is."""
    rows, total = sum(counts.values()), sum(whole.values())
    if not rows:
        return ""
    expected = {label: count / total for label, count in whole.items()}
    off = {label: counts.get(label, 0) / rows - share for label, share in expected.items()}
    label = max(off, key=lambda one: abs(off[one]))
    chance = math.sqrt(expected[label] * (1 - expected[label]) / rows)
    if abs(off[label]) < max(_OTHER_LABEL_SHARE, _BEYOND_CHANCE * chance):
        return ""
    return f"The share of {excerpt(label, 40)} in {name} is {100 * off[label]:+.1f} points off that in all splits."


def _repetitions(report: DataReport) -> Iterator[str]:
    repeated = report.repeated
    if repeated is None:
        return
    if repeated.num_conflicts:
        decides = "data.conflicting_labels decides what becomes of them"
        several = "different sets of" if report.task == "multi_label" else "several"
        yield f"{repeated.num_conflicts:,} text(s) occur with {several} labels; {decides}."
    if repeated.num_near >= _MANY_NEAR * max(1, repeated.num_compared):
        share = repeated.num_near / repeated.num_compared
        yield f"{percent(share)} of the examples are near copies of an earlier one; they are kept in one split."
    if repeated.num_near_otherwise:
        yield f"{repeated.num_near_otherwise:,} near copies have another label than what they are near."
    if not report.quarantined.is_empty():
        yield "Rows repeat a frozen test row and are kept out of training."


def _drifting(drifts: Sequence[BatchDrift], others: str) -> Iterator[str]:
    drifting = [drift for drift in drifts if is_drifting(drift)]
    if len(drifting) > _NUM_NAMED:
        most = max(drifting, key=lambda drift: drift.auc.value if drift.auc else 0.0)
        name = excerpt(most.batch, _NUM_NAME_CHARACTERS)
        yield f"{len(drifting)} of {len(drifts)} files differ clearly from {others}, most of all {name}."
        return
    for drift in drifting:
        auc = f" (AUC {drift.auc.value:.2f})" if drift.auc else ""
        yield f"{excerpt(drift.batch, _NUM_NAME_CHARACTERS)} differs clearly from {others}{auc}."


def is_drifting(drift: BatchDrift) -> bool:
    """Whether a batch is further from the rest than chance and the usual thresholds allow."""
    return (
        (drift.auc is not None and drift.auc.value >= AUC_MEDIUM and drift.auc.low > 0.5)  # noqa: PLR2004 - no difference
        or is_shifted(drift.answers)
        or is_shifted(drift.lengths)
    )


def is_shifted(stability: Stability | None) -> bool:
    """Whether a PSI is large, and beyond what chance makes of so few rows."""
    return stability is not None and stability.value >= PSI_LARGE and stability.is_beyond_chance


def percent(share: float) -> str:
    """A share for people: what is there is never 0 %, and what lacks something never 100 %."""
    points = 100 * share
    if 0 < points < 0.1:  # noqa: PLR2004 - what would be rounded to nothing
        return "< 0.1 %"
    return "> 99.9 %" if 99.95 <= points < 100 else f"{points:.1f} %"  # noqa: PLR2004 - likewise


def _files(number: int) -> str:
    return "1 file is" if number == 1 else f"{number:,} files are"
