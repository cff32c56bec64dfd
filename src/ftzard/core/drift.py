"""How far the texts that come in are from those the champion was judged on, as an effect size.

What is compared is the champion's confidence, the probability of the label it predicts: it needs no labels, and where
texts are of a kind that the adapter never saw, it moves. Cliff's delta (Cliff, "Dominance Statistics: Ordinal Analyses
to Answer Ordinal Questions", Psychological Bulletin 114, 1993) is the measure because, unlike the p-value of a test, it
does not grow with the number of rows: a week of harmless traffic is not a reason to train.
"""

import math
from statistics import NormalDist

import numpy as np
import polars as pl

from ftzard.core.answer_predictions import confidences as answer_confidences
from ftzard.core.bootstrap import CONFIDENCE_LEVEL
from ftzard.core.confidences import confidences
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray
from ftzard.core.predictions import THRESHOLDS, prediction_schema
from ftzard.errors import InvalidPredictionsError


def confidence_drift(on_test: pl.DataFrame, incoming: pl.DataFrame) -> Interval | None:
    """Compare a champion's confidence on what came in with its confidence on its test split.

    Args:
        on_test: `prediction_schema` or `answer_schema`; the champion's predictions on the test rows of its time.
        incoming: The same columns, and maybe others; the same champion's predictions on what came in.

    Returns:
        Cliff's delta of incoming over test, in [-1, 1]: negative where it is less sure of what comes in, 0 where
        neither is surer. None where either frame is empty.

    Raises:
        InvalidPredictionsError: A frame lacks columns of `prediction_schema`.
    """
    return cliffs_delta(_confidences(incoming), _confidences(on_test))


def cliffs_delta(first: FloatArray, second: FloatArray) -> Interval | None:
    """Measure how much more often a value of one sample is above one of another than below it.

    d = P(x > y) - P(x < y) over all pairs, counted by sorting, in O(n log n). The 95 % interval is the asymmetric one
    around Cliff's consistent variance (Feng and Cliff, "Monte Carlo Evaluation of Ordinal d with Improved Confidence
    Interval", Journal of Modern Applied Statistical Methods 3, 2004, equations 8 and 10).

    Args:
        first: Finite values, shape (n,).
        second: Finite values, shape (m,).

    Returns:
        d in [-1, 1], 0 where the two cannot be told apart; |d| of 0.147, 0.33 and 0.474 are called small, medium and
        large (Romano et al. 2006). None where a sample is empty.
    """
    if not first.size or not second.size:
        return None
    # Share of the other sample below minus share above, for each value.
    rows, columns = _dominance(first, second), -_dominance(second, first)
    delta = float(rows.mean())
    low, high = _interval(delta, rows, columns, _share_of_ties(first, second))
    return Interval(value=delta, low=max(-1.0, min(low, delta)), high=min(1.0, max(high, delta)))


def _confidences(frame: pl.DataFrame) -> FloatArray:
    if "token_log_probabilities" in frame.columns:
        return answer_confidences(frame)
    scores = frame.schema.get("probabilities")
    labels = [field.name for field in scores.fields] if isinstance(scores, pl.Struct) else []
    sets = THRESHOLDS in frame.columns
    columns = prediction_schema(labels, sets=sets).names() if len(labels) > 1 else ["probabilities"]
    if missing := sorted(set(columns) - set(frame.columns)):
        raise InvalidPredictionsError(
            f"the predictions frame lacks the column(s) {missing}", fix="materialize the predictions again"
        )
    return confidences(frame.select(columns))


def _dominance(values: FloatArray, others: FloatArray) -> FloatArray:
    """For each value, the share of `others` below it minus the share above it; shape (n,), range -1 to 1."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    above = others.size - np.searchsorted(ordered, values, side="right")
    return np.asarray((below - above) / others.size, dtype=np.float64)


def _share_of_ties(first: FloatArray, second: FloatArray) -> float:
    ordered = np.sort(second)
    ties = np.searchsorted(ordered, first, side="right") - np.searchsorted(ordered, first, side="left")
    return float(ties.sum() / first.size / second.size)


def _interval(delta: float, rows: FloatArray, columns: FloatArray, share_of_ties: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    num_rows, num_columns = rows.size, columns.size
    smallest = min(num_rows, num_columns)
    if math.isclose(abs(delta), 1.0):
        # Nothing overlaps and the variance below is 0, which is luck with few rows; the bound that is left to say.
        bound = (smallest - z**2) / (smallest + z**2)
        return (bound, 1.0) if delta > 0 else (-1.0, -bound)
    if smallest == 1:
        # One value has no spread to estimate from.
        return -1.0, 1.0
    around_rows, around_columns = float(((rows - delta) ** 2).sum()), float(((columns - delta) ** 2).sum())
    around_pairs = num_rows * num_columns * (1 - share_of_ties - delta**2)
    variance = (num_columns**2 * around_rows + num_rows**2 * around_columns - around_pairs) / (
        num_rows * num_columns * (num_rows - 1) * (num_columns - 1)
    )
    # The unbiased estimate can fall below 0; no variance is below that of independent pairs.
    variance = max(variance, (1 - share_of_ties - delta**2) / (num_rows * num_columns - 1))
    spread = z * math.sqrt(variance * ((1 - delta**2) ** 2 + z**2 * variance))
    scale = 1 - delta**2 + z**2 * variance
    centre = delta - delta**3
    return (centre - spread) / scale, (centre + spread) / scale
