"""How good the champion is on what comes in now, measured where chance chose the rows.

The rows that a strategy chose are the hard ones; accuracy on them would say little of the rest. The control arm was
drawn from the whole file before anybody looked at the model's doubts, so its labelled rows are a sample of what came
in, as long as people label the queue as it comes: whoever skips the hard rows makes the figure too good.

A queue has a largest size, so that a control row of a large file stands for more rows than one of a small file. Each
counts for its share of the rows of its file (stratified sampling: Cochran, "Sampling Techniques", 1977, section 5.3).
The interval is that of as many equal rows as tell as much (Kish, "Survey Sampling", 1965, section 11.7).
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl
from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from ftzard.core.bootstrap import resample_values, share_interval
from ftzard.core.evaluation_report import Interval
from ftzard.core.label_names import label_names
from ftzard.core.label_queue import NUM_DRAWN_FROM
from ftzard.core.label_sets import indicators
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.share_intervals import newcombe_interval, score_interval, wilson_interval

_NUM_RESAMPLES: Final = 1000
_SEED: Final = 0
_COLUMNS: Final = ("text_hash", "arm", "predicted_label", "champion_version")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LiveAccuracy:
    """The champion on labelled rows of what came in.

    Attributes:
        accuracy: Share that it predicted right of the rows that the labelled control rows stand for, with Wilson's
            interval.
        num_control: Labelled rows of the control arm, which that rests on.
        num_strategy: Labelled rows of the strategy's arm.
        strategy_error_rate: Share of those that it predicted wrong, with Wilson's interval; None where there are none.
        gain: By how much that is above the error rate of the labelled control rows, each counting once, with
            Newcombe's interval: how many more errors a label finds because the strategy chose the row and not chance.
            None where no strategy row is labelled.
        label_f1: Where a text can have several labels, because of many hardly a set is ever exactly right: micro-F1 of
            the labels of the rows that the control rows stand for, with its 95 % bootstrap interval. None otherwise,
            and where no row has or gets a label.
    """

    accuracy: Interval
    num_control: PositiveInt
    num_strategy: NonNegativeInt
    strategy_error_rate: Interval | None
    gain: Interval | None
    label_f1: Interval | None = None


def live_accuracy(
    sidecars: pl.DataFrame | Iterable[pl.DataFrame],
    labels: pl.DataFrame,
    champion_version: str | None = None,
    task: str = "classification",
) -> LiveAccuracy | None:
    """Judge the champion's predictions by the labels that people gave since.

    Args:
        sidecars: Of label queues, in any order. Other columns than `text_hash`, `arm`, `predicted_label`,
            `champion_version` and `num_drawn_from` are passed over. Where a queue that counts lacks the last, all rows
            count the same.
        labels: Columns `text_hash` and `label`; the examples of `cleaned` will do. One label a row.
        champion_version: Only its predictions count; None: those of every champion.
        task: `data.task`; a set of labels is right as a whole or not, and has `label_f1` besides.

    Returns:
        None where no control row is labelled.
    """
    frames = [sidecars] if isinstance(sidecars, pl.DataFrame) else list(sidecars)
    if not frames:
        return None
    rows = pl.concat([_asked(frame, queue) for queue, frame in enumerate(frames)])
    if champion_version is not None:
        rows = rows.filter(pl.col("champion_version") == champion_version)
    # A text that came in with two files is one question; where chance asked it once, chance asked it.
    rows = rows.sort(*_COLUMNS, NUM_DRAWN_FROM)
    rows = rows.unique(["text_hash", "champion_version"], keep="first", maintain_order=True)
    answered = rows.join(labels.select("text_hash", "label").unique("text_hash"), on="text_hash").drop_nulls("label")
    wrong = {arm: _num_wrong(answered, arm) for arm in ("control", "strategy")}
    (control_wrong, num_control), (strategy_wrong, num_strategy) = wrong["control"], wrong["strategy"]
    if not num_control:
        return None
    has_strategy = num_strategy > 0
    control = _weighed(answered.filter(pl.col("arm") == "control"))
    return LiveAccuracy(
        accuracy=_weighed_share(control.select(pl.col("predicted_label") == pl.col("label")), control["weight"]),
        num_control=num_control,
        num_strategy=num_strategy,
        strategy_error_rate=wilson_interval(strategy_wrong, num_strategy) if has_strategy else None,
        gain=newcombe_interval(strategy_wrong, num_strategy, control_wrong, num_control) if has_strategy else None,
        label_f1=_label_f1(control) if task == "multi_label" else None,
    )


def _num_wrong(answered: pl.DataFrame, arm: str) -> tuple[int, int]:
    """How many labelled rows of an arm were predicted wrong, and how many there are."""
    rows = answered.filter(pl.col("arm") == arm)
    return int((rows["predicted_label"] != rows["label"]).sum()), rows.height


def _asked(sidecar: pl.DataFrame, queue: int) -> pl.DataFrame:
    """What live accuracy looks at of a queue."""
    drawn = NUM_DRAWN_FROM if NUM_DRAWN_FROM in sidecar.columns else pl.lit(None, dtype=pl.Int64).alias(NUM_DRAWN_FROM)
    return sidecar.select(*_COLUMNS, drawn, queue=pl.lit(queue))


def _weighed(control: pl.DataFrame) -> pl.DataFrame:
    """Labelled control rows with their `weight`: for how many rows of its file each stands."""
    if control[NUM_DRAWN_FROM].null_count():
        return control.with_columns(weight=pl.lit(1.0))
    return control.with_columns(weight=pl.col(NUM_DRAWN_FROM) / pl.len().over("queue"))


def _weighed_share(is_right: pl.DataFrame, weight: pl.Series) -> Interval:
    right, weights = is_right.to_series().to_numpy(), weight.to_numpy()
    return score_interval(float(weights[right].sum() / weights.sum()), _num_equal(weights))


def _num_equal(weights: FloatArray) -> float:
    """How many rows of one weight would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _label_f1(rows: pl.DataFrame) -> Interval | None:
    rows = rows.sort(_COLUMNS)
    names = sorted({*label_names(pl.concat([rows["label"], rows["predicted_label"]]), "multi_label")})
    if not names:
        return None
    true, given = indicators(rows["label"], names), indicators(rows["predicted_label"], names)
    weights = rows["weight"].to_numpy()
    hits = 2 * weights * (true & given).sum(axis=1)
    wholes = weights * (true.sum(axis=1) + given.sum(axis=1))

    def measure(samples: IntArray) -> FloatArray:
        whole = wholes[samples].sum(axis=1)
        return np.asarray(hits[samples].sum(axis=1) / np.where(whole > 0, whole, 1.0))

    value = float(measure(np.arange(rows.height)[None])[0])
    return share_interval(value, resample_values(measure, rows.height, _NUM_RESAMPLES, _SEED), _num_equal(weights))
