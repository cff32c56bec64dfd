"""A training job as a folder, and what came of it as another: all that passes between the two processes.

    <sha256>/                   named by its content
        config.yaml             the composed configuration
        job.json                labels, provenance, checksum of the initial adapter
        train.parquet           what is trained on
        validation.parquet      what is validated on
        initial/                the adapter to go on from, where there is one

    adapter/                    the product
    curve.parquet, validation.parquet
    result.json                 the rest of what was written down; written last

Nothing is unpickled, and no path is read from a file: what belongs to a job lies in its folder.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ftzard.composition import to_yaml, validate
from ftzard.core.adapter import verify_adapter
from ftzard.core.file_digests import sha256_of
from ftzard.core.records import EXAMPLE_SCHEMA, Splits
from ftzard.core.training_job import Trained, TrainingJob
from ftzard.errors import FtzardError, StorageError

if TYPE_CHECKING:
    from ftzard.core.training import TrainingResult

_CONFIG = "config.yaml"
_JOB = "job.json"
_TRAIN = "train.parquet"
_VALIDATION = "validation.parquet"
_INITIAL = "initial"
_ADAPTER = "adapter"
_RESULT = "result.json"
_FORMAT_VERSION = 1
_FIX = "materialize the asset again; the folder is made anew"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _JobDocument:
    """`job.json`."""

    format_version: int
    labels: tuple[str, ...]
    provenance: dict[str, str]
    initial: str | None


def write_job(job: TrainingJob, parent: Path) -> Path:
    """Write a job below a folder, under the SHA-256 of its content.

    Raises:
        StorageError: It cannot be written.
    """
    temporary = parent / f"{os.getpid()}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        # Texts are in it, which are the person's.
        temporary.mkdir(mode=0o700, parents=True)
        (temporary / _CONFIG).write_text(to_yaml(job.config), encoding="utf-8")
        initial = job.initial.checksum if job.initial else None
        document = _JobDocument(_FORMAT_VERSION, tuple(job.labels), dict(job.provenance), initial)
        (temporary / _JOB).write_text(_to_json(asdict(document)), encoding="utf-8")
        job.splits.train.write_parquet(temporary / _TRAIN)
        job.splits.validation.write_parquet(temporary / _VALIDATION)
        if job.initial is not None:
            shutil.copytree(job.initial.path, temporary / _INITIAL)
        folder = parent / _content_hash(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        return temporary.rename(folder)
    except OSError as error:
        raise StorageError(
            f"the training job cannot be written to {parent}: {error}", fix="check permissions and free space"
        ) from error


def read_job(folder: Path) -> TrainingJob:
    """Read a job, after a check that its content is what its name says.

    Raises:
        StorageError: It is not, or it cannot be read.
        FtzardError: As `validate` and `verify_adapter`.
    """
    try:
        found = _content_hash(folder)
        if found != folder.resolve().name:
            raise StorageError(f"the training job {folder} is damaged: its content has the SHA-256 {found}", fix=_FIX)
        document = TypeAdapter(_JobDocument).validate_json((folder / _JOB).read_bytes())
        config = validate(yaml.safe_load((folder / _CONFIG).read_text(encoding="utf-8")))
        train, validation = (pl.read_parquet(folder / name) for name in (_TRAIN, _VALIDATION))
    except (OSError, ValueError, ValidationError, yaml.YAMLError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"the training job {folder} cannot be read: {error}", fix=_FIX) from error
    is_known = document.format_version == _FORMAT_VERSION
    if not is_known or any(frame.schema != EXAMPLE_SCHEMA for frame in (train, validation)):
        raise StorageError(f"the training job {folder} is of another version of FTzard", fix=_FIX)
    initial = verify_adapter(folder / _INITIAL) if document.initial else None
    if initial is not None and initial.checksum != document.initial:
        raise StorageError(f"the training job {folder} holds another adapter than {document.initial}", fix=_FIX)
    return TrainingJob(
        Splits(train, validation, validation.clear()), config, document.labels, document.provenance, initial
    )


def adapter_folder(output: Path) -> Path:
    """Where in an output folder the adapter is made."""
    return output / _ADAPTER


def write_trained(trained: Trained, output: Path) -> None:
    """Write down what came of a job whose adapter lies in `adapter_folder(output)`."""
    scalars: dict[str, Any] = {}
    for item in fields(trained.result):
        value = getattr(trained.result, item.name)
        if isinstance(value, pl.DataFrame):
            value.write_parquet(output / f"{item.name}.parquet")
        elif item.name == "budget":
            scalars[item.name] = [list(change) for change in value.budgets.items()]
        elif item.name == _ADAPTER:
            scalars[item.name] = value.checksum
        else:
            scalars[item.name] = value
    temporary = output / f"{_RESULT}.tmp"
    document = {"format_version": _FORMAT_VERSION, "peak_bytes": trained.peak_bytes, "result": scalars}
    temporary.write_text(_to_json(document), encoding="utf-8")
    temporary.replace(output / _RESULT)


def read_trained(output: Path) -> Trained:
    """Read what came of a job.

    Raises:
        StorageError: It is incomplete or damaged.
        AdapterCorruptError: The adapter is.
    """
    adapter = verify_adapter(output / _ADAPTER)
    try:
        document = json.loads((output / _RESULT).read_text(encoding="utf-8"))
        result = _read_result(document["result"], output)
        if result["adapter"] != adapter.checksum:
            raise StorageError(f"the adapter in {output} is not the one of this training", fix=_FIX)
        trained = Trained(_training_result({**result, "adapter": adapter}), int(document["peak_bytes"]))
    except FtzardError:
        raise
    except (OSError, ValueError, LookupError, TypeError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"what came of the training in {output} cannot be read: {error}", fix=_FIX) from error
    return trained


def _read_result(scalars: dict[str, Any], output: Path) -> dict[str, Any]:
    from ftzard.core.token_budget import TokenBudget

    budgets = {int(step): int(tokens) for step, tokens in scalars["budget"]}
    budget = TokenBudget(budgets[1], "optimizer step")
    budget.restore(budgets)
    frames = {path.stem: pl.read_parquet(path) for path in sorted(output.glob("*.parquet"))}
    return {**scalars, **frames, "budget": budget}


def _training_result(values: dict[str, Any]) -> "TrainingResult":
    from ftzard.core.training import TrainingResult

    return TrainingResult(**values)


def _content_hash(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files below a folder; a link is refused.

    Raises:
        StorageError: There is something that is neither a file nor a folder.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StorageError(f"the training job holds {path}, which is no regular file", fix=_FIX)
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _to_json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
