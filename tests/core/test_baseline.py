"""The baselines learn from the train split alone, and learn what can be learned from words."""

import numpy as np
import polars as pl
import pytest

from ftzard.core import baseline
from ftzard.core.baseline import majority_predictions, tfidf_predictions
from ftzard.core.predictions import labels_of_predictions, probability_matrix
from ftzard.errors import SingleClassError, TooFewExamplesError, UnknownLabelError

LABELS = ("negative", "positive")


def examples(rows: list[tuple[str, str]]) -> pl.DataFrame:
    columns = {"text_hash": pl.String, "text": pl.String, "label": pl.String}
    return pl.DataFrame(
        [(f"{index:04}", text, label) for index, (text, label) in enumerate(rows)], columns, orient="row"
    )


def reviews(num_rows: int, seed: int, positive_share: float = 0.3) -> pl.DataFrame:
    """Make texts whose label shows in one word among eight, and in the sign at the end."""
    rng = np.random.default_rng(seed)
    words = {"negative": ["awful", "broken", "late"], "positive": ["great", "lovely", "fast"]}
    rows = []
    for _ in range(num_rows):
        label = "positive" if rng.random() < positive_share else "negative"
        text = rng.choice(["the", "parcel", "phone", "was", "and", "we", "it"], size=7).tolist()
        text.insert(int(rng.integers(7)), str(rng.choice(words[label])))
        rows.append((" ".join(text), label))
    return examples(rows)


def share_right(predictions: pl.DataFrame) -> float:
    return float((predictions["label"] == predictions["predicted_label"]).to_numpy().mean())


def test_the_majority_baseline_answers_with_the_shares_of_the_train_split() -> None:
    train = examples([("a", "positive"), ("b", "negative"), ("c", "negative"), ("d", "negative")])
    predictions = majority_predictions(train, examples([("x", "positive"), ("y", "negative")]), LABELS)

    assert predictions["predicted_label"].to_list() == ["negative", "negative"]
    assert probability_matrix(predictions) == pytest.approx(np.array([[0.75, 0.25], [0.75, 0.25]]))
    assert predictions["label"].to_list() == ["positive", "negative"]
    assert labels_of_predictions(predictions) == LABELS


def test_the_tfidf_baseline_learns_words_that_tell_the_labels_apart() -> None:
    predictions = tfidf_predictions(reviews(200, seed=1), reviews(100, seed=2), LABELS, seed=0)

    assert share_right(predictions) > 0.95
    assert predictions["text_hash"].to_list() == reviews(100, seed=2)["text_hash"].to_list()


def test_the_tfidf_baseline_finds_the_rare_label_too() -> None:
    test = reviews(100, seed=2)
    predictions = tfidf_predictions(reviews(300, seed=1, positive_share=0.05), test, LABELS, seed=0)
    positive = predictions.filter(pl.col("label") == "positive")

    assert share_right(positive) > 0.8


def test_the_tfidf_baseline_reads_signs_single_characters_and_unspaced_scripts() -> None:
    for sad, happy in ((":(", ":)"), ("x", "y"), ("😡", "😀"), ("这个手机很坏", "我的手机很好")):
        train = examples([(sad, "negative"), (happy, "positive")] * 4)
        test = examples(
            [(sad[-1] if len(sad) > 2 else sad, "negative"), (happy[-1] if len(sad) > 2 else happy, "positive")]
        )

        assert share_right(tfidf_predictions(train, test, LABELS, seed=0)) == 1.0


def test_the_tfidf_baseline_sees_nothing_of_the_test_split_before_it_answers() -> None:
    train, test = reviews(100, seed=1), reviews(20, seed=2)
    alone = tfidf_predictions(train, test.head(1), LABELS, seed=0)
    among = tfidf_predictions(train, test, LABELS, seed=0)
    relabelled = tfidf_predictions(train, test.with_columns(label=pl.lit("positive")), LABELS, seed=0)

    assert probability_matrix(alone) == pytest.approx(probability_matrix(among)[:1])
    assert probability_matrix(relabelled).tolist() == probability_matrix(among).tolist()


def test_the_same_seed_gives_the_same_answers() -> None:
    train, test = reviews(100, seed=1), reviews(20, seed=2)

    assert tfidf_predictions(train, test, LABELS, 3).equals(tfidf_predictions(train, test, LABELS, 3))


def test_the_penalty_is_chosen_where_every_label_has_rows_enough_and_fixed_where_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baseline, "CANDIDATES_FOR_C", (1e-6,))
    test = reviews(30, seed=2)
    chosen = probability_matrix(tfidf_predictions(reviews(120, seed=1, positive_share=0.5), test, LABELS, seed=0))
    fixed = probability_matrix(tfidf_predictions(reviews(30, seed=1), test, LABELS, seed=0))

    # With the only candidate, a penalty this strong, every probability is a half.
    assert chosen == pytest.approx(np.full((30, 2), 0.5), abs=0.01)
    assert np.abs(fixed - 0.5).max() > 0.2


def test_the_penalty_of_a_large_train_split_is_chosen_on_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "_MAX_ROWS_TO_CHOOSE_C", 60)

    assert share_right(tfidf_predictions(reviews(150, seed=1), reviews(50, seed=2), LABELS, seed=0)) > 0.9


def test_a_label_that_train_does_not_hold_gets_next_to_no_probability_and_finite_logits() -> None:
    labels = ("negative", "neutral", "positive")
    for predictions in (
        tfidf_predictions(reviews(50, seed=1), reviews(10, seed=2), labels, seed=0),
        majority_predictions(reviews(50, seed=1), reviews(10, seed=2), labels),
    ):
        assert labels_of_predictions(predictions) == labels
        assert 0 < probability_matrix(predictions)[:, 1].max() < 1e-12
        assert np.isfinite(predictions["logits"].struct.field("neutral").to_numpy()).all()


def test_no_test_rows_give_no_predictions() -> None:
    assert tfidf_predictions(reviews(50, seed=1), reviews(0, seed=2), LABELS, seed=0).is_empty()
    assert majority_predictions(reviews(50, seed=1), reviews(0, seed=2), LABELS).is_empty()


def test_train_splits_that_nothing_can_be_learned_from_are_errors() -> None:
    test = reviews(10, seed=2)
    with pytest.raises(SingleClassError, match="'negative'"):
        tfidf_predictions(examples([("a", "negative"), ("b", "negative")]), test, LABELS, seed=0)
    with pytest.raises(TooFewExamplesError, match="train split has no rows"):
        tfidf_predictions(examples([]), test, LABELS, seed=0)
    with pytest.raises(TooFewExamplesError, match="train split has no rows"):
        majority_predictions(examples([]), test, LABELS)
    with pytest.raises(UnknownLabelError, match="'mixed'"):
        majority_predictions(examples([("a", "mixed")]), test, LABELS)
