"""Training that goes on from the weights of an adapter instead of from a fresh one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ftzard.core.adapter import WEIGHTS_NAME, check_compatible, verify_reference
from ftzard.core.adapter_documents import read_labels, read_lora_config, read_manifest
from ftzard.core.answer_format import AnswerFormat, read_answer_format
from ftzard.errors import AdapterMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from ftzard.config import LoraConfig
    from ftzard.core.base_source import BaseModelIdentity
    from ftzard.core.peft_adapter import AdaptedModel
    from ftzard.core.records import AdapterDirectory

# What decides about the shape of the weights and about what they do. Dropout may differ: it is gone after training.
_FIXED_KEYS = (
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layers_to_transform",
)
_FIX = (
    "train with the adapter's value (a study must not search for it either), or from the base model: "
    "training.retraining.start_from=base"
)


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The weights that a training starts from.

    Attributes:
        weights: By PEFT's names.
        target_modules: The modules that they are for, as PEFT wrote them down.
        head: What the head started from, long ago; None where there is none.
    """

    weights: "Mapping[str, torch.Tensor]"
    target_modules: tuple[str, ...]
    head: Literal["label_words", "random"] | None

    def put_into(self, classifier: "AdaptedModel") -> None:
        """Put the weights in the place of the fresh ones.

        Raises:
            AdapterMismatchError: The classifier's adapter is on other modules, or of another shape.
        """
        fresh = tuple(classifier.peft_fields("", None)["target_modules"])
        if fresh != tuple(sorted(self.target_modules)):
            raise _mismatch("target_modules", sorted(self.target_modules), list(fresh))
        classifier.load_adapter_weights(self.weights)


def read_warm_start(
    adapter: "AdapterDirectory", base_model: "BaseModelIdentity", lora: "LoraConfig", labels: Sequence[str]
) -> WarmStart:
    """Read an adapter to go on from, and check that what is configured now is what it was trained with.

    Args:
        adapter: Verified here before anything of it is used.
        base_model: The base model that is configured now.
        lora: What is configured now.
        labels: The labels that are trained now, in the order of the outputs.

    Raises:
        AdapterCorruptError: The directory is not what its manifest or the reference says.
        AdapterMismatchError: The adapter has another base model, other labels or another LoRA configuration.
    """
    verify_reference(adapter)
    own = read_labels(adapter.path)
    check_compatible(read_manifest(adapter.path), base_model, own.labels, labels)
    return WarmStart(*_weights(adapter, lora), own.head)


def read_answering_start(
    adapter: "AdapterDirectory", base_model: "BaseModelIdentity", lora: "LoraConfig", answers: AnswerFormat
) -> WarmStart:
    """As `read_warm_start`, for an adapter that writes answers.

    Raises:
        AdapterCorruptError: The directory is not what its manifest or the reference says.
        AdapterMismatchError: The adapter has another base model, another way to put a prompt or another LoRA
            configuration, or is a classifier.
    """
    verify_reference(adapter)
    check_compatible(read_manifest(adapter.path), base_model, (), ())
    own = read_answer_format(adapter.path)
    for key in ("messages", "prompt_format", "prompt_template"):
        if getattr(own, key) != getattr(answers, key):
            raise AdapterMismatchError(
                f"the adapter to go on from was trained with {key}={getattr(own, key)!r}, and "
                f"{getattr(answers, key)!r} is configured",
                fix="train with the adapter's value, or from the base model: training.retraining.start_from=base",
            )
    return WarmStart(*_weights(adapter, lora), None)


def _weights(adapter: "AdapterDirectory", lora: "LoraConfig") -> "tuple[dict[str, torch.Tensor], tuple[str, ...]]":
    """The weights and their modules, where the LoRA configuration of then is that of now."""
    from safetensors.torch import load_file

    trained_with = read_lora_config(adapter.path)
    for key in _FIXED_KEYS:
        then, now = getattr(trained_with, key), getattr(lora, key)
        if isinstance(then, dict):
            # What PEFT has added for the experts of a mixture was not configured.
            added = {rf".*\.{re.escape(name)}" for name in trained_with.target_parameters}
            then = {name: value for name, value in then.items() if name in now or name not in added}
        # PEFT writes names in an order of its own.
        if _unordered(then) != _unordered(now):
            raise _mismatch(key, then, now)
    return load_file(adapter.path / WEIGHTS_NAME), trained_with.target_modules


def _unordered(value: Any) -> Any:
    return frozenset(value) if isinstance(value, tuple) else value


def _mismatch(key: str, adapters: Any, configured: Any) -> AdapterMismatchError:
    return AdapterMismatchError(
        f"the adapter to go on from was trained with {key}={adapters}, and training.lora.{key} is {configured}",
        fix=_FIX,
    )
