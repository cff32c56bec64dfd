"""What the frames that cross an asset edge hold, column by column, checked when they are stored and when they are read.

The names and types are those that the core works with (`ftzard.core.records` and the modules of the predictions and of
the queue); this adds what a column means and which values it may have, for dataframely to check. That takes 0.3 s to
import, so this module is imported only where a frame is checked or shown.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any, Final

import dataframely as dy  # noqa: TID253 - this module is imported where it is needed
import polars as pl

from ftzard.core.answer_predictions import UNTRAINED, answer_schema, answer_task, incoming_schema, task_of_predictions
from ftzard.core.label_queue import NUM_DRAWN_FROM, sidecar_schema
from ftzard.core.label_sets import EMPTY, SEPARATOR
from ftzard.core.predictions import THRESHOLDS, labels_of_predictions, prediction_schema
from ftzard.core.quarantine import culprits
from ftzard.core.records import (
    EXAMPLE_SCHEMA,
    PLACEMENT_SCHEMA,
    QUARANTINED_SCHEMA,
    QUEUE_ROW_SCHEMA,
    RAW_SCHEMA,
    REJECTED_SCHEMA,
    UNREADABLE_SCHEMA,
    Cleaned,
    LabelQueue,
    Raw,
    Splits,
)
from ftzard.errors import FtzardError, SchemaViolationError

Rules = Mapping[str, Any]

_NUM_CHARACTERS_SHOWN: Final = 60
_LOG_PROBABILITIES: Final = {"of": {"max": 0.0}}
_INDEPENDENT: Final = {"description": "the score of each label, before the sigmoid"}
# Column -> what it means, and the values that it may have, by dataframely's names. `of` is for the values within.
_MEANINGS: Final[Mapping[str, Rules]] = {
    "text": {"description": "the text; for generation and preference the prompt, or messages as JSON"},
    "label": {"description": "the label, or all joined; for generation the answer, for preference both as JSON"},
    "batch": {"description": "the file that the row is from, relative to the project", "min_length": 1},
    "row": {"description": "the line on which it starts, or the number of the record in Parquet, from 1", "min": 1},
    "group": {"description": "what the row belongs to; rows of one group are in one split"},
    "time": {"description": "when the row is from"},
    "reason": {"description": "why the row is not used, as a code", "regex": "^[a-z_]+$"},
    "column": {"description": "the column of the value; null for the row as a whole"},
    "value": {"description": "what stands there, shortened"},
    "problem": {"description": "what is wrong with it, in words", "min_length": 1},
    "text_hash": {
        "description": "the first 16 bytes of the SHA-256 of the cleaned text, in hexadecimal",
        "regex": "^[0-9a-f]{32}$",
    },
    "position": {"description": "the place in the queue, from 1", "min": 1},
    THRESHOLDS: {
        "description": "the probability from which on each label is given",
        "of": {"min": 0.0, "max": 1.0},
    },
    "predicted_label": {"description": "the label that the model gives it"},
    "probabilities": {"description": "the probability of each label", "of": {"min": 0.0, "max": 1.0}},
    "logits": {"description": "the score of each label, before the softmax", "of": {}},
    "champion_version": {"description": "the registry version of the champion that was asked", "min_length": 1},
    "arm": {"description": "whether the strategy or chance chose the row", "regex": "^(strategy|control)$"},
    "strategy": {"description": "the query strategy"},
    NUM_DRAWN_FROM: {"description": "rows of the file that the control arm was drawn from", "min": 1},
    "uncertainty": {"description": "how unsure the champion is, by the strategy's measure"},
    "confidence": {"description": "the probability of the predicted label", "min": 0.0, "max": 1.0},
    "prediction": {"description": "what the model writes"},
    "token_log_probabilities": {
        "description": "the log-probability of each token of what the model writes, in nats",
        **_LOG_PROBABILITIES,
    },
    **{
        f"{answer}_log_probabilities": {
            "description": f"the log-probability of each token of the {answer} answer, in nats",
            **_LOG_PROBABILITIES,
        }
        for answer in ("completion", "chosen", "rejected")
    },
}
# Asset and part -> the columns, and which of them may be null.
_FIXED: Final[Mapping[tuple[str, str], tuple[pl.Schema, frozenset[str]]]] = {
    ("raw_data", "examples"): (RAW_SCHEMA, frozenset({"text", "label"})),
    ("raw_data", "quarantined"): (UNREADABLE_SCHEMA, frozenset({"column"})),
    ("cleaned", "examples"): (EXAMPLE_SCHEMA, frozenset()),
    ("cleaned", "rejected"): (REJECTED_SCHEMA, frozenset({"text", "label"})),
    **{("splits", name): (EXAMPLE_SCHEMA, frozenset[str]()) for name in ("train", "validation", "test")},
    ("splits", "quarantined"): (QUARANTINED_SCHEMA, frozenset()),
    ("incoming", ""): (EXAMPLE_SCHEMA, frozenset({"label"})),
    ("label_queue", "rows"): (QUEUE_ROW_SCHEMA, frozenset()),
}


def frames_of(value: object) -> dict[str, pl.DataFrame]:
    """The frames of an asset's value by the name of their part, `""` for a value that is one; none for others."""
    if isinstance(value, pl.DataFrame):
        return {"": value}
    if isinstance(value, Raw | Cleaned | Splits | LabelQueue):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return {}


def schema_of(asset: str, part: str, frame: pl.DataFrame) -> type[dy.Schema] | None:
    """The schema of one frame.

    Args:
        asset: The asset's name, without the prefix of its pipeline.
        part: As in `frames_of`.
        frame: Says which labels a model tells apart, and which of the optional columns there are.

    Returns:
        None for an asset that is not FTzard's.

    Raises:
        FtzardError: The frame is to hold predictions, and has not their columns.
    """
    if (asset, part) in _FIXED:
        columns, optional = _FIXED[asset, part]
        # Examples have these beside, where they are configured; test rows keep what belongs together.
        placing = PLACEMENT_SCHEMA if part in {"examples", "test"} else {}
        return _schema(
            {**columns, **{name: dtype for name, dtype in placing.items() if name in frame.columns}}, optional
        )
    if asset in {"predictions", "incoming_predictions"}:
        return _predictions(frame)
    if (asset, part) == ("label_queue", "sidecar"):
        labels, sets, drawn = labels_of_struct(frame), THRESHOLDS in frame.columns, NUM_DRAWN_FROM in frame.columns
        rule = _set_of(labels) if sets else {"regex": _one_of(labels)}
        return _schema(sidecar_schema(labels, sets=sets, drawn=drawn), set(), predicted_label=rule)
    return None


@dataclass(frozen=True)
class ColumnDescription:
    """What a person should know of a column.

    Attributes:
        description: What it means.
        is_nullable: Whether a value may be missing.
        rules: What its values keep, in words.
    """

    description: str
    is_nullable: bool
    rules: tuple[str, ...]


def describe_columns(asset: str, part: str, frame: pl.DataFrame) -> dict[str, ColumnDescription]:
    """Say what the columns of a frame mean; none for an asset that is not FTzard's.

    Raises:
        FtzardError: As `schema_of`.
    """
    schema = schema_of(asset, part, frame)
    columns = schema.columns() if schema else {}
    return {
        name: ColumnDescription(column.description or "", column.nullable, _rules_of(column))
        for name, column in columns.items()
    }


def check_value(asset: str, value: object) -> None:
    """See that the frames of a value are what they should be.

    Args:
        asset: The asset's name, without the prefix of its pipeline.
        value: Its value; values of assets that are not FTzard's pass.

    Raises:
        SchemaViolationError: One is not; the error names the asset, the columns, the rules and the first rows.
        InvalidPredictionsError: A frame of predictions has other columns.
    """
    for part, frame in frames_of(value).items():
        schema = schema_of(asset, part, frame)
        if schema is None:
            continue
        name = f"{asset}.{part}" if part else asset
        _check_columns(frame, schema, name)
        _, failure = schema.filter(frame)
        if len(failure):
            counts = failure.counts().items()
            told = [
                f"{_rule(rule)} does not hold for {count} row(s), first {_first(failure, rule)}"
                for rule, count in counts
            ]
            raise _violation(f"{name}, of {frame.height} row(s): {culprits(told)}", asset)


def labels_of_struct(frame: pl.DataFrame) -> tuple[str, ...]:
    """The labels that `probabilities` names; none where it is no struct."""
    scores = frame.schema.get("probabilities")
    return tuple(field.name for field in scores.fields) if isinstance(scores, pl.Struct) else ()


def _predictions(frame: pl.DataFrame) -> type[dy.Schema]:
    """Of a classifier, or of a model that writes; with the champion's version where one was asked."""
    known = frame.drop("champion_version", strict=False)
    version = {"champion_version": pl.String()} if known.width < frame.width else {}
    optional = {"label"} if version else set()
    if known.schema == incoming_schema():
        return _schema({**incoming_schema(), **version}, optional)
    task = answer_task(task_of_predictions(known))
    if task is not None:
        untrained = any(name.startswith(UNTRAINED) for name in known.columns)
        return _schema({**answer_schema(task, untrained=untrained), **version}, optional)
    labels = labels_of_predictions(known)
    if THRESHOLDS in known.columns:
        columns = {**prediction_schema(labels, sets=True), **version}
        return _schema(columns, optional, predicted_label=_set_of(labels), logits=_INDEPENDENT)
    rule = {"regex": _one_of(labels)}
    return _schema({**prediction_schema(labels), **version}, optional, predicted_label=rule)


def _schema(columns: Mapping[str, Any], optional: AbstractSet[str], **rules: Rules) -> type[dy.Schema]:
    """A schema with these columns, of which some may be null; the rules are beside those of `_MEANINGS`."""
    made = {}
    for name, dtype in columns.items():
        meaning = dict(_MEANINGS[name.removeprefix(UNTRAINED)]) | dict(rules.get(name, {}))
        if name.startswith(UNTRAINED):
            meaning["description"] += ", by the model without its adapter"
        made[name] = _column(dtype, nullable=name in optional or name in PLACEMENT_SCHEMA, **meaning)
    return type("Frame", (dy.Schema,), made)


def _column(dtype: Any, *, of: Rules | None = None, **rules: Any) -> Any:
    """The column of dataframely for a type of polars."""
    if isinstance(dtype, pl.Struct):
        return dy.Struct({field.name: _column(field.dtype, **(of or {})) for field in dtype.fields}, **rules)
    if isinstance(dtype, pl.List):
        return dy.List(_column(dtype.inner, **(of or {})), **rules)
    if isinstance(dtype, pl.Datetime):
        return dy.Datetime(time_zone=dtype.time_zone, time_unit=dtype.time_unit, **rules)
    return {pl.String: dy.String, pl.Int64: dy.Int64, pl.Float64: dy.Float64}[dtype.base_type()](**rules)


def _rules_of(column: Any) -> tuple[str, ...]:
    """What dataframely checks in a column, in words; of numbers in a struct or a list, what it checks in those."""
    inner = next(iter(column.inner.values()), None) if isinstance(column, dy.Struct) else getattr(column, "inner", None)
    words = {"min": "at least {:g}", "max": "at most {:g}", "min_length": "at least {} character(s)", "regex": "{}"}
    found = {name: getattr(column, name, None) for name in words}
    own = [words[name].format(value) for name, value in found.items() if value is not None]
    return (*own, *(f"each {rule}" for rule in (_rules_of(inner) if inner is not None else ())))


def _one_of(labels: tuple[str, ...]) -> str:
    """A pattern for exactly these."""
    return f"^(?:{'|'.join(pl.Series(labels, dtype=pl.String).str.escape_regex())})$"


def _set_of(labels: tuple[str, ...]) -> Rules:
    """What a predicted set keeps: these labels, as often as one likes, or none of them."""
    one, none = (pattern.removeprefix("^").removesuffix("$") for pattern in (_one_of(labels), _one_of((EMPTY,))))
    between = _one_of((SEPARATOR,)).removeprefix("^").removesuffix("$")
    return {"description": "the labels that the model gives it", "regex": f"^(?:{none}|{one}(?:{between}{one})*)$"}


def _check_columns(frame: pl.DataFrame, schema: type[dy.Schema], name: str) -> None:
    wanted = {column: definition.dtype for column, definition in schema.columns().items()}
    found = dict(frame.schema)
    if found == wanted:
        return
    problems = [
        *(f"{name} has no column {column!r}" for column in wanted if column not in found),
        *(f"{name} has the unexpected column {column!r}" for column in found if column not in wanted),
        *(
            f"the column {column!r} of {name} is {found[column]}, not {dtype}"
            for column, dtype in wanted.items()
            if column in found and found[column] != dtype
        ),
    ]
    if problems:
        raise _violation(culprits(problems), name.partition(".")[0])


def _rule(rule: str) -> str:
    column, _, name = rule.partition("|")
    return f"the rule {name.replace('_', ' ')!r} of the column {column!r}"


def _first(failure: "dy.FailureInfo", rule: str) -> str:
    """The first row that breaks a rule: where it stands, or by what it is known, and the value."""
    row = failure.details().filter(pl.col(rule) == "invalid").row(0, named=True)
    place = [f"{key} {row[key]!r}" for key in ("batch", "row", "text_hash") if key in row]
    value = repr(row[rule.partition("|")[0]])
    short = value if len(value) <= _NUM_CHARACTERS_SHOWN else f"{value[: _NUM_CHARACTERS_SHOWN - 1]}…"
    return f"{', '.join(place)}: {short}"


def _violation(what: str, asset: str) -> FtzardError:
    return SchemaViolationError(
        what,
        fix=f"materialize `{asset}` again with this version of FTzard; where that makes the same rows, look at what of "
        "your own takes part in it, such as a cleaning step or an asset of this name",
    )
