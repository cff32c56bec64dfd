"""Where a training was, so that a killed one goes on and ends with the same bytes as one that was not.

    checkpoint.json             position, learning curve, the other file's SHA-256, and what is trained on what
    step-000123.safetensors     float32 weights, AdamW's moments, states of the random generators, the best weights

The JSON file is written last, beside its place, and moved there: whenever a process dies, it names a whole file or is
not there. A checkpoint of another training, or a damaged one, is told and not used.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import filelock

from ftzard.core.file_digests import sha256_of
from ftzard.core.named_tensors import group_of, joined

if TYPE_CHECKING:
    import torch

_logger = logging.getLogger(__name__)

_FORMAT_VERSION = 1
_NAME = "checkpoint.json"
_STATE_PATTERN = "step-*.safetensors"
_LOCK = "lock"
_RANDOM = "random"
_OPTIMIZER = "optimizer"
_RECORD = "record"
# Of a training's time, at most.
_MAX_SHARE = 0.01
# A training that nobody has taken up again for so long is not taken up any more.
_KEPT_S = 14 * 86_400.0


def checkpoints_dir(project_dir: Path) -> Path:
    """Where the trainings of a project keep their checkpoints."""
    return project_dir / ".ftzard" / "checkpoints"


class Record(Protocol):
    """What is written down during a training; see `ftzard.core.training_record.TrainingRecord`."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps that are in it."""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""

    def tensors(self) -> "dict[str, torch.Tensor]":
        """What of it is tensors."""

    def restore(self, values: Mapping[str, Any], tensors: "Mapping[str, torch.Tensor]") -> None:
        """Become what `to_dict` and `tensors` gave."""


class Optimizer(Protocol):
    """What is trained and how far: `ftzard.core.optimization.AdapterOptimizer`, or what stands for a Trainer's."""

    num_steps: int
    is_whole: bool

    def state(self) -> "dict[str, torch.Tensor]":
        """All that the next step depends on, besides the gradients."""

    def restore(self, state: "Mapping[str, torch.Tensor]", num_steps: int) -> None:
        """Become what `state` was taken of, after so many steps."""


@dataclass
class Checkpoints:
    """The checkpoints of one training, the newest of which is kept.

    Attributes:
        folder: Of this training alone; None keeps none.
        identity: All that decides the weights, by name: a checkpoint is taken up only where all of it is the same.
        interval_s: Seconds between two of them, at least.
        resumed_from: The optimizer step that was gone on from; 0 where it began anew.
        num_saved: Checkpoints that were made.
        saving_s: Seconds that they took together.
    """

    folder: Path | None
    identity: Mapping[str, str]
    interval_s: float
    resumed_from: int = 0
    num_saved: int = 0
    saving_s: float = 0.0
    _saved_s: float = field(default_factory=time.monotonic)

    def restore(self, optimizer: Optimizer, record: Record) -> int:
        """Put the newest checkpoint into an optimizer, a record and the random generators.

        Returns:
            Optimizer steps that are done; 0 where there is no checkpoint that fits.
        """
        found = self._read()
        if found is None:
            return 0
        step, tensors, values = found
        optimizer.restore(group_of(tensors, _OPTIMIZER), step)
        record.restore(values, group_of(tensors, _RECORD))
        _set_random_states(group_of(tensors, _RANDOM))
        self.resumed_from = step
        _logger.info("going on after optimizer step %d, from the checkpoint in %s", step, self.folder)
        return step

    @contextmanager
    def step(self, optimizer: Optimizer, record: Record) -> Iterator[None]:
        """One optimizer step and what belongs to it; afterwards a checkpoint is made if it is time.

        Interrupted (by Ctrl-C, SIGTERM or a cancelled run) it saves where it was and is interrupted on. An error is no
        interruption: what led to it is not kept.
        """
        if self.folder is None:
            yield
            return
        before, random = optimizer.num_steps, _random_states()
        try:
            yield
        except Exception:
            raise
        except BaseException:
            if optimizer.is_whole and record.num_steps == optimizer.num_steps:
                is_new = optimizer.num_steps > before
                self._save(optimizer, record, _random_states() if is_new else random)
            raise
        if time.monotonic() - self._saved_s >= self._pause_s:
            self._save(optimizer, record, _random_states())

    def finish(self, optimizer: Optimizer, record: Record) -> None:
        """Keep the end of the training until `remove_finished`, once its adapter is stored."""
        if self.folder is not None:
            self._save(optimizer, record, _random_states(), is_finished=True)

    @property
    def _pause_s(self) -> float:
        """The interval, or more where a checkpoint is large and the disk slow; 0 saves after every step."""
        mean_s = self.saving_s / self.num_saved if self.num_saved else 0.0
        return max(self.interval_s, mean_s / _MAX_SHARE) if self.interval_s else 0.0

    def _save(
        self,
        optimizer: Optimizer,
        record: Record,
        random: "Mapping[str, torch.Tensor]",
        *,
        is_finished: bool = False,
    ) -> None:
        """A checkpoint that cannot be written is told, and costs the training nothing but the checkpoint."""
        from safetensors.torch import save_file

        if self.folder is None:
            return
        started, step = time.monotonic(), optimizer.num_steps
        path = self.folder / f"step-{step:06d}.safetensors"
        tensors = joined({_OPTIMIZER: optimizer.state(), _RANDOM: random, _RECORD: record.tensors()})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            save_file(tensors, temporary)
            _move(temporary, path)
            document = {
                "format_version": _FORMAT_VERSION,
                "step": step,
                "is_finished": is_finished,
                "state": {"file": path.name, "sha256": sha256_of(path)},
                "record": record.to_dict(),
                "identity": dict(self.identity),
            }
            temporary = self.folder / f"{_NAME}.tmp"
            temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")
            _move(temporary, self.folder / _NAME)
            for old in self.folder.glob(_STATE_PATTERN):
                if old != path:
                    old.unlink()
        except OSError as error:
            _logger.warning("no checkpoint after step %d: %s cannot be written: %s", step, self.folder, error)
        self._saved_s = time.monotonic()
        self.num_saved, self.saving_s = self.num_saved + 1, self.saving_s + self._saved_s - started

    def _read(self) -> "tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.folder is None or not (self.folder / _NAME).is_file():
            return None
        try:
            document = json.loads((self.folder / _NAME).read_text(encoding="utf-8"))
            others = [
                name
                for name in sorted({*document["identity"], *self.identity})
                if document["identity"].get(name) != self.identity.get(name)
            ]
            path = self.folder / Path(document["state"]["file"]).name
            if others or document["format_version"] != _FORMAT_VERSION:
                _logger.warning("training begins anew: the checkpoint in %s has another %s", self.folder, others)
                return None
            if sha256_of(path) != document["state"]["sha256"]:
                _logger.warning("training begins anew: the checkpoint %s is damaged", path)
                return None
            return int(document["step"]), load_file(path), document["record"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            _logger.warning("training begins anew: the checkpoint in %s cannot be read: %s", self.folder, error)
            return None


@contextmanager
def kept_checkpoints(root: Path | None, identity: Mapping[str, str], interval_s: float | None) -> Iterator[Checkpoints]:
    """The checkpoints of a training; no other process has them meanwhile.

    Args:
        root: Where the folders of all trainings are; None keeps no checkpoints.
        identity: As in `Checkpoints`; it names the folder.
        interval_s: As there; None keeps none.

    Yields:
        Checkpoints that keep nothing where another process is at this very training.
    """
    if root is None or interval_s is None:
        yield Checkpoints(None, identity, 0.0)
        return
    _remove_old(root)
    name = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:16]
    lock = filelock.FileLock(root / f"{name}.{_LOCK}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _logger.warning("another process is at this very training: this one keeps no checkpoints")
    except OSError as error:
        _logger.warning("no checkpoints: %s cannot be written: %s", root, error)
    is_ours = lock.is_locked
    try:
        yield Checkpoints(root / name if is_ours else None, identity, interval_s)
    finally:
        lock.release()
        if is_ours:
            Path(lock.lock_file).unlink(missing_ok=True)


def remove_finished(root: Path) -> None:
    """Remove what is left of trainings that came to their end."""
    for document in root.glob(f"*/{_NAME}"):
        try:
            is_finished = json.loads(document.read_text(encoding="utf-8")).get("is_finished", False)
        except (OSError, ValueError, AttributeError):
            # A training of that name will tell.
            is_finished = False
        if is_finished:
            shutil.rmtree(document.parent, ignore_errors=True)


def _remove_old(root: Path) -> None:
    for document in root.glob(f"*/{_NAME}"):
        # Another process may have removed it meanwhile.
        with suppress(FileNotFoundError):
            if time.time() - document.stat().st_mtime > _KEPT_S:
                shutil.rmtree(document.parent, ignore_errors=True)


def _random_states() -> "dict[str, torch.Tensor]":
    """What dropout draws from."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda.{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_random_states(states: "Mapping[str, torch.Tensor]") -> None:
    import torch

    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name != "cpu":
            torch.cuda.set_rng_state(state, int(name.partition(".")[2]))


def _move(temporary: Path, path: Path) -> None:
    """Put a file in its place, once its content is on the disk."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
