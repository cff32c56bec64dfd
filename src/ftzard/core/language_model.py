"""A causal language model with a LoRA adapter on it for the length of a step, to write answers with."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftzard.core.lora_methods import check_lora, peft_config, with_adapter
from ftzard.core.peft_adapter import AdaptedModel
from ftzard.errors import ConfigError

if TYPE_CHECKING:
    from ftzard.config import LoraConfig
    from ftzard.core.base_model import BaseModel


@contextmanager
def lora_language_model(base: "BaseModel", lora: "LoraConfig") -> Iterator[AdaptedModel]:
    """Put a fresh adapter on a base model; afterwards the base is as it was.

    LoRA's first matrices are drawn from torch's global generator, which the caller has seeded.

    Raises:
        ConfigError: What `training.lora` names does not exist in this model, or is its output layer.
    """
    check_lora(base.model, lora)
    output = base.model.get_output_embeddings()
    heads = [name for name, module in base.model.named_modules() if module is output]
    if any(f".{head}".endswith(f".{target}") for head in heads for target in lora.target_modules):
        raise ConfigError(
            f"training.lora.target_modules is {list(lora.target_modules)}, and {heads[0]} is the output layer, on "
            "which TRL trains no adapter",
            fix="leave it out",
        )
    with unchanged(base):
        peft_model = with_adapter(base.model, peft_config(base.model, lora, "CAUSAL_LM"))
        try:
            yield AdaptedModel(peft_model, base.device)
        finally:
            peft_model.base_model.unload()


@contextmanager
def unchanged(base: "BaseModel") -> Iterator[None]:
    """Take back what TRL and PEFT change about a base model beside its layers.

    TRL puts another forward pass over the model's own, switches dropout off for good, and writes its padding token into
    both configurations and the tokenizer.
    """
    from torch.nn import Dropout

    model, tokenizer = base.model, base.tokenizer
    attributes, pad_token = set(vars(model)), tokenizer.pad_token
    configs = [(config, copy.deepcopy(vars(config))) for config in (model.config, model.generation_config)]
    dropouts = [(module, module.p) for module in model.modules() if isinstance(module, Dropout)]
    try:
        yield
    finally:
        for name in set(vars(model)) - attributes:
            delattr(model, name)
        for config, fields in configs:
            _restore(config, fields)
        for module, probability in dropouts:
            module.p = probability
        tokenizer.pad_token = pad_token
        model.eval().requires_grad_(requires_grad=False)


def _restore(config: Any, fields: dict[str, Any]) -> None:
    """In place, because the decoder holds the same object."""
    vars(config).clear()
    vars(config).update(fields)
