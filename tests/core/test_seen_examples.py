"""What weights have seen, and what is news to them: texts with their answers."""

import polars as pl
import pytest
from tests.core.model_scenario import splits

from ftzard.core.champion_records import SEEN_SCHEMA
from ftzard.core.seen_examples import new_to, seen_in, with_earlier

_TRAIN = splits().train.sort("text_hash").head(6)


def _with_label(label: str) -> pl.DataFrame:
    return _TRAIN.with_columns(label=pl.lit(label))


def test_the_order_of_examples_is_of_no_account() -> None:
    assert seen_in(_TRAIN.reverse()).equals(seen_in(_TRAIN))
    assert seen_in(_TRAIN).schema == SEEN_SCHEMA


def test_what_was_seen_is_not_new_what_has_another_label_is_and_so_is_what_is_there_for_the_first_time() -> None:
    assert new_to(seen_in(_TRAIN), _TRAIN).is_empty()
    assert new_to(seen_in(_with_label("other")), _TRAIN).equals(_TRAIN)
    assert new_to(seen_in(_TRAIN.head(4)), _TRAIN).equals(_TRAIN.tail(2))


def test_of_a_text_with_two_answers_the_one_that_was_not_seen_is_new() -> None:
    both = pl.concat([_with_label("good"), _with_label("bad")])
    assert new_to(seen_in(_with_label("good")), both).equals(_with_label("bad"))
    assert new_to(seen_in(both), both).is_empty()


@pytest.mark.parametrize("label", ["good", "bad"])
def test_where_only_the_texts_are_known_that_were_seen_no_answer_to_them_is_new(label: str) -> None:
    before = seen_in(_TRAIN.head(4)).with_columns(example_hash=pl.lit(None, pl.String))
    train = _with_label(label)
    assert new_to(before, train).equals(train.tail(2))


def test_a_label_that_is_turned_back_is_new_to_weights_that_went_on_with_the_other_one() -> None:
    good, bad = _with_label("good"), _with_label("bad").head(2)
    seen = with_earlier(seen_in(bad), seen_in(good))
    assert new_to(seen, good).equals(good.head(2))
    assert new_to(seen, pl.concat([bad, good.tail(4)])).is_empty()
    assert seen["text_hash"].to_list() == good["text_hash"].to_list()
