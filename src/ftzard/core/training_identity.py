"""All that decides what a training comes to: a checkpoint of another training is not gone on from."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ftzard.config import decisive
from ftzard.core.adapter_documents import current_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ftzard.config import FtzardConfig
    from ftzard.core.base_model import BaseModel
    from ftzard.core.records import AdapterDirectory


def training_identity(
    base: "BaseModel",
    dtype: str,
    config: "FtzardConfig",
    data: "Mapping[str, object]",
    initial: "AdapterDirectory | None",
) -> dict[str, str]:
    """All that decides what a training comes to, by name.

    Args:
        base: The base model.
        dtype: In which floating-point type it is computed.
        config: Its sections `model` and `training`.
        data: What is trained on, by name; JSON types.
        initial: The adapter that it goes on from.
    """
    import torch

    sections = {"model": asdict(config.model), "training": asdict(config.training)}
    values = {section: decisive(section, keys, config.data.task) for section, keys in sections.items()}
    # When a checkpoint is made decides nothing.
    del values["training"]["checkpoint_interval_s"]
    settings = {f"{section}.{key}": value for section, keys in values.items() for key, value in keys.items()}
    compute = {
        "device": base.device,
        "dtype": dtype,
        "quantization": base.precision.quantization,
        "num_threads": torch.get_num_threads(),
    }
    start = {"base model": asdict(base.identity), "initial adapter": initial.checksum if initial else None}
    known = settings | compute | dict(data) | start
    known |= {f"{name} version": text for name, text in current_versions().items()}
    return {name: json.dumps(value, sort_keys=True) for name, value in known.items()}
