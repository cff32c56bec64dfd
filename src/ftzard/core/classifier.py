"""A causal language model as a classifier, with a LoRA adapter on it for the length of a step.

The classifier is what transformers calls `AutoModelForSequenceClassification`, so that an adapter loads there with two
lines of anyone's code. Here its decoder is the base model's own, not a second copy, and how sequences are put to it is
ours (`ftzard.core.decoder_states`).
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftzard.core.decoder_states import last_hidden_states
from ftzard.core.label_head import LabelHead
from ftzard.core.lora_linear import fused_lora
from ftzard.core.lora_methods import (
    HEAD,
    check_lora,
    original_modules,
    peft_config,
    put_back,
    start_from_base,
    with_adapter,
)
from ftzard.core.peft_adapter import AdaptedModel
from ftzard.core.prompts import Tokens
from ftzard.errors import NotACausalLanguageModelError

if TYPE_CHECKING:
    import torch

    from ftzard.config import LoraConfig
    from ftzard.core.base_model import BaseModel
    from ftzard.core.frozen_prefix import FrozenPrefix

# Set on a model by bitsandbytes' loaders and looked for by PEFT, which would else not see that layers are quantized.
_QUANTIZATION_MARKS = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method", "hf_quantizer")


@dataclass(frozen=True, eq=False)
class Classifier(AdaptedModel):
    """A base model with an adapter and a head.

    Attributes:
        peft_model: `peft.PeftModelForSequenceClassification` around the decoder and the head.
        device: Where they are.
        decoder: The base model's decoder, LoRA layers in it.
        score: The trained head, (n, hidden) -> (n, k), in float32.
        num_labels: k.
        prefix: What the first layers make of texts that are known; None where every layer is computed.
    """

    decoder: Any
    score: Any
    num_labels: int
    prefix: "FrozenPrefix | None" = None

    def logits(self, sequences: Sequence[Tokens]) -> "torch.Tensor":
        """Score n sequences of token ids: shape (n, k), float32."""
        logits: torch.Tensor = self.score(self.hidden_states(sequences))
        return logits

    def hidden_states(self, sequences: Sequence[Tokens]) -> "torch.Tensor":
        """What the head sees of n sequences of token ids: shape (n, hidden), float32."""
        return last_hidden_states(self.decoder, sequences, self.prefix)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.decoder.config.get_text_config().hidden_size)

    @property
    def compute_dtype(self) -> str:
        """Type of the hidden states, such as `bfloat16`."""
        return str(self.decoder.get_input_embeddings().weight.dtype).removeprefix("torch.")


@contextmanager
def lora_classifier(base: "BaseModel", head: LabelHead, lora: "LoraConfig") -> Iterator[Classifier]:
    """Put a fresh adapter on a base model; afterwards the base is as it was.

    LoRA's first matrices are drawn from torch's global generator, which the caller has seeded.

    Raises:
        ConfigError: As `check_lora`.
        NotACausalLanguageModelError: transformers has no sequence classifier for this architecture.
    """
    shell = _sequence_classifier(base, head)
    check_lora(shell, lora)
    adapted = peft_config(shell, lora, "SEQ_CLS", modules_to_save=(HEAD,))
    peft_model = with_adapter(shell, adapted, autocast_adapter_dtype=False)
    originals = original_modules(peft_model)
    try:
        _match_compute_dtype(base, peft_model)
        # Afterwards, because a hook on a parameter knows its type.
        start_from_base(peft_model, lora)
        with fused_lora(peft_model):
            yield Classifier(
                peft_model,
                base.device,
                decoder=getattr(shell, shell.base_model_prefix),
                score=getattr(shell, HEAD),
                num_labels=len(head.weight),
            )
    finally:
        peft_model.base_model.unload()
        put_back(shell, originals)
        base.model.eval().requires_grad_(requires_grad=False)


def _sequence_classifier(base: "BaseModel", head: LabelHead) -> Any:
    """The classifier's shell, made without weights, around the base model's decoder and a new head."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(base.model.config)
    config.num_labels = len(head.weight)
    if hasattr(config, "quantization_config"):
        # The decoder is quantized already; the shell has nothing to quantize.
        del config.quantization_config
    try:
        with torch.device("meta"):
            shell = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise _no_classifier(base) from error
    decoder = base.model.base_model
    if type(getattr(shell, shell.base_model_prefix)) is not type(decoder) or not hasattr(shell, HEAD):
        raise _no_classifier(base)
    setattr(shell, shell.base_model_prefix, decoder)
    setattr(shell, HEAD, _linear(head, base.device))
    for mark in _QUANTIZATION_MARKS:
        if hasattr(base.model, mark):
            setattr(shell, mark, getattr(base.model, mark))
    return shell.eval()


def _linear(head: LabelHead, device: str) -> "torch.nn.Linear":
    import torch

    num_labels, hidden_size = head.weight.shape
    # On the meta device nothing is drawn from the random generator for weights that are replaced at once.
    linear = torch.nn.Linear(hidden_size, num_labels, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(head.weight.to(device, torch.float32, copy=True))
    return linear


def _match_compute_dtype(base: "BaseModel", peft_model: Any) -> None:
    """Compute LoRA in the type of the hidden states: on quantized layers PEFT leaves it in float32, with casts."""
    hidden_dtype = base.model.get_input_embeddings().weight.dtype
    for name, parameter in peft_model.named_parameters():
        if parameter.requires_grad and f".{HEAD}." not in name:
            parameter.data = parameter.data.to(hidden_dtype)


def _no_classifier(base: "BaseModel") -> NotACausalLanguageModelError:
    return NotACausalLanguageModelError(
        f"{base.identity.name!r} is a {type(base.model).__name__}, "
        "for which transformers has no sequence classifier with a `score` head",
        fix="choose an architecture that has one, such as Llama, Qwen, Mistral, Gemma, Falcon or GPT-2",
    )
