"""What splitting promises: disjoint by content, the same tomorrow with more data, and nearly equal shares of labels."""

import hashlib
import itertools
import math
import re
from dataclasses import replace
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core import split_draws
from ftzard.core.cleaning import hash_texts
from ftzard.core.conversations import write_messages
from ftzard.core.leakage import find_leakage
from ftzard.core.near_duplicates import is_near
from ftzard.core.records import EXAMPLE_SCHEMA, QUARANTINED_SCHEMA, REJECTED_SCHEMA, Cleaned, Splits
from ftzard.core.repeated_texts import repeated_texts
from ftzard.core.splitting import (
    HELD_FOR_TEST,
    IN_TEST_SPLIT,
    drawn_anew,
    overlap,
    shortage,
    split,
    split_first,
    stratification_error,
)
from ftzard.core.splitting import test_fingerprint as fingerprint_of
from ftzard.errors import TooFewExamplesError

PLAIN = DataConfig()


@st.composite
def configs(draw: st.DrawFn) -> DataConfig:
    """Draw any seed, and fractions that leave no split empty by chance."""
    test, validation = draw(st.integers(10, 60)), draw(st.just(0) | st.integers(10, 30))
    return DataConfig(
        seed=draw(st.integers(0, 2**32 - 1)),
        train_fraction=(100 - test - validation) / 100,
        validation_fraction=validation / 100,
        test_fraction=test / 100,
    )


def drawn_for_test(examples: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    return split_first(examples, config)[1]


def examples_of(texts: list[str], labels: list[str], batch: str = "a.csv") -> pl.DataFrame:
    columns = {"text": texts, "label": labels, "batch": [batch] * len(texts), "row": range(2, 2 + len(texts))}
    frame = pl.DataFrame(columns, schema_overrides={"row": pl.Int64})
    return frame.with_columns(hash_texts(frame["text"])).select(EXAMPLE_SCHEMA.names())


def some_examples(num_examples: int, prefix: str = "text", num_labels: int = 2) -> pl.DataFrame:
    texts = [f"{prefix} {index}" for index in range(num_examples)]
    return examples_of(texts, [f"label {index % num_labels}" for index in range(num_examples)])


def frames(splits: Splits) -> dict[str, pl.DataFrame]:
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def places(splits: Splits) -> dict[str, str]:
    """Where each text went."""
    return {text_hash: name for name, frame in frames(splits).items() for text_hash in frame["text_hash"]}


@settings(deadline=None, max_examples=25)
@given(configs(), st.integers(200, 400))
def test_splits_are_disjoint_and_hold_every_example_once_sorted_by_hash(config: DataConfig, num_examples: int) -> None:
    examples = some_examples(num_examples)
    splits = split(examples, config)
    together = pl.concat(frames(splits).values())
    assert together.sort("text_hash").equals(examples.sort("text_hash"))
    assert set(overlap(splits).values()) == {0}
    for frame in frames(splits).values():
        assert frame.schema == EXAMPLE_SCHEMA
        assert frame["text_hash"].is_sorted()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.sampled_from([1.0, 0.6]), st.randoms(use_true_random=False))
def test_adding_examples_in_any_order_never_moves_an_old_one(
    seed: int, num_added: int, sample_fraction: float, random: Random
) -> None:
    config = DataConfig(seed=seed, sample_fraction=sample_fraction, train_fraction=0.6, test_fraction=0.3)
    old = some_examples(300)
    more = pl.concat([old, some_examples(num_added, prefix="new")])
    order = list(range(more.height))
    random.shuffle(order)
    before, after = split(old, config), split(more[order], config)
    assert places(before).items() <= places(after).items()
    known = pl.col("text_hash").is_in(old["text_hash"].to_list())
    for name, frame in frames(before).items():
        assert frames(after)[name].filter(known).equals(frame)


def test_a_text_with_several_labels_is_trained_on_and_moves_no_other() -> None:
    examples = some_examples(200)
    other = pl.when(pl.col("label") == "label 0").then(pl.lit("label 1")).otherwise(pl.lit("label 0"))
    second_opinion = examples.with_columns(label=other).head(60)
    splits = split(pl.concat([examples, second_opinion]), DataConfig(conflicting_labels="keep"))
    assert set(second_opinion["text_hash"]) <= set(splits.train["text_hash"])
    assert sum(frame.height for frame in frames(splits).values()) == 260
    before, after = places(split(examples, PLAIN)), places(splits)
    assert all(after[text] == before[text] for text in examples["text_hash"].tail(140))


def test_a_frozen_text_that_gets_another_label_is_neither_scored_nor_trained_on() -> None:
    examples = some_examples(300)
    keep = DataConfig(conflicting_labels="keep")
    frozen = drawn_for_test(examples, keep)
    flipped = pl.when(pl.col("label") == "label 0").then(pl.lit("label 1")).otherwise(pl.lit("label 0"))
    other = frozen.head(2).with_columns(label=flipped, batch=pl.lit("b.csv"))
    both = pl.concat([examples, other])
    splits = split(both, keep, frozen)
    assert splits.test["text_hash"].to_list() == frozen["text_hash"].to_list()[2:]
    assert splits.quarantined.height == 4
    assert set(splits.quarantined["text_hash"]) == set(other["text_hash"])
    anew = drawn_anew(both, keep, frozen)
    assert set(other["text_hash"]) <= set(split(both, keep, anew).train["text_hash"])


WORDS = ("sun", "rain", "tea")
# Of six words, so that many are an edit from each other, and some stand between two that are not.
wordy = st.lists(st.lists(st.sampled_from(WORDS), min_size=6, max_size=6), min_size=20, max_size=50, unique_by=tuple)


def wordy_examples(rows: list[list[str]]) -> pl.DataFrame:
    return examples_of([" ".join(words) for words in rows], ["label 0"] * len(rows))


@st.composite
def grown_data(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, DataConfig]:
    """Examples, those and more in any order, and a configuration; beside examples that are near to none."""
    rows = draw(wordy)
    num_old = draw(st.integers(0, len(rows)))
    before = pl.concat([some_examples(200), wordy_examples(rows[:num_old])])
    after = pl.concat([before, wordy_examples(rows[num_old:]), some_examples(draw(st.integers(0, 50)), prefix="new")])
    order = draw(st.permutations(range(after.height)))
    config = DataConfig(seed=draw(st.integers(0, 99)), train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3)
    return before, after[order], config


@settings(deadline=None, max_examples=12)
@given(grown_data())
def test_nothing_near_is_in_two_splits_and_quarantine_and_splits_are_the_input(
    data: tuple[pl.DataFrame, pl.DataFrame, DataConfig],
) -> None:
    before, after, config = data
    frozen = drawn_for_test(before, config)
    for examples, known in ((before, frozen), (before, None), (after, frozen), (after, None)):
        splits = split(examples, config, known)
        assert splits.labelled.sort("text_hash").equals(examples.sort("text_hash"))
        assert set(overlap(splits).values()) == {0}
        assert splits.quarantined.schema == QUARANTINED_SCHEMA
        for one, other in itertools.combinations(frames(splits).values(), 2):
            assert not is_near(one["text"], other["text"]).any()


@settings(deadline=None, max_examples=12)
@given(grown_data())
def test_what_comes_later_moves_nothing_into_or_out_of_the_frozen_test_split_nor_out_of_train(
    data: tuple[pl.DataFrame, pl.DataFrame, DataConfig],
) -> None:
    before, after, config = data
    frozen = drawn_for_test(before, config)
    first, later = split(before, config, frozen), split(after, config, frozen)
    assert first.test.equals(split(before, config).test)
    assert later.test.equals(first.test)
    assert set(first.train["text_hash"]) <= set(later.train["text_hash"])
    assert later.train.equals(split(after.sort("text"), config, frozen).train)
    # Nor does a test split that is frozen anew take what was trained on.
    anew = drawn_anew(after, config, frozen)
    assert set(frozen["text_hash"]) <= set(anew["text_hash"])
    assert not set(anew["text_hash"]) & set(later.train["text_hash"])
    again = split(after, config, anew)
    assert again.train.equals(later.train)
    assert HELD_FOR_TEST not in set(again.quarantined["reason"])


def test_later_copies_of_test_rows_are_quarantined_and_what_is_drawn_for_test_waits() -> None:
    long = [f"row {index} of words {'that go on and on ' * 2}{index * 7} {index * 13}" for index in range(300)]
    old = examples_of(long, [f"label {index % 2}" for index in range(300)])
    frozen = drawn_for_test(old, PLAIN)
    assert 0 < frozen.height < 60
    copies = [f"{text.upper()}!" for text in frozen["text"]] + [f"Well {text}" for text in frozen["text"]]
    more = examples_of(copies, ["label 0"] * len(copies), batch="b.csv")
    splits = split(pl.concat([old, more, some_examples(300, prefix="new")]), PLAIN, frozen)
    assert splits.test["text_hash"].to_list() == frozen["text_hash"].to_list()
    aside = splits.quarantined.filter(reason=IN_TEST_SPLIT)
    assert sorted(aside["text"]) == sorted(copies)
    held = splits.quarantined.filter(reason=HELD_FOR_TEST)
    assert 10 < held.height < 60
    assert held["text"].str.starts_with("new").all()
    plain = split(pl.concat([old, more]), DataConfig(near_duplicate_edits=0), frozen)
    assert sorted(plain.quarantined.filter(reason=IN_TEST_SPLIT)["text"]) == sorted(copies[: frozen.height])


def test_a_frozen_row_that_is_gone_is_missing_its_copies_are_not_trained_on_and_it_comes_back() -> None:
    texts = [f"{'a b c d e f g h ' * 3}{index} {index * 3} {index * 5}" for index in range(200)]
    old = examples_of(texts, [f"label {index % 2}" for index in range(200)])
    frozen = drawn_for_test(old, PLAIN)
    gone = frozen.head(1)
    copy = examples_of([f"Well, {gone['text'].item()}"], ["label 0"], batch="b.csv")
    without = pl.concat([old.filter(pl.col("text_hash") != gone["text_hash"].item()), copy])
    splits = split(without, PLAIN, frozen)
    assert splits.test["text_hash"].to_list() == frozen["text_hash"].to_list()[1:]
    assert splits.quarantined["text"].to_list() == copy["text"].to_list()
    back = split(pl.concat([without, gone.with_columns(label=pl.lit("label 1"))]), PLAIN, frozen)
    assert back.test["text_hash"].to_list() == frozen["text_hash"].to_list()
    assert fingerprint_of(back.test) == fingerprint_of(frozen.with_columns(label=back.test["label"]))
    # Only a refreeze gives it up; then its copy is a row as any other.
    anew = drawn_anew(without, PLAIN, frozen)
    assert gone["text_hash"].item() not in set(anew["text_hash"])
    assert not split(without, PLAIN, anew).quarantined.height


BY_GROUP = DataConfig(group_column="user", train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3)
BY_TIME = DataConfig(time_column="at", train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3)


def with_groups(examples: pl.DataFrame, num_groups: int) -> pl.DataFrame:
    """Every eleventh row belongs to none."""
    number = pl.int_range(pl.len())
    group = pl.when(number % 11 > 0).then(pl.format("user {}", number % num_groups))
    return examples.with_columns(group=group)


@settings(deadline=None, max_examples=10)
@given(st.integers(20, 60), st.integers(0, 99), wordy)
def test_a_group_is_in_one_split_whatever_comes_later_and_whatever_the_seed_is_then(
    num_groups: int, seed: int, rows: list[list[str]]
) -> None:
    whole = with_groups(pl.concat([wordy_examples(rows), some_examples(600)]), num_groups)
    old = whole.head(400)
    frozen = drawn_for_test(old, BY_GROUP)
    for examples, config in ((old, BY_GROUP), (whole, BY_GROUP), (whole, replace(BY_GROUP, seed=seed))):
        splits = split(examples, config, frozen)
        assert splits.test["text_hash"].to_list() == frozen["text_hash"].to_list()
        assert splits.labelled["text_hash"].sort().equals(examples["text_hash"].sort())
        groups = {
            name: set(examples.join(frame, on="text_hash", how="semi")["group"].drop_nulls())
            for name, frame in frames(splits).items()
        }
        for one, other in itertools.combinations(groups, 2):
            assert not groups[one] & groups[other]
            assert not is_near(frames(splits)[one]["text"], frames(splits)[other]["text"]).any()


def test_by_time_the_newest_share_is_the_test_split_and_later_rows_wait() -> None:
    hours = pl.int_range(pl.len()).cast(pl.Int64) * 3_600_000_000
    dated = some_examples(300).with_columns(time=hours.cast(pl.Datetime("us", "UTC")))
    old, examples = dated.head(200), dated.sample(fraction=1, shuffle=True, seed=1)
    frozen = drawn_for_test(old, BY_TIME)
    assert set(frozen["text_hash"]) == set(old["text_hash"].tail(60))
    first = split(old, BY_TIME, frozen)
    assert not first.quarantined.height
    assert first.validation.height == pytest.approx(40, abs=20)
    later = split(examples, BY_TIME, frozen)
    assert later.test.equals(first.test)
    held = later.quarantined.filter(reason=HELD_FOR_TEST)
    assert set(held["text_hash"]) == set(dated["text_hash"].tail(90))
    undated = split(dated.with_columns(time=pl.when(pl.col("row") % 3 == 0).then("time")), BY_TIME)
    assert (undated.test["row"] % 3 == 0).all()


def test_a_larger_sample_finds_its_share_of_the_test_split_frozen_already() -> None:
    examples = some_examples(1000)
    small, large = DataConfig(sample_fraction=0.3), PLAIN
    frozen = drawn_for_test(examples, small)
    assert split(examples, large, frozen).test.equals(frozen)
    assert split(examples, small, frozen).test.height < frozen.height
    assert not split(examples, large, frozen).quarantined.height


def test_a_frozen_test_split_of_which_nothing_is_left_is_an_error_that_names_the_refreeze() -> None:
    frozen = drawn_for_test(some_examples(300), PLAIN)
    with pytest.raises(TooFewExamplesError, match="frozen test split none is among the 300 examples") as caught:
        split(some_examples(300, prefix="other"), PLAIN, frozen)
    assert "`ftzard splits refreeze --reason TEXT`" in caught.value.fix
    others = some_examples(300, prefix="other")
    assert drawn_anew(others, PLAIN, frozen).equals(drawn_for_test(others, PLAIN))


def test_a_row_keeps_its_split_when_its_label_batch_and_row_change() -> None:
    examples = some_examples(300)
    moved = examples.with_columns(
        pl.lit("b.csv").alias("batch"), pl.col("row") + 7, pl.col("label").reverse().alias("label")
    )
    assert places(split(moved, PLAIN)) == places(split(examples, PLAIN))


def test_where_examples_go_is_the_same_in_every_version() -> None:
    splits = split(some_examples(60), DataConfig(train_fraction=0.5, validation_fraction=0.2, test_fraction=0.3))
    assert {name: frame.height for name, frame in frames(splits).items()} == {"train": 32, "validation": 6, "test": 22}
    assert fingerprint_of(splits.test) == "c50bbc3aae0a50720417570aa3b37160cb266dae6effae26bc9973c8fb67ec7a"


def test_another_seed_gives_another_split() -> None:
    examples = some_examples(300)
    assert places(split(examples, PLAIN)) != places(split(examples, DataConfig(seed=1)))


def test_another_validation_fraction_does_not_touch_test() -> None:
    examples = some_examples(300)
    without = DataConfig(train_fraction=0.9, validation_fraction=0.0)
    assert split(examples, without).test.equals(split(examples, PLAIN).test)
    assert split(examples, without).validation.is_empty()


def test_a_larger_sample_contains_the_smaller_one_in_the_same_splits() -> None:
    examples = some_examples(1000)
    small, large = (split(examples, DataConfig(sample_fraction=fraction)) for fraction in (0.3, 0.6))
    assert places(small).items() < places(large).items() < places(split(examples, PLAIN)).items()


def test_the_sample_and_the_split_are_drawn_independently() -> None:
    splits = split(some_examples(20_000), DataConfig(sample_fraction=0.1))
    num_sampled = sum(frame.height for frame in frames(splits).values())
    assert num_sampled == pytest.approx(2000, abs=5 * math.sqrt(20_000 * 0.1 * 0.9))
    assert splits.test.height == pytest.approx(num_sampled * 0.1, abs=5 * math.sqrt(num_sampled * 0.1 * 0.9))
    assert splits.train.height == pytest.approx(num_sampled * 0.8, abs=5 * math.sqrt(num_sampled * 0.8 * 0.2))


def test_each_label_has_its_share_in_each_split_within_what_chance_allows() -> None:
    num_common, num_rare = 18_000, 2_000
    texts = [f"tweet {index}" for index in range(num_common + num_rare)]
    examples = examples_of(texts, ["common"] * num_common + ["rare"] * num_rare)
    splits = split(examples, PLAIN)
    for frame, fraction in ((splits.train, 0.8), (splits.validation, 0.1), (splits.test, 0.1)):
        for label, count in (("common", num_common), ("rare", num_rare)):
            spread = math.sqrt(count * fraction * (1 - fraction))
            assert frame.filter(label=label).height == pytest.approx(count * fraction, abs=5 * spread)
    assert 0 < stratification_error(splits) < 5 * math.sqrt(0.1 * 0.9 / splits.test.height)


def test_stratification_error_is_the_largest_difference_in_share() -> None:
    exact = examples_of(["a", "b"], ["x", "y"])
    assert stratification_error(Splits(train=exact, validation=exact.clear(), test=exact)) == 0
    train, test = examples_of(["a", "b", "c"], ["x", "x", "y"]), examples_of(["d"], ["y"])
    # Label x has a share of 2/4 in all, 2/3 in train and none in test.
    assert stratification_error(Splits(train=train, validation=exact.clear(), test=test)) == pytest.approx(0.5)
    assert stratification_error(Splits(*[exact.clear()] * 3)) == 0


def test_overlap_counts_the_texts_that_two_splits_share() -> None:
    one, other = examples_of(["a", "b", "c"], ["x", "x", "y"]), examples_of(["b", "c", "d"], ["y", "y", "y"])
    assert overlap(Splits(train=one, validation=one.head(1), test=other)) == {
        ("train", "validation"): 1,
        ("train", "test"): 2,
        ("validation", "test"): 0,
    }


def test_the_fingerprint_of_a_test_set_depends_on_its_texts_and_labels_only() -> None:
    test = some_examples(20)
    assert fingerprint_of(test.reverse().with_columns(batch=pl.lit("b.csv"))) == fingerprint_of(test)
    assert fingerprint_of(test.head(19)) != fingerprint_of(test)
    assert fingerprint_of(test.with_columns(label=pl.col("label").reverse())) != fingerprint_of(test)
    assert fingerprint_of(some_examples(20, prefix="other")) != fingerprint_of(test)


def test_fewer_examples_than_labels_is_an_error_with_both_numbers() -> None:
    with pytest.raises(TooFewExamplesError, match=r"2 example\(s\) for 3 label\(s\)"):
        split(some_examples(2), DataConfig(labels=("label 0", "label 1", "label 2")))
    with pytest.raises(TooFewExamplesError, match=r"for 2 label\(s\), of 5 before data\.sample_fraction=1e-06"):
        split(some_examples(5), DataConfig(sample_fraction=1e-6))
    with pytest.raises(TooFewExamplesError):
        split(some_examples(0), PLAIN)


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_split_without_a_label_is_an_error_with_split_label_counts_and_remedy(name: str) -> None:
    elsewhere = frames(split(some_examples(300), PLAIN))
    others = [frame for split_name, frame in elsewhere.items() if split_name != name]
    lone = elsewhere[name].with_columns(label=pl.lit("label 0"))
    with pytest.raises(TooFewExamplesError) as caught:
        split(pl.concat([lone, *others]), PLAIN)
    assert f"{name} has no 'label 1' (its counts: {{'label 0': {lone.height}}})" in caught.value.what
    for remedy in ("add labelled examples", "data.seed", "fractions"):
        assert remedy in caught.value.fix


def test_a_label_that_came_after_the_freeze_is_led_to_the_refreeze_that_lets_it_join() -> None:
    examples = some_examples(300)
    frozen = split_first(examples, PLAIN)[1]
    new = some_examples(100, prefix="new").with_columns(label=pl.lit("label 9"))
    with pytest.raises(TooFewExamplesError, match="test has no 'label 9'") as caught:
        split(pl.concat([examples, new]), PLAIN, frozen)
    assert re.match(
        r"the test split is frozen without 'label 9': `ftzard splits refreeze --reason \"...\"` lets those join .*"
        r"\('label 9' [1-9]\d*\)$",
        caught.value.fix,
    )
    of_train = split(new, replace(PLAIN, labels=())).train.head(1)
    with pytest.raises(TooFewExamplesError) as caught:
        split(pl.concat([examples, of_train]), PLAIN, frozen)
    assert "no example was drawn for it: add labelled examples, and then `ftzard splits refreeze" in caught.value.fix


def test_of_many_labels_that_a_split_lacks_and_has_the_first_and_the_rarest_are_told() -> None:
    many = some_examples(300).with_columns(label=pl.format("label {}", pl.int_range(pl.len()) % 40))
    with pytest.raises(TooFewExamplesError, match=r"test has no 'label \d+'(; 'label \d+'){4} and \d+ more") as caught:
        split(many, PLAIN)
    assert re.search(r"\(its counts: \{.*\} and \d+ more labels with at least \d+ each\)", caught.value.what)
    assert len(caught.value.what) < 600


def test_an_empty_validation_split_is_an_error_unless_none_is_asked_for() -> None:
    splits = split(some_examples(300), PLAIN)
    without = pl.concat([splits.train, splits.test])
    with pytest.raises(TooFewExamplesError, match="validation is empty"):
        split(without, PLAIN)
    config = DataConfig(train_fraction=0.9, validation_fraction=0.0)
    assert [frame.height for frame in frames(split(without, config)).values()] == [
        splits.train.height,
        0,
        splits.test.height,
    ]


def test_validation_may_lack_a_label() -> None:
    splits = split(some_examples(300), PLAIN)
    lone = splits.validation.with_columns(label=pl.lit("label 0"))
    again = split(pl.concat([splits.train, splits.test, lone]), PLAIN)
    assert again.validation["label"].unique().to_list() == ["label 0"]


def test_a_draw_is_the_first_bits_of_a_hash_of_seed_draw_and_text_as_it_was_when_splits_were_committed() -> None:
    keys = [f"{number:032x}" for number in range(1000)] + ["", "group:é"]
    drawn = split_draws._uniform(pl.Series(keys), 7, "split")
    digests = [hashlib.sha256(f"7:split:{key}".encode()).digest() for key in keys]
    assert drawn.to_list() == [(int.from_bytes(digest[:8], "big") >> 11) / 2**53 for digest in digests]
    assert drawn.dtype == pl.Float64


def test_splits_that_near_copies_left_small_are_told_with_the_way_out() -> None:
    things = [f"{one}{other}" for one in "bdfgklmprs" for other in "aeiouy"]
    prompts = [f"What kind of animal is a {thing}, please?" for thing in things]
    config = DataConfig(task="generation", train_fraction=0.5, validation_fraction=0.25, test_fraction=0.25)
    others = [
        f"{thing} " * 3 + f"is the answer {number} to {number * number} other things"
        for number, thing in enumerate(things[:20])
    ]
    examples = examples_of([*prompts, *others], ["x"] * 80)
    together = split_first(examples, config)[0]
    told = shortage(together, config)
    assert f"test has {together.test.height} of 80 examples (of data.test_fraction=0.25: 20)" in told
    assert "data.near_duplicate_edits=0" in told
    apart = replace(config, near_duplicate_edits=0)
    assert shortage(split_first(examples, apart)[0], apart) == ""


def chats_of(contents: list[str], system: str) -> pl.DataFrame:
    """Examples that each have been asked one thing below the same words of a system."""
    talks = [[{"role": "system", "content": system}, {"role": "user", "content": said}] for said in contents]
    return examples_of([write_messages(talk) for talk in talks], ["yes"] * len(contents))


_CHATS = DataConfig(task="generation", messages_column="messages", cleaning_steps=("unicode_nfc",))
_LINES = [[f"item {row} of {number} is {row * number}" for number in range(9)] for row in range(60)]


def test_chats_that_differ_in_how_their_lines_end_are_in_one_split() -> None:
    examples = chats_of([end.join(lines) for lines in _LINES for end in ("\n", "\r\n", " ")], "Sort these lines.")
    splits = split(examples, _CHATS)
    whole = pl.col("text").str.replace_all(r"(\\r)?\\n", " ")
    texts = {name: set(frame.select(whole).to_series()) for name, frame in frames(splits).items()}
    assert sum(map(len, texts.values())) == len(_LINES)
    assert find_leakage(splits, None, _CHATS).is_none


def test_copies_of_frozen_chats_with_other_line_ends_are_found_by_who_checks() -> None:
    test = chats_of(["\n".join(lines) for lines in _LINES[:5]], "Sort these lines.")
    train = chats_of(["\r\n".join(lines) for lines in _LINES], "Sort these lines.")
    leakage = find_leakage(Splits(train, train.clear(), test), None, _CHATS)
    assert leakage.copies.height == 5


def test_short_chats_below_a_long_system_prompt_are_told_apart_by_their_few_words() -> None:
    examples = chats_of([f"Translate word{row}" for row in range(100)], "You translate from English into French." * 3)
    splits = split(examples, _CHATS)
    assert splits.test.height > 2
    assert repeated_texts(Cleaned(examples, REJECTED_SCHEMA.to_frame()), _CHATS).num_near == 0
