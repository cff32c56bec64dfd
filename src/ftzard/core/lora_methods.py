"""The kinds of LoRA: what PEFT is told, what is checked before, and starts that are made from the base model's weights.

PEFT's own PiSSA and OLoRA take their start out of the base model's weights. Here the base stays as it is: the adapter
has twice the rank, and the half that is frozen takes off what the other half starts from: W + s (B A - B0 A0), the form
that PEFT converts a trained PiSSA adapter to. What is trained, kept and written is then always an adapter for the
untouched base model, quantized or not.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftzard.config import LoraConfig
from ftzard.errors import ConfigError

if TYPE_CHECKING:
    import torch

HEAD = "score"
_ALL_LINEAR = "all-linear"
_ADAPTER = "default"
_NUM_SVD_ITERATIONS = 4


def stored_lora(lora: LoraConfig) -> LoraConfig:
    """The plain LoRA that an adapter is stored as: one that started from the base has twice the rank and alpha."""
    if not lora.starts_from_base:
        return replace(lora, init_lora_weights=True)
    return replace(
        lora,
        init_lora_weights=True,
        r=2 * lora.r,
        lora_alpha=2 * lora.lora_alpha,
        rank_pattern={name: 2 * r for name, r in lora.rank_pattern.items()},
        alpha_pattern={name: 2 * alpha for name, alpha in lora.alpha_pattern.items()},
    )


def peft_config(model: Any, lora: LoraConfig, task_type: str, modules_to_save: tuple[str, ...] = ()) -> Any:
    """What PEFT is told; the model is asked for the names of its linear layers.

    Args:
        model: Without an adapter.
        lora: What is configured.
        task_type: As PEFT calls it.
        modules_to_save: Modules that are trained and saved as a whole besides those that are configured.
    """
    import peft

    stored = stored_lora(lora)
    targets: str | list[str] = list(lora.target_modules)
    if lora.target_modules == (_ALL_LINEAR,):
        # PEFT takes no choice of layers together with its own word for all modules, nor with full names.
        output = model.get_output_embeddings() if task_type == "CAUSAL_LM" else None
        linear = [name for name in _linear_modules(model) if model.get_submodule(name) is not output]
        targets = _ends(linear) if lora.layers_to_transform else _ALL_LINEAR
    return peft.LoraConfig(
        task_type=task_type,
        r=stored.r,
        lora_alpha=stored.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=targets,
        target_parameters=list(lora.target_parameters) or None,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if lora.starts_from_base else lora.init_lora_weights,
        rank_pattern=dict(stored.rank_pattern),
        alpha_pattern=dict(stored.alpha_pattern),
        modules_to_save=[*modules_to_save, *lora.modules_to_save] or None,
        layers_to_transform=list(lora.layers_to_transform) or None,
    )


def with_adapter(model: Any, config: Any, **options: Any) -> Any:
    """Put a fresh adapter on a model.

    Args:
        model: Without an adapter.
        config: What `peft_config` made of it.
        options: Of `peft.get_peft_model`.

    Raises:
        ConfigError: PEFT refuses it for this model.
    """
    from peft import get_peft_model

    # Before PEFT has put layers of its own in their places.
    layers = _ends(_linear_modules(model))
    try:
        return get_peft_model(model, config, **options)
    except ValueError as error:
        raise ConfigError(
            f"PEFT puts no adapter as in training.lora on a {type(model).__name__}: {error}",
            fix=f"let training.lora.target_modules name other layers, of {layers}; or take out what the message names",
        ) from error


def check_lora(model: Any, lora: LoraConfig) -> None:
    """Check that everything that `training.lora` names is there.

    PEFT is content with one name of several that exists and would train less than was asked for.

    Raises:
        ConfigError: A name or a number fits nothing; the message says what there is.
    """
    linear = _linear_modules(model)
    if lora.target_modules != (_ALL_LINEAR,):
        _refuse("target_modules", [name for name in lora.target_modules if not _fits(name, linear)], linear)
    others = [name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in linear]
    unknown = [name for name in lora.target_parameters if not _fits(name, others)]
    if unknown:
        raise ConfigError(
            f"training.lora.target_parameters names {unknown}, and the model has no parameter named so outside its "
            "linear layers",
            fix=f"choose from {_ends(others)}",
        )
    adapted = [*linear, *(name for name in others if any(_fits(end, [name]) for end in lora.target_parameters))]
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = getattr(lora, key)
        _refuse(key, [pattern for pattern in patterns if not _matches(key, pattern, adapted)], adapted)
    modules = [name for name, _ in model.named_modules() if name and not name.startswith(HEAD)]
    missing = [name for name in lora.modules_to_save if not any(module.endswith(name) for module in modules)]
    if missing:
        raise ConfigError(
            f"training.lora.modules_to_save names {missing}, and the model has no such module",
            fix=f"choose from {_ends(name for name in modules if not name[-1].isdigit())}",
        )
    num_layers = model.config.get_text_config().num_hidden_layers
    beyond = [number for number in lora.layers_to_transform if number >= num_layers]
    if beyond:
        raise ConfigError(
            f"training.lora.layers_to_transform names the layer(s) {beyond}, and the model has {num_layers}",
            fix=f"choose from 0 to {num_layers - 1}",
        )


def check_ranks(peft_model: Any, lora: LoraConfig) -> None:
    """Check that no matrix that is trained has a higher rank than the layer that it is for.

    Raises:
        ConfigError: One has; the message names the layer and its size.
    """
    for name, layer in _lora_layers(peft_model):
        r = layer.r[_ADAPTER] // (2 if lora.starts_from_base else 1)
        if r > min(layer.in_features, layer.out_features):
            raise ConfigError(
                f"training.lora.r is {r} for the layer {name}, which maps {layer.in_features} to "
                f"{layer.out_features} features: no change of it can have a rank above "
                f"{min(layer.in_features, layer.out_features)}",
                fix=f"lower training.lora.r, or give the layer its own in training.lora.rank_pattern, such as "
                f"{{{name.rpartition('.')[2]}: {min(layer.in_features, layer.out_features) // 2 or 1}}}",
            )


def start_from_base(peft_model: Any, lora: LoraConfig) -> None:
    """Make the start of PiSSA (Meng et al. 2024) or OLoRA (Büyükakyüz 2024): with it the model is the base model still.

    Of the adapter's rank the first half is trained, the second is frozen: gradients stop at it.
    """
    import torch

    if not lora.starts_from_base:
        return
    for name, layer in _lora_layers(peft_model):
        if not isinstance(layer.get_base_layer(), linear_classes()):
            raise ConfigError(
                f"training.lora.init_lora_weights={lora.init_lora_weights} starts from the weights of linear layers, "
                f"and {name} is none",
                fix="let training.lora.target_modules name linear layers alone, or start from something else",
            )
        weight = _weight(layer.get_base_layer())
        if layer.fan_in_fan_out:
            weight = weight.T
        a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        half = layer.r[_ADAPTER] // 2
        start_b, start_a = _factors(weight, half, layer.scaling[_ADAPTER], str(lora.init_lora_weights))
        a.data = torch.cat([start_a, start_a]).to(a).contiguous()
        b.data = torch.cat([start_b, -start_b], dim=1).to(b).contiguous()
        a.register_hook(lambda gradient, half=half: _first_rows(gradient, half))
        b.register_hook(lambda gradient, half=half: _first_rows(gradient.T, half).T)


def _weight(layer: Any) -> "torch.Tensor":
    """A layer's weight in float32, the layer left as it is: PEFT's own function for it puts another in its place."""
    from peft.utils.integrations import dequantize_bnb_weight, get_bnb_param_type

    is_quantized = get_bnb_param_type(layer.weight)
    weight = dequantize_bnb_weight(layer.weight, getattr(layer, "state", None)) if is_quantized else layer.weight
    floats: torch.Tensor = weight.detach().float()
    return floats


def _first_rows(gradient: "torch.Tensor", num: int) -> "torch.Tensor":
    """The gradient with 0 below its first rows."""
    import torch

    return torch.cat([gradient[:num], torch.zeros_like(gradient[num:])])


def _factors(weight: "torch.Tensor", r: int, scaling: float, method: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """B (out, r) and A (r, in): by PiSSA the weight's largest part, over the scaling; by OLoRA its first r of QR."""
    import torch

    if method == "olora":
        q, upper = torch.linalg.qr(weight)
        return q[:, :r], upper[:r]
    if method == "pissa":
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    else:
        u, s, v = torch.svd_lowrank(weight, q=r, niter=_NUM_SVD_ITERATIONS)
        vh = v.T
    root = (s[:r] / scaling).sqrt()
    return u[:, :r] * root, root[:, None] * vh[:r]


def original_modules(peft_model: Any) -> dict[str, Any]:
    """Modules of the base model in whose place PEFT put a copy that is trained, by name."""
    from peft.utils import ModulesToSaveWrapper

    model = peft_model.base_model.model
    wrapped = {name: part for name, part in model.named_modules() if isinstance(part, ModulesToSaveWrapper)}
    return {name: part.original_module for name, part in wrapped.items() if name != HEAD}


def put_back(model: Any, modules: Mapping[str, Any]) -> None:
    """Put modules in their places: when PEFT unloads an adapter, it leaves its copies there."""
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, module)


def _lora_layers(peft_model: Any) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    model = peft_model.base_model.model
    return [(name, part) for name, part in model.named_modules() if isinstance(part, LoraLayer)]


def linear_classes() -> tuple[type[Any], ...]:
    """What a linear layer can be: torch's, or the one of GPT-2."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return torch.nn.Linear, Conv1D


def _linear_modules(model: Any) -> list[str]:
    return [name for name, part in model.named_modules() if isinstance(part, linear_classes()) and name != HEAD]


def _fits(target: str, names: list[str]) -> bool:
    return any(f".{name}".endswith(f".{target}") for name in names)


def _matches(key: str, pattern: str, names: list[str]) -> bool:
    """Whether PEFT would take one of the names for one of the pattern's."""
    try:
        expression = re.compile(rf"(.*\.)?({pattern})$")
    except re.error as error:
        raise ConfigError(
            f"training.lora.{key} has the key {pattern!r}, which is no regular expression: {error}",
            fix="write a module's name, such as q_proj, or an expression for the end of its full name",
        ) from error
    return any(expression.match(name) for name in names)


def _refuse(key: str, unknown: list[str], linear: list[str]) -> None:
    if unknown:
        raise ConfigError(
            f"training.lora.{key} names {unknown}, and the model has no linear layer named so",
            fix=f"choose from {_ends(linear)}, or for target_modules [{_ALL_LINEAR}] alone",
        )


def _ends(names: Iterable[str]) -> list[str]:
    """The last parts of names, each once."""
    return sorted({name.rpartition(".")[2] for name in names})
