"""What a base model says of itself: its configuration and its tokenizer, read without its weights."""

import copy
from functools import lru_cache
from typing import Any

from ftzard.core.base_source import BaseModelSource
from ftzard.core.tiny_model import build_tiny_tokenizer, tiny_config


def read_config(source: BaseModelSource) -> Any:
    """The configuration, as transformers has it; a copy, because loading writes in it."""
    if source.location is None:
        return tiny_config(build_tiny_tokenizer())
    return copy.deepcopy(_config(source.location, source.gguf_file, source.identity.revision))


def read_tokenizer(source: BaseModelSource) -> Any:
    """The tokenizer."""
    if source.location is None:
        return build_tiny_tokenizer()
    return _tokenizer(source.location, source.gguf_file, source.identity.revision)


def where(gguf_file: str | None, revision: str | None) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained`, besides the location itself; no code that comes with a model is run."""
    is_on_hub = revision is not None
    arguments: dict[str, Any] = {"local_files_only": not is_on_hub, "trust_remote_code": False}
    return arguments | ({"revision": revision} if is_on_hub else {}) | ({"gguf_file": gguf_file} if gguf_file else {})


# Remembered, because reading the metadata of a .gguf file takes seconds each time.
@lru_cache(maxsize=1)
def _config(location: str, gguf_file: str | None, revision: str | None) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(location, **where(gguf_file, revision))


@lru_cache(maxsize=1)
def _tokenizer(location: str, gguf_file: str | None, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    arguments = where(gguf_file, revision)
    return AutoTokenizer.from_pretrained(
        location, **arguments, config=copy.deepcopy(_config(location, gguf_file, revision))
    )
