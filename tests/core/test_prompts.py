"""Prompts: whole at both ends, the text between them and only text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ftzard.config import ModelConfig
from ftzard.core.prompts import PromptTemplate, encode_prompts, join_label_words, label_words, unusable_words
from ftzard.core.tiny_model import build_tiny_tokenizer
from ftzard.errors import ConfigError

_TOKENIZER = build_tiny_tokenizer()
_TEMPLATE = PromptTemplate.from_parts("Text: {text}\nLabel ({labels}):", ("bad", "good"), 64)


def _decoded(text: str, template: PromptTemplate = _TEMPLATE) -> str:
    return str(_TOKENIZER.decode(encode_prompts([text], template, _TOKENIZER).input_ids[0]))


def _with_beginning_and_end() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a token before and one after each text, as Llama's and BERT's do."""
    words = {"unknown": 0, "begin": 1, "end": 2, "a": 3, "b": 4}
    unknown, begin, end = list(words)[:3]
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, 1), (end, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unknown, bos_token=begin, eos_token=end, pad_token=end
    )


def test_the_prompt_surrounds_the_text_and_lists_the_label_words() -> None:
    assert _decoded("hi") == "Text: hi\nLabel (bad or good):"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_a_prompt_keeps_its_end_and_its_length_limit_whatever_the_text(text: str) -> None:
    encoded = encode_prompts([text], _TEMPLATE, _TOKENIZER)
    end = _TOKENIZER(_TEMPLATE.suffix).input_ids
    assert encoded.input_ids[0][-len(end) :].tolist() == end
    assert len(encoded.input_ids[0]) <= _TEMPLATE.max_length
    cut = len(_TEMPLATE.prefix) + len(text.encode()) + len(end) > _TEMPLATE.max_length
    assert encoded.num_truncated == int(cut)


def test_a_long_text_loses_its_end_and_is_counted() -> None:
    long = "x" * 50 + "y" * 50
    encoded = encode_prompts(["short", long], _TEMPLATE, _TOKENIZER)
    assert encoded.num_truncated == 1
    assert _decoded(long).startswith("Text: xxxxx")
    assert "y" not in _decoded(long).partition("\n")[0]


def test_a_special_token_inside_a_text_stays_text() -> None:
    template = PromptTemplate.from_parts("{text}\nLabel:", ("bad", "good"), 64)
    ids = encode_prompts(["so <|im_end|> it ends"], template, _TOKENIZER).input_ids[0].tolist()
    assert _TOKENIZER.eos_token_id not in ids
    assert _TOKENIZER.decode(ids) == "so <|im_end|> it ends\nLabel:"


def test_a_special_token_inside_the_template_is_one_token() -> None:
    template = PromptTemplate.from_parts("<|im_start|>user\n{text}<|im_end|>\n", ("bad", "good"), 64)
    ids = encode_prompts(["<|im_start|>"], template, _TOKENIZER).input_ids[0].tolist()
    assert ids.count(_TOKENIZER.bos_token_id) == 1
    assert ids.count(_TOKENIZER.eos_token_id) == 1
    assert ids[0] == _TOKENIZER.bos_token_id


def test_a_text_or_a_label_word_that_looks_like_a_placeholder_is_left_alone() -> None:
    assert _decoded("{labels}{text}").startswith("Text: {labels}{text}\n")
    odd = PromptTemplate.from_parts("{labels}: {text}", ("{text}", "b"), 64)
    assert odd.prefix == "{text} or b: "


@pytest.mark.parametrize("tokenizer", [_TOKENIZER, _with_beginning_and_end()])
def test_tokens_are_those_of_transformers_whatever_the_tokenizer_did_before(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["a b", "", "so <|im_end|> begin end", "a" * 300, "日本 😀 é"]
    template = PromptTemplate.from_parts("a {text} b", (), 1000)
    tokenizer(["b", "a a"], padding=True, truncation=True, max_length=2)
    plain = tokenizer([f"a {text}" for text in texts], add_special_tokens=False, split_special_tokens=True).input_ids
    tokenizer(["b", "a a"], padding=True, truncation=True, max_length=2, split_special_tokens=False)
    encoded = encode_prompts(texts, template, tokenizer).input_ids
    end = tokenizer([" b"], add_special_tokens=False).input_ids[0]
    assert [ids.tolist()[-len(all_ids) - len(end) :] for ids, all_ids in zip(encoded, plain, strict=True)] == [
        [*ids, *end] for ids in plain
    ]


def test_a_beginning_is_added_where_the_tokenizer_adds_one_and_an_end_never() -> None:
    tokenizer = _with_beginning_and_end()
    template = PromptTemplate.from_parts("{text} b", ("a", "b"), 8)
    assert encode_prompts(["a a"], template, tokenizer).input_ids[0].tolist() == [1, 3, 3, 4]


def test_a_prompt_without_room_for_a_text_is_an_error_that_names_both_keys() -> None:
    template = PromptTemplate.from_parts("a long prompt {text}", ("a", "b"), 14)
    with pytest.raises(ConfigError, match=r"model\.max_length is 14.*model\.prompt_template"):
        encode_prompts(["x"], template, _TOKENIZER)


def test_no_texts_make_no_prompts() -> None:
    assert encode_prompts([], _TEMPLATE, _TOKENIZER).lengths.tolist() == []


def test_label_words_are_listed_as_in_a_sentence() -> None:
    assert join_label_words(["a", "b"]) == "a or b"
    assert join_label_words(["a", "b", "c"]) == "a, b or c"


def test_a_label_is_its_own_word_unless_one_is_configured() -> None:
    config = ModelConfig(label_words={"0": "negative"})
    assert label_words(["0", "positive"], config) == ("negative", "positive")


def test_words_with_letters_and_different_tokens_can_be_used() -> None:
    assert unusable_words(["0", "4"], ["negative", "positive"], _TOKENIZER) == {}


def test_a_word_without_a_letter_or_with_a_double_cannot_be_used() -> None:
    reasons = unusable_words(["a", "b", "c", "d"], ["4", "same", "same", "fine"], _TOKENIZER)
    assert set(reasons) == {"a", "b", "c"}
    assert "no letter" in reasons["a"]


def test_a_word_that_the_tokenizer_does_not_know_cannot_be_used() -> None:
    assert set(unusable_words(["x", "y"], ["a", "zebra"], _with_beginning_and_end())) == {"y"}
