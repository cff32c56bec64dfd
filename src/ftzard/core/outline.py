"""A training's tensors counted without computing: the real model on torch's meta device.

There a tensor has a shape and a type and no memory. The forward pass of training runs on it as it is, and what it keeps
for the backward pass is added up: whatever architecture, LoRA targets, attention or packing there is, nothing about it
is assumed here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ftzard.core.base_model import BaseModel
from ftzard.core.base_source import BaseModelSource
from ftzard.core.classifier import lora_classifier
from ftzard.core.frozen_prefix import num_frozen_layers
from ftzard.core.label_head import LabelHead
from ftzard.core.language_model import lora_language_model
from ftzard.core.lora_methods import linear_classes
from ftzard.core.peft_adapter import AdaptedModel
from ftzard.core.precision import Precision, Quantization
from ftzard.core.prompts import Tokens

if TYPE_CHECKING:
    import torch

    from ftzard.config import FtzardConfig
    from ftzard.core.devices import Device

# Bytes a weight of a quantized layer: nf4 and fp4 with doubly quantized scales (Dettmers et al. 2023: 0.127 bits a
# weight for them), and int8 with a float32 scale for each row.
_QUANTIZED_BYTES = {"nf4": (4 + 0.127) / 8, "fp4": (4 + 0.127) / 8, "int8": 1.01}


@dataclass(frozen=True)
class Outline:
    """Sizes of a model with an adapter and of one micro-batch.

    Attributes:
        num_parameters: Base model, adapter and head; tied weights once.
        num_computed: Of the decoder's linear layers that each token goes through: N in 4 N operations a token.
        num_frozen: Of these, in the layers below the lowest that is trained.
        num_trainable: LoRA matrices and head.
        weight_bytes: Of the base model, as it is kept.
        adapter_bytes: Of LoRA matrices and head, as they are computed with.
        largest_weight: Numbers in the largest weight.
        activation_bytes: What the micro-batch's forward pass keeps.
        linear_shapes: Shape (out, in) of the decoder's linear layers.
        output_shape: Shape (vocabulary, hidden) of the layer that answers are written by; None of a classifier.
    """

    num_parameters: int
    num_computed: int
    num_frozen: int
    num_trainable: int
    weight_bytes: int
    adapter_bytes: int
    largest_weight: int
    activation_bytes: int
    linear_shapes: tuple[tuple[int, int], ...]
    output_shape: tuple[int, int] | None = None

    @property
    def num_output(self) -> int:
        """Numbers in that layer; 0 where there is none."""
        return self.output_shape[0] * self.output_shape[1] if self.output_shape else 0


def outline(
    source: BaseModelSource,
    model_config: Any,
    config: "FtzardConfig",
    kind: tuple["Device", "torch.dtype"],
    *,
    num_labels: int,
    sequences: Sequence[Tokens],
) -> Outline:
    """Count.

    Args:
        source: The base model.
        model_config: Its configuration, as transformers has it.
        config: Its sections `model`, the quantization being chosen, and `training`.
        kind: Where is computed, and in which floating-point type.
        num_labels: Outputs of the head.
        sequences: The micro-batch.

    Raises:
        FtzardError: As `lora_classifier`.
    """
    import torch

    base = _on_meta(source, model_config, config, kind[1])
    head = LabelHead(torch.zeros(num_labels, model_config.get_text_config().hidden_size), "random", None)
    sizes = _BaseSizes.of(base, config, kind[1])
    with lora_classifier(base, head, config.training.lora) as classifier:
        return sizes.with_adapter(classifier, classifier.decoder, lambda: classifier.logits(sequences), kind[0])


def outline_answers(
    source: BaseModelSource,
    model_config: Any,
    tokenizer: Any,
    config: "FtzardConfig",
    kind: tuple["Device", "torch.dtype"],
    *,
    shape: tuple[int, int],
) -> Outline:
    """Count what TRL's trainers train.

    Args:
        source: The base model.
        model_config: Its configuration, as transformers has it.
        tokenizer: Its tokenizer.
        config: Its sections `model`, the quantization being chosen, and `training`.
        kind: Where is computed, and in which floating-point type.
        shape: Rows and columns of a pass, padding included.

    Raises:
        FtzardError: As `lora_language_model`.
    """
    import torch

    base = replace(_on_meta(source, model_config, config, kind[1]), tokenizer=tokenizer)
    output = tuple(base.model.get_output_embeddings().weight.shape)
    sizes = _BaseSizes.of(base, config, kind[1])
    with lora_language_model(base, config.training.lora) as model:
        decoder = model.peft_model.get_base_model().base_model

        def compute() -> object:
            # The output layer keeps nothing but what it is given: TRL goes through it piece by piece.
            ids = torch.zeros(shape, dtype=torch.long, device=kind[0])
            return decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

        return replace(sizes.with_adapter(model, decoder, compute, kind[0]), output_shape=output)


@dataclass(frozen=True)
class _BaseSizes:
    """What is counted of a base model before there is anything on it; as of `Outline`."""

    num_parameters: int
    num_computed: int
    weight_bytes: int
    largest_weight: int
    linear_shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, base: BaseModel, config: "FtzardConfig", dtype: "torch.dtype") -> "_BaseSizes":
        shapes, parameters = _linear_shapes(base.model.base_model), list(base.model.parameters())
        num_computed = sum(rows * columns for rows, columns in shapes)
        num_parameters = sum(part.numel() for part in parameters)
        quantized = _QUANTIZED_BYTES.get(config.model.quantization, dtype.itemsize)
        weight_bytes = round((num_parameters - num_computed) * dtype.itemsize + num_computed * quantized)
        return cls(num_parameters, num_computed, weight_bytes, max(part.numel() for part in parameters), shapes)

    def with_adapter(
        self, model: AdaptedModel, decoder: Any, compute: "Callable[[], object]", device: "Device"
    ) -> Outline:
        """The whole, with what the model's forward pass keeps."""
        model.peft_model.to("meta")
        trainable = model.trainable_parameters()
        return Outline(
            num_parameters=self.num_parameters + sum(part.numel() for part in trainable),
            num_computed=self.num_computed,
            num_frozen=_num_frozen(decoder),
            num_trainable=sum(part.numel() for part in trainable),
            weight_bytes=self.weight_bytes,
            adapter_bytes=sum(part.nbytes for part in trainable),
            largest_weight=self.largest_weight,
            activation_bytes=_activation_bytes(model.peft_model, compute, device),
            linear_shapes=self.linear_shapes,
        )


def _on_meta(source: BaseModelSource, model_config: Any, config: "FtzardConfig", dtype: "torch.dtype") -> BaseModel:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            model_config, dtype=dtype, attn_implementation=config.model.attn_implementation, trust_remote_code=False
        )
    model.eval().requires_grad_(requires_grad=False)
    precision = Precision(cast("Quantization", config.model.quantization), "not loaded")
    return BaseModel(model, None, source.identity, cast("Device", "meta"), precision)


def _num_frozen(decoder: Any) -> int:
    num_layers = num_frozen_layers(decoder)
    return sum(
        int(module.weight.numel())
        for layer in (decoder.layers[:num_layers] if num_layers else ())
        for module in layer.modules()
        if isinstance(module, linear_classes())
    )


def _linear_shapes(decoder: Any) -> tuple[tuple[int, int], ...]:
    modules = [module for module in decoder.modules() if isinstance(module, linear_classes())]
    return tuple((int(module.weight.shape[0]), int(module.weight.shape[1])) for module in modules)


def _activation_bytes(peft_model: Any, compute: "Callable[[], object]", device: "Device") -> int:
    """Bytes that the forward pass keeps for the backward pass, weights not counted; each storage once."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # Held, so that its address is not given to another one.
        kept[storage._cdata] = storage  # noqa: SLF001 - what tells one storage from another without memory
        return tensor

    # Unlike those on the meta device itself, its tensors say that they are on a device, which decides between kernels,
    # and that they have no values, for which transformers' masks would look.
    mode = FakeTensorMode()
    _pretend(peft_model, mode, device)
    weights = {part.untyped_storage()._cdata for part in peft_model.parameters()}  # noqa: SLF001 - as above
    peft_model.train()
    with mode, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        compute()
    return sum(storage.nbytes() for address, storage in kept.items() if address not in weights)


def _pretend(model: Any, mode: Any, device: "Device") -> None:
    """Let a model on the meta device pretend to be on another one."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    for module in model.modules():
        for name, part in module._parameters.items():  # noqa: SLF001 - an attribute's setter would refuse a new device
            if part is not None:
                fake = FakeTensor(mode, part.detach(), torch.device(device))
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=part.requires_grad)  # noqa: SLF001
        for name, buffer in module._buffers.items():  # noqa: SLF001 - as above
            if buffer is not None:
                module._buffers[name] = FakeTensor(mode, buffer, torch.device(device))  # noqa: SLF001
