"""What cleaning promises: the same examples whatever the order of the rows, and every other row accounted for."""

import hashlib
import itertools
import re
import string
import unicodedata
from collections import Counter, defaultdict
from random import Random
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean, hash_texts, labels_of
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.records import EXAMPLE_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA
from ftzard.core.text_normalisation import normalise_text
from ftzard.core.tweets import sample_tweets
from ftzard.errors import ConfigError, NoExamplesError, SingleClassError, TooFewExamplesError, UnknownLabelError

PLAIN = DataConfig()
ANCESTORS_CHARACTERS = frozenset(string.ascii_letters + string.digits + ". ")
SENTIMENT = {"0": "negative", "4": "positive"}
# Characters that the steps act on, and some that change their length or form when they are composed or made lower case.
DIRT = st.text(
    st.sampled_from("&#;<>!-@@ab Zé.:/\n\t \u00a0\u0130\u0301e\u212bΣ\u3000w_h0") | st.characters(codec="utf-8")
)
DIRTY_WORDS = st.lists(
    st.sampled_from(
        [
            "@",
            "www.",
            "ww",
            "w",
            "(",
            ".x",
            "http",
            "https://",
            "://",
            "a",
            "é",
            "\u0301",
            " ",
            "\n",
            "@b",
            "&",
            "amp",
            ";",
            "#x3",
            "#64;",
            "<",
            ">",
            "<b",
            "</",
            "!--",
            "-->",
            "\u200b",
            "\u200d",
            "👨",
            "\U0001f3fd",
            "🇩",
            "aaa",
            "&LT;",
        ]
    )
).map("".join)


def raw(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    """Make rows as read from one batch, from texts and labels; rows are numbered from 2 as below a header."""
    numbered = [(text, label, "data/raw/a.csv", row) for row, (text, label) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def normalised(text: str, *steps: str) -> str:
    (result,) = normalise_text(pl.Series([text]), steps)
    assert isinstance(result, str)
    return result


def reasons(rejected: pl.DataFrame) -> list[tuple[int, str]]:
    return rejected.select("row", "reason").rows()


# Normalising text


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("unicode_nfc", "cafe\u0301 \u212b", "café Å"),
        ("collapse_whitespace", " \n a\t\u00a0\u3000b\r\n", "a b"),
        ("lowercase", "ÀB c", "àb c"),
        ("user_names", "@bob and @Ann_1: @ 5", "user bob and user Ann_1: @ 5"),
        ("user_names", "@@bob", "user bob"),
        ("basic_characters", "It's café no. 1!\n", "Its caf no. 1"),
        ("replace_urls", "see http://x.y/z?a=1, or WWW.x.org or awww.nice", "see http or http or awww.nice"),
        ("html_entities", "a &amp; b &lt;3 &#39;c&#x27; &eacute;", "a & b <3 'c' é"),
        ("html_entities", "&amp;amp;#38;amp;quot; &amp&semi;", '" &'),
        (
            "html_entities",
            "?a=1&copy=2 &nosuch; AT&T; &#0; &#x110000; &#1;",
            "?a=1&copy=2 &nosuch; AT&T; \ufffd \ufffd ",
        ),
        ("html_tags", 'a<br/>b <a href="x">c</a> I <3 d & 1 < 2 > 0', "a b  c  I <3 d & 1 < 2 > 0"),
        ("html_tags", "<!-- a > b -->c<<<i>d>d>e <!DOCTYPE html>", " c d>d>e  "),
        ("emoji_words", "so 😍👍🏽!", "so  smiling face with heart-eyes  thumbs up medium skin tone !"),
        ("emoji_words", "👨\u200d👩\u200d👧 🇩🇪 #️⃣ 1 # :)", " family man woman girl   Germany   keycap #  1 # :)"),
        ("mojibake", "schÃ¶n und naÃ¯v", "schön und naïv"),
        ("mojibake", "schön &amp; São Paulo Â, Ã la 日本", "schön &amp; São Paulo Â, Ã la 日本"),
        ("invisible_characters", "\ufeffa\u200b\x00b\u202ec\u2069d\u00ade\x9f", "abcde"),
        (
            "invisible_characters",
            "a\u200db \u0645\u06cc\u200c\u062e 👨\u200d👩 \t\n",
            "ab \u0645\u06cc\u200c\u062e 👨\u200d👩 \t\n",
        ),
        ("repeated_characters", "soooo goooood!!! ... ééé ДДД 1000 ++++", "soo good!! .. éé ДД 1000 ++++"),
        ("repeated_characters", "a" * 1000, "aa"),
    ],
)
def test_each_step_does_what_its_description_says(step: str, text: str, expected: str) -> None:
    assert normalised(text, step) == expected
    assert CLEANING_STEPS[step].description.endswith(".")


def test_every_step_is_tried_by_an_example_above() -> None:
    (mark,) = getattr(test_each_step_does_what_its_description_says, "pytestmark")  # noqa: B009 - set by pytest
    assert {step for step, _, _ in mark.args[1]} == set(CLEANING_STEPS)


def test_steps_are_applied_in_the_order_in_which_they_are_named() -> None:
    assert normalised("@bob!", "user_names", "basic_characters") == "user bob"
    assert normalised("@bob!", "basic_characters", "user_names") == "bob"


def test_the_ancestors_cleaning_is_two_steps() -> None:
    text = "@switchfoot http://twitpic.com/2y1zl - Awww, that's a bummer. You shoulda got David Carr! ;D"
    expected = "user switchfoot httptwitpic.com2y1zl  Awww thats a bummer. You shoulda got David Carr D"
    assert normalised(text, "user_names", "basic_characters") == expected


def ancestors_cleaning(text: str) -> str:
    """What the ancestor's first notebook does to a tweet, said anew.

    Each word after an `@`, in order, is looked for in the whole text with its `@`, and gets `user ` instead of that;
    then all but ASCII letters, digits, full stops and spaces goes.
    """
    for name in re.findall(r"@(\w+)", text):
        text = text.replace(f"@{name}", f"user {name}")
    return "".join(character for character in text if character in ANCESTORS_CHARACTERS)


def test_ten_thousand_real_tweets_are_cleaned_as_the_ancestor_would() -> None:
    tweets = sample_tweets(10_000, seed=0)["text"]
    cleaned = normalise_text(tweets, ["user_names", "basic_characters"])
    assert cleaned.to_list() == [ancestors_cleaning(tweet) for tweet in tweets]
    # They put both steps to the test.
    assert tweets.str.contains(r"@\w").sum() > 5_000
    assert tweets.str.contains(r"[^a-zA-Z0-9. ]").sum() > 9_000


def test_what_follows_an_at_sign_is_a_word_where_it_was_one_to_the_ancestor() -> None:
    assigned = [
        character for character in map(chr, range(0x110000)) if unicodedata.category(character) not in {"Cn", "Cs"}
    ]
    texts = [f"a @{character}b" for character in assigned] + [f"@{character}" for character in assigned]
    texts += ["".join(signs) for length in range(1, 6) for signs in itertools.product("@aé._ ", repeat=length)]
    cleaned = normalise_text(pl.Series(texts), ["user_names", "basic_characters"])
    differing = [text for text, ours in zip(texts, cleaned, strict=True) if ours != ancestors_cleaning(text)]
    assert differing == []


def test_an_unknown_step_is_an_error_that_names_it_the_key_and_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"(?s)data\.cleaning_steps.*'stem'.*unicode_nfc, collapse_whitespace"):
        normalise_text(pl.Series(["a"]), ["lowercase", "stem"])


def test_normalising_keeps_length_order_name_and_null() -> None:
    texts = pl.Series("incoming", [" b ", None, "a", " b  b"])
    cleaned = normalise_text(texts, PLAIN.cleaning_steps)
    assert cleaned.name == "incoming"
    assert cleaned.to_list() == ["b", None, "a", "b b"]
    assert normalise_text(texts.clear(), PLAIN.cleaning_steps).to_list() == []
    assert normalise_text(texts, []).to_list() == texts.to_list()


def test_what_one_step_leaves_is_given_to_the_earlier_steps_again() -> None:
    assert normalised("ww(w.example.org", "replace_urls", "basic_characters") == "http"


@settings(deadline=None)
@given(st.lists(DIRT | DIRTY_WORDS, min_size=1), st.permutations(sorted(CLEANING_STEPS)), st.integers(0, 11))
def test_normalising_twice_is_normalising_once(texts: list[str], steps: list[str], num_steps: int) -> None:
    once = normalise_text(pl.Series(texts, dtype=pl.String), steps[:num_steps])
    assert normalise_text(once, steps[:num_steps]).to_list() == once.to_list()


@settings(deadline=None)
@given(DIRT)
def test_by_default_the_words_stay_as_they_are(text: str) -> None:
    words = normalised(text, *PLAIN.cleaning_steps).split(" ")
    # Python's idea of whitespace has a few control characters more than Unicode's.
    expected = unicodedata.normalize("NFC", text).translate(dict.fromkeys(range(0x1C, 0x20), "#"))
    assert [word.translate(dict.fromkeys(range(0x1C, 0x20), "#")) for word in words if word] == expected.split()


def test_a_text_hash_is_the_first_half_of_the_sha_256_of_the_text() -> None:
    assert hash_texts(pl.Series(["é"])).to_list() == [hashlib.sha256("é".encode()).hexdigest()[:32]]
    assert hash_texts(pl.Series([], dtype=pl.String)).dtype == pl.String


# Examples and rejected rows


def test_examples_have_cleaned_text_its_hash_the_mapped_label_and_their_provenance() -> None:
    cleaned = clean(raw((" so  good", " 4 "), ("bad", "0")), DataConfig(label_mapping=SENTIMENT))
    assert cleaned.examples.schema == EXAMPLE_SCHEMA
    assert cleaned.examples.rows() == [
        (hashlib.sha256(b"so good").hexdigest()[:32], "so good", "positive", "data/raw/a.csv", 2),
        (hashlib.sha256(b"bad").hexdigest()[:32], "bad", "negative", "data/raw/a.csv", 3),
    ]
    assert cleaned.rejected.schema == REJECTED_SCHEMA
    assert cleaned.rejected.is_empty()


def test_every_rejected_row_is_kept_as_read_with_its_reason() -> None:
    rows = raw(
        ("a", "x"), (None, "x"), ("", "y"), ("b", None), ("c", "  "), (" \n", "x"), ("a ", "x"), ("d", "y"), ("d", "x")
    )
    cleaned = clean(raw(*rows.select("text", "label").rows(), ("e", "y")), PLAIN)
    assert cleaned.examples["text"].to_list() == ["a", "e"]
    assert reasons(cleaned.rejected) == [
        (3, "missing_text"),
        (4, "missing_text"),
        (5, "missing_label"),
        (6, "missing_label"),
        (7, "empty_after_cleaning"),
        (8, "duplicate"),
        (9, "conflicting_label"),
        (10, "conflicting_label"),
    ]
    assert cleaned.rejected["text"].to_list() == [None, "", "b", "c", " \n", "a ", "d", "d"]
    assert cleaned.rejected["label"].to_list() == ["x", "y", None, "  ", "x", "x", "y", "x"]


def test_a_text_that_the_steps_remove_is_empty_after_cleaning_even_if_spaces_stay() -> None:
    config = DataConfig(cleaning_steps=("basic_characters",))
    cleaned = clean(raw(("a", "x"), ("b", "y"), ("! ?", "x"), ("日本", "y")), config)
    assert reasons(cleaned.rejected) == [(4, "empty_after_cleaning"), (5, "empty_after_cleaning")]


def test_texts_outside_the_limits_of_length_are_rejected_as_read_and_never_cut() -> None:
    config = DataConfig(cleaning_steps=("html_entities", "collapse_whitespace"), min_characters=2, max_characters=4)
    rows = raw(
        ("ab", "x"), ("  a ", "x"), ("abcd", "y"), ("abcde", "y"), ("&amp;&amp;&amp;", "x"), ("a", "y"), ("", "x")
    )
    cleaned = clean(rows, config)
    assert cleaned.examples["text"].to_list() == ["ab", "abcd", "&&&"]
    assert reasons(cleaned.rejected) == [(3, "too_short"), (5, "too_long"), (7, "too_short"), (8, "missing_text")]
    assert cleaned.rejected["text"].to_list() == ["  a ", "abcde", "a", ""]


def test_of_equal_rows_the_first_by_batch_and_row_is_kept() -> None:
    places = [("b", 1), ("a", 10), ("a", 9)]
    rows = [("same", "x", batch, row) for batch, row in places]
    frame = pl.DataFrame([*rows, ("other", "y", "c", 1)], schema=RAW_SCHEMA, orient="row")
    cleaned = clean(frame, PLAIN)
    assert cleaned.examples.select("batch", "row").rows() == [("a", 9), ("c", 1)]
    assert cleaned.rejected.select("batch", "row", "reason").rows() == [("a", 10, "duplicate"), ("b", 1, "duplicate")]


def test_all_rows_of_a_text_with_several_labels_are_rejected_and_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cleaned = clean(raw(("so", "x"), ("so ", "y"), ("so", "x"), ("a", "x"), ("b", "y")), PLAIN)
    assert reasons(cleaned.rejected) == [(row, "conflicting_label") for row in (2, 3, 4)]
    assert "rejected 3 rows" in caplog.text
    assert "data/raw/a.csv, row 2: 'x'; data/raw/a.csv, row 3: 'y'" in caplog.text


CONFLICTS = raw(
    ("so", "x"), ("so ", "y"), ("so", "x"), ("tie", "x"), ("tie", "y"), ("a", "x"), ("b", "y"), ("tie", None)
)


@pytest.mark.parametrize(
    ("policy", "kept", "rejected"),
    [
        ("drop", [7, 8], {"conflicting_label": [2, 3, 4, 5, 6], "missing_label": [9]}),
        ("majority", [2, 7, 8], {"conflicting_label": [3, 5, 6], "duplicate": [4], "missing_label": [9]}),
        ("keep", [2, 3, 5, 6, 7, 8], {"duplicate": [4], "missing_label": [9]}),
    ],
)
def test_what_becomes_of_a_text_with_several_labels_is_configured(
    policy: Literal["drop", "majority", "keep"], kept: list[int], rejected: dict[str, list[int]]
) -> None:
    cleaned = clean(CONFLICTS, DataConfig(conflicting_labels=policy))
    assert cleaned.examples["row"].to_list() == kept
    found = cleaned.rejected.group_by("reason").agg(pl.col("row").sort())
    assert dict(found.iter_rows()) == rejected


def test_texts_that_are_kept_with_several_labels_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    clean(CONFLICTS, DataConfig(conflicting_labels="keep"))
    assert "kept 4 rows although the same text has different labels, of 2 texts" in caplog.text


def test_a_row_without_a_label_neither_conflicts_with_a_labelled_one_nor_takes_its_place() -> None:
    cleaned = clean(raw(("so", None), ("so", "x"), ("so", "x"), ("b", "y")), PLAIN)
    assert cleaned.examples["row"].to_list() == [3, 5]
    assert reasons(cleaned.rejected) == [(2, "missing_label"), (4, "duplicate")]


def test_labels_that_mean_the_same_do_not_conflict(caplog: pytest.LogCaptureFixture) -> None:
    config = DataConfig(label_mapping={"pos": "positive", "4": "positive", "0": "negative"})
    cleaned = clean(raw(("so", "pos"), ("so", "4"), ("no", "0")), config)
    assert reasons(cleaned.rejected) == [(3, "duplicate")]
    assert caplog.text == ""


ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", " ", "a", "a ", "b", "c d", "c  d", "é", "e\u0301", "!"]) | DIRT,
        st.none() | st.sampled_from(["", "x", "x ", "y", "z"]),
    ),
    max_size=12,
)


POLICIES = st.sampled_from(["drop", "majority", "keep"])


@settings(deadline=None)
@given(ROWS, POLICIES)
def test_the_most_frequent_label_of_a_text_is_kept_every_label_or_none(
    rows: list[tuple[str | None, str | None]], policy: Literal["drop", "majority", "keep"]
) -> None:
    frame = raw(*rows, ("surely", "x"), ("certainly", "y"))
    examples = clean(frame, DataConfig(conflicting_labels=policy)).examples
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in frame.select("text", "label").iter_rows():
        if text and label and normalised(text, *PLAIN.cleaning_steps):
            votes[normalised(text, *PLAIN.cleaning_steps)][label.strip()] += 1
    expected = set()
    for text, counts in votes.items():
        most = [label for label, count in counts.items() if count == max(counts.values())]
        chosen = {
            "drop": counts if len(counts) == 1 else (),
            "majority": most if len(most) == 1 else (),
            "keep": counts,
        }
        expected |= {(text, label) for label in chosen[policy]}
    assert sorted(examples.select("text", "label").rows()) == sorted(expected)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.booleans(), POLICIES)
def test_every_row_is_either_an_example_or_rejected_and_their_order_does_not_matter(
    rows: list[tuple[str | None, str | None]],
    random: Random,
    has_equal_places: bool,
    policy: Literal["drop", "majority", "keep"],
) -> None:
    config = DataConfig(conflicting_labels=policy, min_characters=2, max_characters=9)
    frame = raw(*rows, ("surely", "x"), ("certain", "y"))
    if has_equal_places:
        frame = frame.with_columns(row=pl.lit(1, pl.Int64))
    cleaned = clean(frame, config)
    assert cleaned.examples.height + cleaned.rejected.height == frame.height
    both = pl.concat([cleaned.examples.select("batch", "row"), cleaned.rejected.select("batch", "row")])
    assert sorted(both.rows()) == sorted(frame.select("batch", "row").rows())
    assert cleaned.examples.select("text_hash", "label").is_unique().all()
    assert policy == "keep" or cleaned.examples["text_hash"].is_unique().all()
    order = list(range(frame.height))
    random.shuffle(order)
    shuffled = clean(frame[order], config)
    assert shuffled.examples.equals(cleaned.examples)
    assert shuffled.rejected.equals(cleaned.rejected)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.permutations(sorted(CLEANING_STEPS)), POLICIES)
def test_cleaning_what_has_been_cleaned_changes_nothing(
    rows: list[tuple[str | None, str | None]], steps: list[str], policy: Literal["drop", "majority", "keep"]
) -> None:
    config = DataConfig(cleaning_steps=tuple(steps), conflicting_labels=policy)
    once = clean(raw(*rows, ("surely", "x"), ("certainly", "y")), config)
    twice = clean(once.examples.select(RAW_SCHEMA.names()), config)
    assert twice.examples.equals(once.examples)
    assert twice.rejected.is_empty()


# Labels


def test_an_unknown_label_is_an_error_with_batch_row_value_count_and_what_is_allowed() -> None:
    rows = raw(("a", "negative"), ("b", "postive"), *[(f"c{index}", "?") for index in range(9)])
    with pytest.raises(UnknownLabelError) as caught:
        clean(rows, DataConfig(labels=("negative", "positive")))
    assert caught.value.what.startswith("10 row(s) have an unknown label: data/raw/a.csv, row 3: 'postive'; ")
    assert "and 5 more; allowed: ['negative', 'positive']" in caught.value.what


def test_a_label_that_is_not_mapped_is_unknown_even_if_its_row_would_be_rejected() -> None:
    with pytest.raises(UnknownLabelError, match=r"row 4: '2'; allowed: \['negative', 'positive'\]"):
        clean(raw(("a", "0"), ("b", "4"), ("", "2")), DataConfig(label_mapping=SENTIMENT))


def test_labels_that_came_back_under_their_own_names_stay_beside_a_mapping() -> None:
    cleaned = clean(raw(("a", "0"), ("b", "positive")), DataConfig(label_mapping=SENTIMENT))
    assert cleaned.examples["label"].to_list() == ["negative", "positive"]


def test_a_mapping_may_swap_labels() -> None:
    cleaned = clean(raw(("a", "x"), ("b", "y")), DataConfig(label_mapping={"x": "y", "y": "x"}))
    assert cleaned.examples["label"].to_list() == ["y", "x"]


def test_the_order_of_labels_is_the_configured_one_and_otherwise_sorted() -> None:
    examples = clean(raw(("a", "y"), ("b", "x")), PLAIN).examples
    assert labels_of(examples, PLAIN) == ("x", "y")
    assert labels_of(examples, DataConfig(labels=("y", "x"))) == ("y", "x")


def test_nothing_left_is_an_error_that_counts_the_reasons() -> None:
    with pytest.raises(NoExamplesError, match=r"(?s)of 3: 2 missing_label, 1 missing_text.*add labelled text"):
        clean(raw(("a", None), ("b", ""), (None, "x")), PLAIN)
    with pytest.raises(NoExamplesError):
        clean(raw(), PLAIN)


@pytest.mark.parametrize("labels", [(), ("x", "y")])
def test_a_single_class_is_an_error_that_names_it(labels: tuple[str, ...]) -> None:
    with pytest.raises(SingleClassError, match="all 2 examples have the label 'x'"):
        clean(raw(("a", "x"), ("b", "x"), ("", "y")), DataConfig(labels=labels))


def test_a_configured_label_without_examples_is_an_error_that_names_it() -> None:
    with pytest.raises(TooFewExamplesError, match=r"label\(s\) \['z'\].*found: \['x', 'y'\]"):
        clean(raw(("a", "x"), ("b", "y"), ("", "z")), DataConfig(labels=("x", "y", "z")))


def test_every_order_of_two_steps_settles_on_every_character() -> None:
    characters = pl.Series([chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    for steps in itertools.permutations(("unicode_nfc", "lowercase"), 2):
        once = normalise_text(characters, steps)
        assert normalise_text(once, steps).equals(once)


def test_the_identity_of_a_text_is_the_first_half_of_its_sha_256_as_it_was_when_it_was_committed() -> None:
    texts = ["", "a", "caf\u00e9", "\U0001f600 \u65e5\u672c", "x" * 1000]
    expected = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    assert hash_texts(pl.Series("any", texts)).to_list() == expected
    assert hash_texts(pl.Series(texts)).name == "text_hash"
    assert hash_texts(pl.Series([], dtype=pl.String)).to_list() == []
    assert hash_texts(pl.Series(texts * 2_000)).to_list() == expected * 2_000


@given(st.lists(st.text(st.sampled_from(" \n\t\x0b\x85\u00a0\u3000ab"), max_size=12), min_size=1))
def test_any_run_of_whitespace_becomes_one_space(texts: list[str]) -> None:
    # Python's own whitespace has four control characters more.
    assert normalise_text(pl.Series(texts), ["collapse_whitespace"]).to_list() == [" ".join(t.split()) for t in texts]
