"""Label queues: what is asked, that chance has its share, and that nothing tells the annotator which is which."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ftzard.config import LabellingConfig
from ftzard.core.cleaning import hash_texts
from ftzard.core.label_figures import uncertainty_histogram
from ftzard.core.label_queue import arm_sizes, make_label_queue, sidecar_schema
from ftzard.core.predictions import predictions_frame
from ftzard.core.records import EXAMPLE_SCHEMA, QUEUE_ROW_SCHEMA, LabelQueue
from ftzard.errors import PredictionsMismatchError

LABELS = ("negative", "positive")
CONFIG = LabellingConfig(max_rows_per_file=20, uncertainty_quantile=0.5)


def file_of(num_rows: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Examples without labels, and the champion's predictions for them."""
    texts = pl.Series("text", [f"text {row} of {seed}" for row in range(num_rows)], dtype=pl.String)
    examples = pl.DataFrame(
        {
            "text_hash": hash_texts(texts),
            "text": texts,
            "label": pl.Series([None] * num_rows, dtype=pl.String),
            "batch": pl.Series(["data/incoming/file.csv"] * num_rows, dtype=pl.String),
            "row": pl.Series(range(2, num_rows + 2), dtype=pl.Int64),
        },
        schema=EXAMPLE_SCHEMA,
    )
    logits = np.random.default_rng(seed).normal(size=(num_rows, 2))
    predictions = predictions_frame(examples["text_hash"].to_list(), examples["label"].to_list(), logits, LABELS)
    return examples, predictions.with_columns(champion_version=pl.lit("3"))


def queue_of(num_rows: int = 200, config: LabellingConfig = CONFIG, seed: int = 0, **options: Any) -> LabelQueue:
    examples, predictions = file_of(num_rows, seed)
    return make_label_queue(examples, predictions, "3", config, **options)


def hashes_of(queue: LabelQueue, arm: str) -> set[str]:
    return set(queue.sidecar.filter(pl.col("arm") == arm)["text_hash"])


def test_a_queue_has_as_many_rows_as_configured_and_a_fifth_of_them_by_chance() -> None:
    queue = queue_of()
    assert queue.rows.schema == QUEUE_ROW_SCHEMA
    assert queue.sidecar.schema == sidecar_schema(LABELS, drawn=True)
    assert queue.labels == LABELS
    assert (queue.rows.height, len(hashes_of(queue, "control")), len(hashes_of(queue, "strategy"))) == (20, 4, 16)
    assert queue.rows["position"].to_list() == list(range(1, 21))
    assert sorted(queue.rows["text_hash"]) == queue.sidecar["text_hash"].to_list()
    assert queue.sidecar.select("strategy", "champion_version", "batch").unique().rows() == [
        ("least_confidence", "3", "data/incoming/file.csv")
    ]


def test_the_sidecar_says_what_the_champion_said() -> None:
    examples, predictions = file_of(50)
    queue = make_label_queue(examples, predictions, "3", CONFIG)
    for row in queue.sidecar.iter_rows(named=True):
        predicted = predictions.row(by_predicate=pl.col("text_hash") == row["text_hash"], named=True)
        assert row["predicted_label"] == predicted["predicted_label"]
        assert row["confidence"] == max(predicted["probabilities"].values())
        assert row["uncertainty"] == pytest.approx(1 - row["confidence"])
        assert row["probabilities"] == predicted["probabilities"]


def test_the_strategy_takes_the_most_uncertain_rows_that_chance_left() -> None:
    examples, predictions = file_of(200)
    queue = make_label_queue(examples, predictions, "3", CONFIG)
    largest = predictions["probabilities"].struct.unnest().max_horizontal()
    ranked = examples["text_hash"].gather(largest.arg_sort()).to_list()
    control = hashes_of(queue, "control")
    assert hashes_of(queue, "strategy") == set([row for row in ranked if row not in control][:16])


def test_no_row_is_in_both_arms_even_where_the_queue_takes_the_whole_file() -> None:
    config = replace(CONFIG, max_rows_per_file=300, uncertainty_quantile=0.0)
    queue = queue_of(100, config)
    assert queue.rows.height == 100
    assert queue.rows["text_hash"].n_unique() == 100
    assert len(hashes_of(queue, "control")) == 20


@pytest.mark.parametrize("strategy", ["least_confidence", "margin", "entropy", "random", "diverse"])
def test_the_control_arm_is_the_same_whatever_the_strategy_and_the_champion_say(strategy: Any) -> None:
    examples, predictions = file_of(200)
    embeddings = np.random.default_rng(5).normal(size=(200, 4)).astype(np.float32)
    other = make_label_queue(
        examples,
        # Another champion, of which the first rows are the most uncertain ones.
        file_of(200, seed=9)[1].with_columns(examples["text_hash"]),
        "4",
        replace(CONFIG, query_strategy=strategy),
        embeddings=embeddings,
    )
    queue = make_label_queue(examples, predictions, "3", CONFIG)
    assert hashes_of(other, "control") == hashes_of(queue, "control")
    assert set(other.sidecar["strategy"]) == {strategy}


def test_over_many_files_a_row_is_in_the_control_arm_as_often_when_it_is_uncertain_as_when_it_is_certain() -> None:
    shares = []
    for seed in range(60):
        examples, predictions = file_of(100, seed)
        queue = make_label_queue(examples, predictions, "3", CONFIG)
        largest = predictions["probabilities"].struct.unnest().max_horizontal()
        uncertain = set(examples["text_hash"].gather(largest.arg_sort()[:50]))
        shares += [row in uncertain for row in hashes_of(queue, "control")]
    # 240 draws with p = 1/2: four standard deviations.
    assert abs(np.mean(shares) - 0.5) < 4 * 0.5 / np.sqrt(len(shares))


def test_the_order_of_the_queue_says_nothing_about_the_arms() -> None:
    places = []
    for seed in range(60):
        queue = queue_of(100, seed=seed)
        control = queue.rows.filter(pl.col("text_hash").is_in(sorted(hashes_of(queue, "control"))))
        places += control["position"].to_list()
    # Uniform on 1 to 20: mean 10.5, standard deviation 5.77.
    assert abs(np.mean(places) - 10.5) < 4 * 5.77 / np.sqrt(len(places))


@settings(max_examples=25)
@given(num_rows=st.integers(1, 60), order=st.integers(0, 9), fraction=st.floats(0, 0.9), quantile=st.floats(0, 1))
def test_the_same_file_gives_the_same_queue_in_whatever_order_its_rows_come(
    num_rows: int, order: int, fraction: float, quantile: float
) -> None:
    config = replace(CONFIG, control_fraction=fraction, uncertainty_quantile=quantile)
    examples, predictions = file_of(num_rows)
    queue = make_label_queue(examples, predictions, "3", config)
    shuffled = np.random.default_rng(order).permutation(num_rows)
    again = make_label_queue(examples[shuffled], predictions[shuffled[::-1]], "3", config)
    assert_frame_equal(again.rows, queue.rows)
    assert_frame_equal(again.sidecar, queue.sidecar)
    assert 1 <= queue.rows.height <= min(num_rows, config.max_rows_per_file)
    if fraction > 0:
        assert hashes_of(queue, "control")


def test_another_file_another_seed_another_draw() -> None:
    first, seeded = queue_of(), queue_of(config=replace(CONFIG, seed=1))
    assert hashes_of(first, "control") != hashes_of(seeded, "control")
    examples, predictions = file_of(201)
    longer = make_label_queue(examples, predictions, "3", CONFIG)
    assert hashes_of(longer, "control") != hashes_of(first, "control")


def test_rows_whose_label_is_known_are_not_asked_for_again() -> None:
    examples, _ = file_of(100)
    known = set(examples["text_hash"][:60])
    queue = queue_of(100, already_labelled=known)
    assert set(queue.sidecar["num_drawn_from"]) == {100 - len(known)}
    assert queue.rows.height == 20
    assert not known & set(queue.rows["text_hash"])
    assert queue_of(100, already_labelled=set(examples["text_hash"])).rows.is_empty()


def test_where_few_rows_are_uncertain_enough_the_control_arm_keeps_its_share() -> None:
    config = replace(CONFIG, max_rows_per_file=100, uncertainty_quantile=0.9)
    queue = queue_of(100, config)
    # The threshold lets 11 rows in; one control row for each four of them.
    assert len(hashes_of(queue, "control")) == 3
    assert 8 <= len(hashes_of(queue, "strategy")) <= 11


@pytest.mark.parametrize(
    ("num_rows", "num_eligible", "fraction", "sizes"),
    [(0, 0, 0.2, (0, 0)), (1, 1, 0.2, (1, 0)), (2, 2, 0.2, (1, 1)), (2, 1, 0.0, (0, 1)), (500, 500, 0.2, (20, 80))],
)
def test_small_files_and_large_ones(num_rows: int, num_eligible: int, fraction: float, sizes: tuple[int, int]) -> None:
    assert arm_sizes(num_rows, num_eligible, LabellingConfig(control_fraction=fraction)) == sizes


def test_embeddings_go_with_their_rows_and_are_asked_for_where_the_strategy_needs_them() -> None:
    config = replace(CONFIG, query_strategy="diverse", uncertainty_quantile=0.0)
    examples, predictions = file_of(40)
    embeddings = np.random.default_rng(1).normal(size=(40, 3))
    queue = make_label_queue(examples, predictions, "3", config, embeddings=embeddings)
    backwards = make_label_queue(examples.reverse(), predictions, "3", config, embeddings=embeddings[::-1])
    assert_frame_equal(queue.rows, backwards.rows)
    for wrong in (None, embeddings[:3]):
        with pytest.raises(ValueError, match="embeddings"):
            make_label_queue(examples, predictions, "3", config, embeddings=wrong)


def test_predictions_of_another_file_are_refused() -> None:
    examples, predictions = file_of(5)
    for wrong in (predictions[1:], pl.concat([predictions, predictions[:1]])):
        with pytest.raises(PredictionsMismatchError, match="predictions"):
            make_label_queue(examples, wrong, "3", CONFIG)


def test_a_text_that_occurs_twice_in_a_file_is_asked_for_once() -> None:
    examples, predictions = file_of(5)
    queue = make_label_queue(pl.concat([examples, examples[:2]]), predictions, "3", CONFIG)
    assert queue.rows["text_hash"].n_unique() == queue.rows.height


def test_the_histogram_shows_rows_threshold_and_queue(tmp_path: Path) -> None:
    uncertainty = np.linspace(0, 0.5, 200)
    drawn = uncertainty_histogram(uncertainty, 0.4, uncertainty[160:], strategy="least_confidence")
    (tmp_path / "histogram.png").write_bytes(drawn)
    assert drawn.startswith(b"\x89PNG")
    assert drawn != uncertainty_histogram(uncertainty, None, uncertainty[160:], strategy="least_confidence")
    with pytest.raises(ValueError, match="row"):
        uncertainty_histogram(np.empty(0), None, np.empty(0), strategy="random")
