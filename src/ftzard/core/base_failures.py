"""What is the matter with a base model that cannot be loaded, or is none that can be trained here."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.base_source import BaseModelSource
from ftzard.core.token_budget import is_out_of_memory
from ftzard.errors import ModelNotFoundError, NotACausalLanguageModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ftzard.core.base_model import BaseModel

_logger = logging.getLogger(__name__)

# What transformers and the readers below it raise for files that are missing, damaged or not what their name says, and
# for a package that only such files need.
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, RuntimeError, NotImplementedError, ImportError)
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_ONE_MODEL = "take config.json and the weights from the same model"


@contextmanager
def reading(source: BaseModelSource) -> Iterator[None]:
    """Within it what transformers raises about a base model is told in FTzard's words.

    Raises:
        ModelNotFoundError: It cannot be read.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (*_UNREADABLE, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise _explain(source, error) from error


def check_is_causal(source: BaseModelSource, model_config: Any) -> None:
    """Judge by the declared architecture: transformers would put a language-modelling head on an encoder as well.

    Of a model that also sees pictures the part that reads and writes is taken, where transformers has that.

    Raises:
        NotACausalLanguageModelError: It is another kind of model.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    # A .gguf file declares no class; it holds a decoder unless it says that there is an encoder.
    declared, kind = list(getattr(model_config, "architectures", None) or []), model_config.model_type
    causal = {name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() if isinstance(name, str)}
    causal.add(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind, ""))
    is_causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (not declared or bool(causal.intersection(declared)))
    if not is_causal or getattr(model_config, "is_encoder_decoder", False):
        named = ", ".join(declared or [kind])
        raise NotACausalLanguageModelError(
            f"model.base_model is {source.identity.name!r}, a {named}, not a causal language model",
            fix="choose a decoder with a language-modelling head, such as a LlamaForCausalLM",
        )


def check_is_whole(source: BaseModelSource, model: Any, loaded: Mapping[str, Any]) -> None:
    """Check that all of a model's weights came from its files: transformers draws those that did not, and only warns.

    Args:
        source: Where it was read.
        model: What was read.
        loaded: What `from_pretrained` says of it with `output_loading_info`.

    Raises:
        ModelNotFoundError: Some did not.
    """
    if unused := sorted(loaded["unexpected_keys"]):
        _logger.warning(
            "%d tensor(s) of the base model's files have no place in it, such as %s", len(unused), unused[0]
        )
    # A buffer is computed, and the same each time.
    parameters = {name for name, _ in model.named_parameters()}
    if missing := sorted(parameters.intersection(loaded["missing_keys"])):
        raise ModelNotFoundError(
            f"model.base_model is {source.identity}: its files hold no weights for {len(missing)} of its parameter(s), "
            f"such as {missing[0]}",
            fix=f"{_ONE_MODEL}, saved with its language-modelling head (AutoModelForCausalLM)",
        )


def check_tokens(base: "BaseModel", sequences: "Iterable[list[int] | npt.NDArray[np.integer]]") -> None:
    """Check that a base model has an embedding for each token that its tokenizer made of some texts.

    Where tokens were added to a tokenizer and the model was not resized, torch would only say that an index is out of
    range, and on CUDA end the process.

    Args:
        base: Of the two.
        sequences: Token ids.

    Raises:
        ModelNotFoundError: One has none.
    """
    largest = max((int(np.max(ids)) for ids in sequences if len(ids)), default=0)
    num_rows = base.model.get_input_embeddings().weight.shape[0]
    if largest >= num_rows:
        raise ModelNotFoundError(
            f"model.base_model is {base.identity.name!r}: its tokenizer has the token "
            f"{base.tokenizer.convert_ids_to_tokens(largest)!r} of number {largest}, and the model has embeddings for "
            f"{num_rows} tokens",
            fix="take the tokenizer that belongs to the model, or save the model with `resize_token_embeddings`",
        )


def _explain(source: BaseModelSource, error: Exception) -> ModelNotFoundError:
    where = "the Hugging Face hub or its local cache" if source.is_on_hub else str(source.location)
    file = f", file {source.gguf_file}" if source.gguf_file else ""
    reason, fix = _explain_kind(source, error)
    return ModelNotFoundError(
        f"model.base_model is {source.identity}: it cannot be loaded from {where}{file}: {reason}", fix=fix
    )


def _explain_kind(source: BaseModelSource, error: Exception) -> tuple[str, str]:
    """Reason and remedy, in FTzard's words where it is known what is the matter."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    folder = Path(source.location) if source.location and not source.is_on_hub else None
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES) if folder else []
    if "custom code" in reason:
        return (
            "it comes with code of its own (auto_map), which is never run",
            "choose a model of an architecture that transformers has itself",
        )
    if pickles and folder and source.gguf_file is None and not any(folder.glob("*.safetensors")):
        return (
            f"its weights are in {pickles[0]}, which could run code when it is read, and never is",
            "save the model as safetensors (`save_pretrained` of transformers does)",
        )
    if "ignore_mismatched_sizes" in reason:
        return "its weights have other shapes than its config.json says", _ONE_MODEL
    if "tokenizer" in reason.lower():
        return (
            f"its tokenizer cannot be read: {reason}",
            "put tokenizer.json and tokenizer_config.json beside the weights (`save_pretrained` of the tokenizer does)",
        )
    return _explain_reader(error, reason)


def _explain_reader(error: Exception, reason: str) -> tuple[str, str]:
    from safetensors import SafetensorError

    if isinstance(error, SafetensorError):
        return (
            f"its weights are damaged or were not copied whole: {reason}",
            "copy the .safetensors files again (where git brought them, with `git lfs pull`)",
        )
    if isinstance(error, ImportError):
        quantize_here = "take the one from before: model.quantization=nf4 or int8 quantizes it here"
        return reason, f"install that; or, of a model that somebody has quantized, {quantize_here}"
    return (
        reason,
        "check the name, the revision and the files (safetensors or GGUF); a hub model needs the network once",
    )
