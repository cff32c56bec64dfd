"""Which files a base model's weights come from, looked at before any of them is read.

transformers believes what a model says of its own files: its index and its configuration may name a pickle, or a file
of somewhere else. An adapter that lies beside a model of the hub is put on whatever model that adapter names.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ftzard.core.base_source import BaseModelSource, adapter_beside_it
from ftzard.errors import ModelNotFoundError

_SUFFIX: Final = ".safetensors"
_INDEX_SUFFIX: Final = ".safetensors.index.json"


def check_files(source: BaseModelSource, model_config: Any, arguments: Mapping[str, Any]) -> None:
    """Check that the weights are safetensors, and the model's own: its identity stands for no others.

    Args:
        source: Where it is; no .gguf file.
        model_config: What it says of itself.
        arguments: Those of `from_pretrained` that say where its files are.

    Raises:
        ModelNotFoundError: They are not, or an adapter lies beside them.
    """
    from transformers.utils import find_adapter_config_file

    # A folder was looked at when it was found.
    if source.is_on_hub and find_adapter_config_file(str(source.location), revision=source.identity.revision):
        raise adapter_beside_it(source.identity.name, "repository")
    for name in _weight_files(str(source.location), model_config, arguments):
        if not name.endswith(_SUFFIX) or PurePosixPath(name).name != name:
            raise ModelNotFoundError(
                f"model.base_model is {source.identity}: it says that its weights are in {name!r}, and only "
                "safetensors beside its config.json are read: another file could run code, or be another model's",
                fix="save the model again (`save_pretrained` of transformers does it so), or choose another",
            )


def _weight_files(location: str, model_config: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    """The names of the files that transformers would read the weights from."""
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    where = {key: arguments[key] for key in ("revision", "local_files_only") if key in arguments}
    where["_raise_exceptions_for_missing_entries"] = False
    # Of a model that also sees pictures it is one of the two that is asked.
    configs = (model_config, model_config.get_text_config())
    named = {str(name) for config in configs if (name := getattr(config, "transformers_weights", None)) is not None}
    if not named:
        is_one = cached_file(location, SAFE_WEIGHTS_NAME, **where) is not None
        named = {SAFE_WEIGHTS_NAME if is_one else SAFE_WEIGHTS_INDEX_NAME}
    for name in sorted(named):
        if not name.endswith(_INDEX_SUFFIX) or PurePosixPath(name).name != name:
            yield name
        elif (index := cached_file(location, name, **where)) is not None:
            yield from sorted(map(str, json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
