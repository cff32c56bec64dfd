"""The retrain decision: a table of examples, and what must hold whatever the numbers are."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import AutomationConfig
from ftzard.core.evaluation_report import Interval
from ftzard.core.retrain_decision import RetrainDecision, RetrainEvidence, decide

# 50 new labels, 30 days, a drift of 0.33, and 10 labels without which nothing counts.
_CONFIG = AutomationConfig(min_live_accuracy=0.8, max_training_minutes=60.0)


def _evidence(num_new_labels: int, **known: Any) -> RetrainEvidence:
    usual: dict[str, Any] = {"num_new_since_last_training": num_new_labels, "days_since_champion": 1.0}
    return RetrainEvidence(num_new_labels, **{**usual, **known})


def _interval(value: float, half_width: float = 0.05) -> Interval:
    return Interval(value=value, low=value - half_width, high=value + half_width)


_TABLE = {
    "no champion": (_evidence(72, days_since_champion=None, num_new_since_last_training=None), "no champion"),
    "no champion and only few examples": (
        _evidence(4, days_since_champion=None, num_new_since_last_training=None),
        "no champion",
    ),
    "no champion, as the first adapter was refused, and enough has come since": (
        _evidence(90, days_since_champion=None, num_new_since_last_training=18),
        "no champion",
    ),
    "just enough labels": (_evidence(50), "50 new label"),
    "an old champion": (_evidence(10, days_since_champion=30.1), "30.1 days old"),
    "less sure of what comes in": (_evidence(12, drift=_interval(-0.4)), "drift of -0.40"),
    "surer of what comes in": (_evidence(12, drift=_interval(0.4)), "drift of 0.40"),
    "shown to be inaccurate": (_evidence(12, live_accuracy=_interval(0.7)), "live accuracy of 0.70"),
    "as long as allowed": (_evidence(60, estimated_minutes=60.0), "60 new label"),
    "unknown time": (_evidence(60, estimated_minutes=None), "60 new label"),
    "a label that the champion was trained on was taken out": (
        _evidence(0, num_forgotten=1, num_forgotten_since_last_training=1),
        "1 label(s) that the champion was trained on were taken out since",
    ),
    "labels were taken out and next to nothing has come": (
        _evidence(3, num_forgotten=7, num_forgotten_since_last_training=7),
        "7 label(s) that the champion was trained on were taken out since",
    ),
    "no champion, and labels of the refused adapter were taken out": (
        _evidence(72, days_since_champion=None, num_new_since_last_training=0, num_forgotten_since_last_training=2),
        "no champion",
    ),
}
_TABLE_OF_WAITING = {
    "nothing new at all": (_evidence(0, days_since_champion=400.0), "nothing new since the last training"),
    "too few labels": (_evidence(49), "49 new label(s), under 50"),
    "an old champion and too few labels for any reason": (
        _evidence(9, days_since_champion=400.0),
        "no other reason counts under 10",
    ),
    "exactly as old as allowed": (_evidence(12, days_since_champion=30.0), "30.0 days old, not over 30"),
    "drift of a medium size": (_evidence(12, drift=_interval(0.33)), "drift of 0.33"),
    "drift that may be chance": (_evidence(12, drift=_interval(0.5, 0.5)), "not shown"),
    "accuracy that may be right": (_evidence(12, live_accuracy=_interval(0.77)), "not shown to be below 0.8"),
    "the last challenger was refused and nothing has come since": (
        _evidence(60, num_new_since_last_training=0),
        "nothing new since the last training",
    ),
    "the last challenger was refused and next to nothing has come since": (
        _evidence(61, num_new_since_last_training=1),
        "only 1 new label(s) since the last training, under 10",
    ),
    "no champion, as the first adapter was refused": (
        _evidence(72, days_since_champion=None, num_new_since_last_training=0),
        "nothing new since the last training",
    ),
    "labels were taken out, and the last challenger was trained without them": (
        _evidence(0, num_forgotten=7, num_forgotten_since_last_training=0),
        "nothing new since the last training",
    ),
    "every reason and too long": (
        _evidence(
            60,
            days_since_champion=400.0,
            drift=_interval(-0.9),
            estimated_minutes=61.0,
            num_forgotten=7,
            num_forgotten_since_last_training=7,
        ),
        "about 61 minutes, over the 60 allowed",
    ),
}


@pytest.mark.parametrize(("evidence", "reason"), _TABLE.values(), ids=_TABLE)
def test_it_is_time_to_train_again(evidence: RetrainEvidence, reason: str) -> None:
    decision = decide(evidence, _CONFIG)
    assert decision.verdict == "retrain"
    assert reason in decision.reasons[0]
    assert decision.sentence.startswith("retrain: ")
    assert decision.evidence == evidence


@pytest.mark.parametrize(("evidence", "reason"), _TABLE_OF_WAITING.values(), ids=_TABLE_OF_WAITING)
def test_it_is_not_yet_time(evidence: RetrainEvidence, reason: str) -> None:
    decision = decide(evidence, _CONFIG)
    assert decision.verdict == "wait"
    assert any(reason in sentence for sentence in decision.reasons_to_wait)
    assert reason in decision.sentence


def test_what_speaks_for_training_is_said_where_it_is_decided_to_wait_and_the_other_way_round() -> None:
    too_long = decide(_evidence(60, estimated_minutes=90.0), _CONFIG)
    assert too_long.reasons_to_retrain == ("60 new label(s), 50 are enough",)
    assert too_long.reasons[0].startswith("training would take about 90 minutes")
    enough = decide(_evidence(60, drift=_interval(0.1)), _CONFIG)
    assert any("drift of 0.10" in sentence for sentence in enough.reasons_to_wait)


def test_what_is_not_known_is_said() -> None:
    sentences = decide(_evidence(5), _CONFIG).reasons_to_wait
    assert any("drift is not known" in sentence for sentence in sentences)
    assert any("live accuracy is not known" in sentence for sentence in sentences)


def test_how_many_labels_must_have_been_taken_out_is_configured() -> None:
    decision = decide(
        _evidence(0, num_forgotten=4, num_forgotten_since_last_training=4), replace(_CONFIG, min_forgotten_labels=5)
    )
    assert decision.verdict == "wait"
    assert any("4 label(s)" in reason and "under 5" in reason for reason in decision.reasons_to_wait)


def test_live_accuracy_without_a_minimum_is_only_reported() -> None:
    config = replace(_CONFIG, min_live_accuracy=None)
    decision = decide(_evidence(12, live_accuracy=_interval(0.1)), config)
    assert decision.verdict == "wait"
    assert any("0.10 [0.05, 0.15] is only reported" in sentence for sentence in decision.reasons_to_wait)


def test_a_project_that_asks_for_fewer_labels_than_any_other_reason_needs_gets_what_it_asks_for() -> None:
    assert decide(_evidence(6), replace(_CONFIG, min_new_labels=5)).verdict == "retrain"


_intervals = st.tuples(st.floats(-1, 1), st.floats(0, 1)).map(lambda pair: _interval(*pair))


@st.composite
def _anything(draw: st.DrawFn) -> RetrainEvidence:
    num_new = draw(st.integers(0, 200))
    return RetrainEvidence(
        num_new,
        draw(st.none() | st.integers(0, 200)),
        draw(st.none() | st.floats(0, 1000)),
        draw(st.none() | _intervals),
        draw(st.none() | _intervals),
        draw(st.none() | st.floats(0, 1000)),
        draw(st.integers(0, 20)),
        draw(st.none() | st.integers(0, 20)),
    )


@given(_anything(), st.integers(0, 100))
def test_more_new_labels_never_turn_retrain_into_wait(evidence: RetrainEvidence, more: int) -> None:
    unseen = evidence.num_new_since_last_training
    later = replace(
        evidence,
        num_new_labels=evidence.num_new_labels + more,
        num_new_since_last_training=None if unseen is None else unseen + more,
    )
    if decide(evidence, _CONFIG).verdict == "retrain":
        assert decide(later, _CONFIG).verdict == "retrain"


@given(_anything(), st.floats(0, 1000))
def test_time_that_passes_never_turns_retrain_into_wait(evidence: RetrainEvidence, days: float) -> None:
    before = evidence.days_since_champion
    later = replace(evidence, days_since_champion=None if before is None else before + days)
    if decide(evidence, _CONFIG).verdict == "retrain":
        assert decide(later, _CONFIG).verdict == "retrain"


@given(_anything())
def test_without_anything_new_or_taken_out_since_the_last_training_it_always_waits(evidence: RetrainEvidence) -> None:
    nothing = replace(evidence, num_new_since_last_training=0, num_forgotten_since_last_training=0)
    assert decide(nothing, _CONFIG).verdict == "wait"


@given(_anything(), st.floats(60.1, 1e6))
def test_a_training_that_takes_too_long_always_waits(evidence: RetrainEvidence, minutes: float) -> None:
    assert decide(replace(evidence, estimated_minutes=minutes), _CONFIG).verdict == "wait"


@given(_anything())
def test_the_verdict_follows_from_what_is_said(evidence: RetrainEvidence) -> None:
    decision = decide(evidence, _CONFIG)
    if decision.verdict == "retrain":
        assert decision.reasons_to_retrain
    else:
        assert decision.reasons_to_wait
    assert all(sentence for sentence in decision.reasons)
    assert sorted(decision.reasons) == sorted(decision.reasons_to_retrain + decision.reasons_to_wait)


@given(_anything())
def test_it_travels_as_json(evidence: RetrainEvidence) -> None:
    decision = decide(evidence, _CONFIG)
    assert RetrainDecision.from_dict(decision.to_dict()) == decision


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="days_since_champion"):
        _evidence(1, days_since_champion=float("nan"))
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        _evidence(-1)
