"""Metrics of written answers: known values, and what must hold for any text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.text_metrics import chrf, exact_matches, normalised, preferences, token_f1

_TEXTS = st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("predicted", "asked", "exact", "f1"),
    [
        ("The Cat.", "cat", 1.0, 1.0),
        ("a dog, an owl", "dog owl", 1.0, 1.0),
        ("dog", "cat", 0.0, 0.0),
        # Two of three words are right, and two of the four that were asked for are found.
        ("red green blue", "red green black white", 0.0, 2 * 2 / 7),
        # Words count as often as they occur.
        ("yes yes", "yes", 0.0, 2 / 3),
        ("", "cat", 0.0, 0.0),
        ("the", "!", 1.0, 1.0),
    ],
)
def test_exact_match_and_token_f1_are_those_of_squad(predicted: str, asked: str, exact: float, f1: float) -> None:
    assert exact_matches([predicted], [asked])[0] == exact
    assert token_f1([predicted], [asked])[0] == pytest.approx(f1)


def test_chrf_is_sacrebleus_in_shares() -> None:
    # From the sacreBLEU test suite: 100 for equal texts, 0 for nothing in common.
    assert chrf(["Niemals."], ["Niemals."])[0] == pytest.approx(1.0)
    assert chrf(["xyz"], ["abc"])[0] == 0.0
    assert chrf([""], ["abc"])[0] == 0.0
    assert chrf(["the cat sat"], ["the cat sits"])[0] > chrf(["a dog ran"], ["the cat sits"])[0]


@given(_TEXTS)
def test_every_metric_is_a_share_and_1_for_the_answer_itself(pairs: list[tuple[str, str]]) -> None:
    predicted, asked = [one for one, _ in pairs], [other for _, other in pairs]
    for metric in (exact_matches, token_f1, chrf):
        scores = metric(predicted, asked)
        assert scores.shape == (len(pairs),)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert (exact_matches(asked, asked) == 1).all()
    assert (token_f1(asked, asked) == 1).all()


@given(_TEXTS)
def test_token_f1_is_symmetric_and_at_least_the_exact_match(pairs: list[tuple[str, str]]) -> None:
    predicted, asked = [one for one, _ in pairs], [other for _, other in pairs]
    assert np.array_equal(token_f1(predicted, asked), token_f1(asked, predicted))
    assert (token_f1(predicted, asked) >= exact_matches(predicted, asked)).all()


@given(st.text())
def test_normalising_twice_is_normalising_once_for_words(text: str) -> None:
    once = normalised(text)
    assert "  " not in once
    assert once == once.strip()
    # Not idempotent for all: "a" may be left over where punctuation is removed from within "t.h.e".
    assert token_f1([once], [once])[0] == 1


def test_a_pair_that_is_found_as_likely_counts_half() -> None:
    scores = preferences(np.array([-1.0, -2.0, -3.0]), np.array([-2.0, -2.0, -2.0]))
    assert scores.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("metric", [exact_matches, token_f1, chrf])
def test_no_rows_are_refused(metric: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        metric([], [])  # type: ignore[operator]
