"""How an example becomes token ids: the prompt around the text, and the words that stand for the labels.

The prompt's end is where the label would come, so it is always there in full; a text that is too long loses its end.
What a text says is never read as a special token: a tweet that contains `<|im_end|>` ends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ftzard.errors import ConfigError

if TYPE_CHECKING:
    from ftzard.config import ModelConfig

Tokens = npt.NDArray[np.int32]

_TEXT = "{text}"
_LABELS = "{labels}"
# Bounds the memory of the tokenizer's answer, which is several times that of the ids.
_TEXTS_PER_CALL = 1024


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt, cut at the place of the text.

    Attributes:
        prefix: What stands before the text, label words filled in.
        suffix: What stands after it, up to the place of the label.
        max_length: Tokens of prompt and text together, at most.
    """

    prefix: str
    suffix: str
    max_length: int

    @classmethod
    def from_parts(cls, template: str, label_words: Sequence[str], max_length: int) -> "PromptTemplate":
        """Cut `template` at `{text}` and put the label words at `{labels}`.

        Cutting comes first: a label word is text too and may look like a placeholder.
        """
        prefix, _, suffix = template.partition(_TEXT)
        words = join_label_words(label_words)
        return cls(prefix.replace(_LABELS, words), suffix.replace(_LABELS, words), max_length)


@dataclass(frozen=True)
class EncodedPrompts:
    """The prompts of some texts, in their order.

    Attributes:
        input_ids: One array of token ids for each text, shape (length,), 1 <= length <= `max_length`.
        num_truncated: How many texts lost their end.
    """

    input_ids: list[Tokens]
    num_truncated: int

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each prompt, shape (n,)."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    def at(self, positions: npt.NDArray[np.int64]) -> "EncodedPrompts":
        """Some of the prompts, in the order of `positions`."""
        return EncodedPrompts([self.input_ids[position] for position in positions], self.num_truncated)


def label_words(labels: Sequence[str], config: "ModelConfig") -> tuple[str, ...]:
    """The word for each label, in their order: the configured one, else the label itself."""
    return tuple(config.label_words.get(label, label) for label in labels)


def join_label_words(words: Sequence[str]) -> str:
    """The words as they are listed in a sentence: `a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def label_word_tokens(words: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Token ids of each word as it would follow the prompt, that is, with a leading space."""
    return [list(_encode(tokenizer, [f" {word.strip()}"], split_special_tokens=True)[0]) for word in words]


def unusable_words(labels: Sequence[str], words: Sequence[str], tokenizer: Any) -> dict[str, str]:
    """The labels whose word says nothing to the language model, with the reason; empty where all can be used.

    A word can be used if it has a letter, consists of known tokens, and its tokens are those of no other label.
    """
    all_ids = [tuple(ids) for ids in label_word_tokens(words, tokenizer)]
    reasons: dict[str, str] = {}
    for label, word, ids in zip(labels, words, all_ids, strict=True):
        if not any(character.isalpha() for character in word):
            reasons[label] = f"{word!r} has no letter"
        elif not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
            reasons[label] = f"{word!r} is unknown to the tokenizer"
        elif all_ids.count(ids) > 1:
            reasons[label] = f"{word!r} has the same tokens as another label's word"
    return reasons


def encode_prompts(texts: Sequence[str], template: PromptTemplate, tokenizer: Any) -> EncodedPrompts:
    """Token ids of the prompt around each text.

    Prefix and text are tokenised together, as running text; the suffix on its own, so that cutting the text cannot
    change it. A beginning-of-sequence token is put first if the tokenizer has the habit; an end never.

    Raises:
        ConfigError: The prompt alone, with one token of text, is longer than `max_length`.
    """
    control, opening = _after_last_special(template.prefix, tokenizer)
    start = [*_beginning(tokenizer), *_encode(tokenizer, [control])[0]]
    end = list(_encode(tokenizer, [template.suffix])[0])
    # The first text token may merge with the prefix's last, so the prefix counts with one token on top.
    num_opening = len(_encode(tokenizer, [opening], split_special_tokens=True)[0])
    if len(start) + num_opening + 1 + len(end) > template.max_length:
        raise ConfigError(
            f"model.max_length is {template.max_length}, and model.prompt_template takes "
            f"{len(start) + num_opening + len(end)} tokens by itself, which leaves no room for a text",
            fix="raise model.max_length or shorten model.prompt_template",
        )
    room = template.max_length - len(start) - len(end)
    input_ids: list[Tokens] = []
    num_truncated = 0
    for first in range(0, len(texts), _TEXTS_PER_CALL):
        openings = [opening + text for text in texts[first : first + _TEXTS_PER_CALL]]
        middles = _encode_plain(tokenizer, openings)
        num_truncated += sum(len(middle) > room for middle in middles)
        input_ids += _as_arrays([[*start, *middle[:room], *end] for middle in middles])
    return EncodedPrompts(input_ids, num_truncated)


def _as_arrays(sequences: Sequence[Sequence[int]]) -> list[Tokens]:
    """The sequences as parts of one array: to make one of each takes as long as to tokenise."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    ends = lengths.cumsum()
    ids = np.fromiter(chain.from_iterable(sequences), dtype=np.int32, count=int(ends[-1]))
    return np.split(ids, ends[:-1])


def _encode(tokenizer: Any, texts: list[str], *, split_special_tokens: bool = False) -> list[list[int]]:
    """Ids without anything added; `split_special_tokens` reads the spelling of a special token as plain text."""
    encoded = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=split_special_tokens, verbose=False
    ).input_ids
    return [list(map(int, ids)) for ids in encoded]


def _encode_plain(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Ids of texts in which nothing is special, without offsets and masks, which cost a fast tokenizer much."""
    if not getattr(tokenizer, "is_fast", False):
        return _encode(tokenizer, texts, split_special_tokens=True)
    # A call leaves the tokenizer behind transformers' in the state that such calls need.
    _encode(tokenizer, texts[:1], split_special_tokens=True)
    found = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in found]


def _beginning(tokenizer: Any) -> list[int]:
    bos = tokenizer.bos_token_id
    if bos is None:
        return []
    with_special = tokenizer("a", verbose=False).input_ids
    return [bos] if with_special[:1] == [bos] else []


def _after_last_special(prefix: str, tokenizer: Any) -> tuple[str, str]:
    """Cut a prefix after its last special token: a template may hold `<|im_start|>`, a text never means it."""
    ends = [prefix.rfind(token) + len(token) for token in tokenizer.all_special_tokens if token and token in prefix]
    cut = max(ends, default=0)
    return prefix[:cut], prefix[cut:]
