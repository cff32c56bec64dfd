"""Several processes, *ranks*, at one training: who computes what, and how it is put together.

Every rank holds the whole model. The examples of an optimizer step are divided among the ranks, their gradients added
up, and each rank applies the same update to the same weights; what one process would compute with all examples of the
step comes out, but for the order in which numbers are added. Only the adapter's gradients travel, a few megabytes, so
they are added in one operation after the last micro-batch, however many micro-batches each rank had.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.batching import Indices
from ftzard.core.named_tensors import group_of, joined
from ftzard.errors import TrainingDivergedError

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from ftzard.core.checkpoints import Record
    from ftzard.core.devices import Device
    from ftzard.core.optimization import AdapterOptimizer

_OPTIMIZER = "optimizer"
_RECORD = "record"


class RankLostInterrupt(BaseException):
    """Another rank is gone, or does not answer.

    An interruption and no error of this rank: what it computed before is right, and is kept in a checkpoint.
    """


def _nothing() -> None:
    """Nobody has to know."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training.

    Attributes:
        rank: Its number, from 0; rank 0 writes what is written.
        size: How many there are; with more than one, `torch.distributed` is initialized.
        on_lost: Called at once when another rank is found to be lost.
    """

    rank: int = 0
    size: int = 1
    on_lost: Callable[[], None] = _nothing

    def as_manifest(self) -> dict[str, str]:
        """What an adapter's manifest says of it, and a checkpoint's identity: nothing where one process trains."""
        return {"num_processes": str(self.size)} if self.size > 1 else {}

    def share(self, examples: Indices, lengths: Indices) -> Indices:
        """The examples that are this rank's; the shares of all ranks are disjoint and have about as many tokens.

        Args:
            examples: Positions of the examples, shape (n,).
            lengths: Tokens of every example that `examples` can point to.

        Returns:
            In the order of `examples`; none where there are more ranks than examples.
        """
        if self.size == 1:
            return examples
        mine: Indices = examples[_owners(lengths[examples], self.size) == self.rank]
        return mine

    def reseed(self, seed: int, step: int) -> None:
        """Let each rank draw its own random numbers in a step, the same whenever the step is computed.

        One process draws them from step to step; several would have to keep the state of each in a checkpoint.
        """
        if self.size == 1:
            return
        import torch

        digest = hashlib.sha256(f"{seed}:{step}:{self.rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7], "little"))

    def total(self, value: float) -> float:
        """The sum of a number of each rank, the same on all."""
        if self.size == 1:
            return value
        import torch

        number = torch.tensor([value], dtype=torch.float64, device=_device())
        self._sum(number)
        return float(number)

    def add_up(self, tensors: "Sequence[torch.Tensor]") -> None:
        """Put the sum over all ranks into the gradients of tensors, in float32; none counts as 0."""
        if self.size == 1:
            return
        import torch

        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in tensors]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients]).to(_device())
        self._sum(flat)
        parts = torch.split(flat, [each.numel() for each in tensors])
        for each, part in zip(tensors, parts, strict=True):
            each.grad = part.view_as(each).to(each.device)

    def rows(
        self, compute: "Callable[[Indices], npt.NDArray[np.float32]]", lengths: Indices, width: int
    ) -> "npt.NDArray[np.float32]":
        """Rows of which each rank computes some; all ranks get all of them.

        Args:
            compute: Maps m positions to shape (m, width).
            lengths: Tokens of what each row is computed from, shape (n,).
            width: Numbers in a row.

        Returns:
            Shape (n, width).
        """
        positions = np.arange(len(lengths))
        if self.size == 1:
            return compute(positions)
        import torch

        mine, rows = self.share(positions, lengths), np.zeros((len(lengths), width), dtype=np.float32)
        if len(mine):
            rows[mine] = compute(mine)
        shared = torch.from_numpy(rows).to(_device())
        self._sum(shared)
        return shared.cpu().numpy()

    def align(self, optimizer: "AdapterOptimizer", record: "Record", num_done: int) -> int:
        """Bring every rank to where rank 0 is.

        Args:
            optimizer: Gets rank 0's state.
            record: Gets what rank 0 has written down.
            num_done: Optimizer steps that rank 0 has behind it.

        Returns:
            The same on every rank.
        """
        if self.size == 1:
            return num_done
        from safetensors.torch import load, save

        position = json.dumps({"num_done": num_done, "record": record.to_dict()}).encode()
        tensors = joined({_OPTIMIZER: optimizer.state(), _RECORD: record.tensors()})
        document = json.loads(self._of_first(position))
        tensors = load(self._of_first(save(tensors)))
        num_done = int(document["num_done"])
        optimizer.restore(group_of(tensors, _OPTIMIZER), num_done)
        record.restore(document["record"], group_of(tensors, _RECORD))
        return num_done

    def told(self, text: str) -> str:
        """What rank 0 says, whatever the others would."""
        return text if self.size == 1 else self._of_first(text.encode()).decode()

    def check_same(self, optimizer: "AdapterOptimizer") -> None:
        """Check that every rank ended with the same weights and moments, bit for bit.

        Raises:
            TrainingDivergedError: They are not the same.
        """
        if self.size == 1:
            return
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(optimizer.state().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        own = int.from_bytes(digest.digest()[:7], "little")
        # Two integers that bracket those of all ranks.
        bounds = torch.tensor([own, -own], dtype=torch.int64, device=_device())
        with self._together():
            torch.distributed.all_reduce(bounds, op=torch.distributed.ReduceOp.MAX)
        if int(bounds[0]) != -int(bounds[1]):
            raise TrainingDivergedError(
                f"the {self.size} processes of the training ended with different weights",
                fix="train in one process (launcher=local), and look at the memory and the processors of the machine",
            )

    def _sum(self, tensor: "torch.Tensor") -> None:
        import torch

        with self._together():
            torch.distributed.all_reduce(tensor)

    def _of_first(self, data: bytes) -> bytes:
        """Rank 0's bytes."""
        import torch

        own = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(_device())
        length = torch.tensor([len(own)], device=_device())
        with self._together():
            torch.distributed.broadcast(length, src=0)
            shared = own if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8, device=_device())
            torch.distributed.broadcast(shared, src=0)
        return shared.cpu().numpy().tobytes()

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.on_lost()
            message = f"rank {self.rank} has lost another rank: {error}"
            raise RankLostInterrupt(message) from error


ALONE = Ranks()


@contextmanager
def joined_ranks(
    rank: int, size: int, rendezvous: str, *, device: "Device", timeout_s: float, on_lost: Callable[[], None]
) -> Iterator[Ranks]:
    """Join the other processes of a training for the length of a block.

    Args:
        rank: This process's number, from 0.
        size: How many there are.
        rendezvous: A URL as `torch.distributed.init_process_group` takes it; `file:` needs a folder that all see.
        device: Where each of them computes.
        timeout_s: How long to wait for another rank.
        on_lost: As in `Ranks`.
    """
    from datetime import timedelta

    import torch

    backend = "nccl" if device == "cuda" else "gloo"
    ranks = Ranks(rank, size, on_lost)
    with ranks._together():  # noqa: SLF001 - of this module
        torch.distributed.init_process_group(
            backend, init_method=rendezvous, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
        )
    try:
        yield ranks
    finally:
        torch.distributed.destroy_process_group()


def _owners(lengths: Indices, size: int) -> Indices:
    """The rank of each example: the longest first, each to the rank that has the fewest tokens so far."""
    owners = np.zeros(len(lengths), dtype=np.int64)
    loads = [0] * size
    for position in np.argsort(-lengths, kind="stable"):
        rank = loads.index(min(loads))
        owners[position] = rank
        loads[rank] += int(lengths[position])
    return owners


def _device() -> Any:
    """Where tensors have to be to travel."""
    import torch

    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
