"""How prompts and answers become token ids, the same in training and in use.

What a prompt says is never read as a special token: a message that contains `<|im_end|>` ends nothing. So the chat
template is rendered around placeholders, and what stands in their places is tokenised by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ftzard.core.answer_format import AnswerFormat
from ftzard.core.answer_predictions import answer_task
from ftzard.core.conversations import read_messages
from ftzard.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from ftzard.config import FtzardConfig

# From the private use area, where no template does anything to it and no text has a reason to be.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_ASSISTANT: Final = "assistant"
_FIX_TEMPLATE = (
    "choose a base model whose tokenizer has a chat template, or set model.generation.prompt_format=plain "
    "(for prompts and completions without messages)"
)


@dataclass(frozen=True)
class _Frame:
    """What a chat template puts around the contents of some messages.

    Attributes:
        pieces: Token ids before the first content, between any two, and after the last up to the answer's place.
        end: The token that ends an answer.
    """

    pieces: tuple[tuple[int, ...], ...]
    end: int


@dataclass(frozen=True, eq=False)
class AnswerEncoder:
    """Puts prompts and answers into tokens.

    Attributes:
        format: How.
        tokenizer: The base model's.
    """

    format: AnswerFormat
    tokenizer: Any
    _frames: dict[tuple[str, ...], _Frame] = field(default_factory=dict)

    def prompt(self, text: str) -> list[int]:
        """Token ids of a text of `EXAMPLE_SCHEMA`, up to where the answer begins; at least one.

        Raises:
            ConfigError: The tokenizer has no chat template, or one that cannot be used for these messages.
        """
        if self.format.prompt_format == "plain":
            ids = [*_beginning(self.tokenizer), *self._plain(self._filled(text))]
            return ids or [self._plain_end()]
        messages = read_messages(text) if self.format.messages else [{"role": "user", "content": self._filled(text)}]
        frame = self._frame(tuple(message["role"] for message in messages))
        ids = list(frame.pieces[0])
        for message, piece in zip(messages, frame.pieces[1:], strict=True):
            ids += [*self._plain(message["content"]), *piece]
        return ids

    def answer(self, text: str, answer: str) -> list[int]:
        """Token ids of the answer to a text, the one that ends it included."""
        return [*self._plain(answer), self._end(text)]

    def stop_tokens(self, texts: Sequence[str]) -> set[int]:
        """The tokens that end an answer to one of the texts."""
        eos = self.tokenizer.eos_token_id
        return {self._end(text) for text in texts} | ({eos} if eos is not None else set())

    def _end(self, text: str) -> int:
        if self.format.prompt_format == "plain":
            return self._plain_end()
        roles = tuple(message["role"] for message in read_messages(text)) if self.format.messages else ("user",)
        return self._frame(roles).end

    def _plain_end(self) -> int:
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ConfigError(
                "the tokenizer has no token that ends a sequence, so that no answer would ever end",
                fix="choose a base model whose tokenizer has an eos_token",
            )
        return int(end)

    def _filled(self, text: str) -> str:
        before, _, after = self.format.prompt_template.partition("{text}")
        return before + text + after

    def _plain(self, text: str) -> list[int]:
        return _encode(self.tokenizer, text, split_special_tokens=True)

    def _frame(self, roles: tuple[str, ...]) -> _Frame:
        if roles not in self._frames:
            self._frames[roles] = self._rendered(roles)
        return self._frames[roles]

    def _rendered(self, roles: tuple[str, ...]) -> _Frame:
        """Render the template around placeholders, without and with an answer, and cut it at them."""
        places = [f"{_OPEN}{number}{_CLOSE}" for number in range(len(roles) + 1)]
        asked = [{"role": role, "content": place} for role, place in zip(roles, places, strict=False)]
        prompt = self._render(asked, add_generation_prompt=True)
        whole = self._render([*asked, {"role": _ASSISTANT, "content": places[-1]}], add_generation_prompt=False)
        texts, rest = [], prompt
        for place in places[:-1]:
            before, found, rest = rest.partition(place)
            if not found:
                raise _unusable(f"leaves out or changes the content of a message of the roles {list(roles)}")
            texts.append(before)
        texts.append(rest)
        opening, found, ending = whole.partition(places[-1])
        if not found or opening != prompt:
            raise _unusable("puts other text before an answer that is there than before one that is still to come")
        pieces = tuple(tuple(_encode(self.tokenizer, text)) for text in texts)
        special = set(self.tokenizer.all_special_ids)
        ends = [token for token in _encode(self.tokenizer, ending) if token in special]
        return _Frame(pieces, ends[0] if ends else self._plain_end())

    def _render(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise ConfigError(
                "model.generation.prompt_format is 'chat', and the base model's tokenizer has no chat template",
                fix=_FIX_TEMPLATE,
            )
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            roles = [message["role"] for message in messages]
            raise _unusable(f"refuses messages of the roles {roles}: {error}") from error
        return rendered


def answer_format(config: "FtzardConfig") -> AnswerFormat:
    """How a configuration puts a prompt.

    Raises:
        ConfigError: Its task has labels and no answers.
    """
    task, generation = answer_task(config.data.task), config.model.generation
    if task is None:
        raise ConfigError(
            f"data.task is {config.data.task!r}, which writes no answers", fix="set data.task=generation or preference"
        )
    return AnswerFormat(
        task,
        messages=config.data.messages_column is not None,
        prompt_format=generation.prompt_format,
        prompt_template=generation.prompt_template,
        max_length=config.model.max_length,
        max_new_tokens=generation.max_new_tokens,
    )


def encode_prompts_of(examples: "pl.DataFrame", encoder: AnswerEncoder) -> list[list[int]]:
    """Token ids of the prompt of each example.

    Raises:
        ConfigError: The chat template cannot be used for an example; the message names its batch and row.
    """
    found = []
    for text, batch, row in examples.select("text", "batch", "row").iter_rows():
        try:
            found.append(encoder.prompt(text))
        except ConfigError as error:
            raise ConfigError(f"{batch}, row {row}: {error.what}", fix=error.fix) from error
    return found


def _encode(tokenizer: Any, text: str, *, split_special_tokens: bool = False) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=split_special_tokens, verbose=False)
    return [int(token) for token in encoded.input_ids]


def _beginning(tokenizer: Any) -> list[int]:
    """The token that begins a sequence, where the tokenizer has the habit of putting it there."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a", verbose=False).input_ids[:1] == [bos] else []


def _unusable(problem: str) -> ConfigError:
    return ConfigError(f"the tokenizer's chat template {problem}", fix=_FIX_TEMPLATE)
