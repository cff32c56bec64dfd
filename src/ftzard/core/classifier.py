"""A causal language model as a classifier, with a LoRA adapter on it for the length of a step.

The classifier is what transformers calls `AutoModelForSequenceClassification`, so that an adapter loads there with two
lines of anyone's code. Here its decoder is the base model's own, not a second copy, and its forward pass is ours: right
padding, no mask, and the hidden state at a position that is known instead of looked for.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftzard.core.label_head import LabelHead
from ftzard.core.peft_adapter import ALL_LINEAR, AdaptedModel, lora_peft_config
from ftzard.errors import ConfigError, NotACausalLanguageModelError

if TYPE_CHECKING:
    import torch

    from ftzard.config import LoraConfig
    from ftzard.core.base_model import BaseModel

_HEAD = "score"
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
    """

    decoder: Any
    score: Any
    num_labels: int

    def logits(self, input_ids: "torch.Tensor", last_token: "torch.Tensor") -> "torch.Tensor":
        """Score right-padded sequences.

        In a causal model no token sees a later one, so what pads a row at its right changes nothing at `last_token`
        or before it, and no mask is needed.

        Args:
            input_ids: Shape (n, length), int64.
            last_token: Shape (n,), int64; where each row's last real token is.

        Returns:
            Shape (n, k), float32.
        """
        logits: torch.Tensor = self.score(self.hidden_states(input_ids, last_token))
        return logits

    def hidden_states(self, input_ids: "torch.Tensor", last_token: "torch.Tensor") -> "torch.Tensor":
        """What the head sees of each sequence: arguments as for `logits`, shape (n, hidden), float32."""
        return last_hidden_states(self.decoder, input_ids, last_token)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.decoder.config.get_text_config().hidden_size)

    @property
    def compute_dtype(self) -> str:
        """Type of the hidden states, such as `bfloat16`."""
        return str(self.decoder.get_input_embeddings().weight.dtype).removeprefix("torch.")


def last_hidden_states(decoder: Any, input_ids: "torch.Tensor", last_token: "torch.Tensor") -> "torch.Tensor":
    """The decoder's last hidden state at each row's last token.

    Args:
        decoder: With or without an adapter in it.
        input_ids: Shape (n, length), int64, padded at the right.
        last_token: Shape (n,), int64; where each row's last real token is.

    Returns:
        Shape (n, hidden), float32.
    """
    import torch

    hidden = decoder(input_ids=input_ids, use_cache=False).last_hidden_state
    pooled: torch.Tensor = hidden[torch.arange(len(last_token), device=hidden.device), last_token]
    return pooled.float()


@contextmanager
def lora_classifier(base: "BaseModel", head: LabelHead, lora: "LoraConfig") -> Iterator[Classifier]:
    """Put a fresh adapter on a base model; afterwards the base is as it was.

    LoRA's first matrices are drawn from torch's global generator, which the caller has seeded.

    Raises:
        ConfigError: A target module does not exist in this model.
        NotACausalLanguageModelError: transformers has no sequence classifier for this architecture.
    """
    from peft import get_peft_model

    shell = _sequence_classifier(base, head)
    check_target_modules(shell, lora)
    peft_model = get_peft_model(shell, lora_peft_config(lora, "SEQ_CLS", [_HEAD]), autocast_adapter_dtype=False)
    _match_compute_dtype(base, peft_model)
    try:
        yield Classifier(
            peft_model,
            base.device,
            decoder=getattr(shell, shell.base_model_prefix),
            score=getattr(shell, _HEAD),
            num_labels=len(head.weight),
        )
    finally:
        peft_model.base_model.unload()
        base.model.eval().requires_grad_(requires_grad=False)


def check_target_modules(model: Any, lora: "LoraConfig") -> None:
    """Check that each name in `training.lora.target_modules` is that of a linear layer, in full or at its end.

    PEFT is content with one name of several that exists and would train less than was asked for.

    Raises:
        ConfigError: A name fits none; the message lists those that there are.
    """
    if lora.target_modules == (ALL_LINEAR,):
        return
    linear = [name for name in _linear_modules(model) if name != _HEAD]
    unknown = [
        target for target in lora.target_modules if not any(f".{name}".endswith(f".{target}") for name in linear)
    ]
    if unknown:
        there_are = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f"training.lora.target_modules is {list(lora.target_modules)}, "
            f"and the model has no linear layer named {unknown}",
            fix=f"choose from {there_are}, or [{ALL_LINEAR}] for all of them",
        )


def _linear_modules(model: Any) -> list[str]:
    import torch
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]


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
    if type(getattr(shell, shell.base_model_prefix)) is not type(decoder) or not hasattr(shell, _HEAD):
        raise _no_classifier(base)
    setattr(shell, shell.base_model_prefix, decoder)
    setattr(shell, _HEAD, _linear(head, base.device))
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
        if parameter.requires_grad and f".{_HEAD}." not in name:
            parameter.data = parameter.data.to(hidden_dtype)


def _no_classifier(base: "BaseModel") -> NotACausalLanguageModelError:
    return NotACausalLanguageModelError(
        f"{base.identity.name!r} is a {type(base.model).__name__}, "
        "for which transformers has no sequence classifier with a `score` head",
        fix="choose an architecture that has one, such as Llama, Qwen, Mistral, Gemma, Falcon or GPT-2",
    )
