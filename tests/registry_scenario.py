"""What counts as an adapter as long as nobody loads its weights."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from ftzard.core.adapter import verify_adapter
from ftzard.core.adapter_documents import AdapterManifest
from ftzard.core.base_source import BaseModelIdentity
from ftzard.core.records import AdapterDirectory


def small_adapter(folder: Path, words: str) -> AdapterDirectory:
    """An adapter directory whose weights are the given words; the one that is there already, if there is one."""
    if not folder.exists():
        folder.mkdir(parents=True)
        contents = {"adapter_model.safetensors": words, "adapter_config.json": "{}", "labels.json": "{}"}
        for name, content in contents.items():
            (folder / name).write_text(content)
        files = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in contents.items()}
        base_model = BaseModelIdentity("random:tiny-llama", None, None)
        manifest = AdapterManifest(1, base_model, {}, {}, {}, {}, {}, files)
        (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))
    return verify_adapter(folder)
