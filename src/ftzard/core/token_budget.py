"""What happens when memory runs out: fewer tokens at once, and still the same examples in an optimizer step.

Only a failed allocation can be answered. Where the kernel ends the process instead (an overcommitted machine, a
container's limit), nothing is left to answer with; that is what the estimate before the run is for.
"""

import gc
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import numpy as np

from ftzard.core.batching import Indices, micro_batches, padded_tokens
from ftzard.core.byte_sizes import in_words
from ftzard.errors import OutOfMemoryError

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)

# How torch says that an allocation failed, besides its own exception for CUDA and Python's MemoryError.
_SIGNS = ("can't allocate memory", "out of memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
_ON_THE_CPU = re.compile(r"tried to allocate (\d+) bytes", re.IGNORECASE)
_ON_CUDA = re.compile(r"tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", re.IGNORECASE)
_BYTES = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_FIX_UNANSWERED = "free memory, or take less of it: `ftzard estimate` shows what takes how much"
_FIX = (
    "shorten the texts (model.max_length), lower training.max_tokens_per_batch, compute in bfloat16 "
    "(model.dtype=bfloat16), or free memory; `ftzard estimate` shows what takes how much"
)


# The same for what is not estimated.
FIX_WITHOUT_ESTIMATE: Final = (
    "lower training.max_tokens_per_batch or model.max_length, compute in bfloat16 (model.dtype=bfloat16), or free "
    "memory; nothing was written"
)


@dataclass
class TokenBudget:
    """Tokens, padding included, that are computed at once; halved when memory runs out, for the rest of a run.

    Attributes:
        max_tokens: The budget now.
        what: What is counted where it is halved, for messages, such as `optimizer step`.
        budgets: Number of the step -> the budget from there on; the first entry is the configured one.
        fix: What to do where there is no memory for one example.
    """

    max_tokens: int
    what: str
    budgets: dict[int, int] = field(default_factory=dict)
    fix: str = _FIX

    def __post_init__(self) -> None:
        """Steps are counted from 1."""
        self.budgets.setdefault(1, self.max_tokens)
        self._configured = self.max_tokens

    @property
    def is_halved(self) -> bool:
        """Whether memory ran out at least once."""
        return self.max_tokens != self._configured

    @property
    def sentence(self) -> str:
        """What was computed at once, in words."""
        if not self.is_halved:
            return f"{self.max_tokens} tokens at once, as configured"
        changes = ", ".join(f"{tokens} from {self.what} {step} on" for step, tokens in sorted(self.budgets.items()))
        return (
            f"memory ran out, so that fewer tokens were computed at once than the configured {self._configured}: "
            f"{changes}; the examples of a step stayed the same"
        )

    def restore(self, budgets: Mapping[int, int]) -> None:
        """Go on with the budgets of a training that was interrupted."""
        self.budgets = dict(budgets)
        self.max_tokens = budgets[max(budgets)]

    def as_manifest(self) -> dict[str, str]:
        """What an adapter's manifest says of it: nothing where it was as configured."""
        changes = ", ".join(f"{tokens} from step {step}" for step, tokens in sorted(self.budgets.items()))
        return {"token_budgets": changes} if self.is_halved else {}

    def redoing(
        self,
        compute: Callable[[int], _T],
        examples: Indices,
        lengths: Indices,
        *,
        step: int,
        undo: Callable[[], None] = lambda: None,
    ) -> _T:
        """Compute examples with the budget, and as often as memory runs out with half of it, from the beginning.

        Args:
            compute: Takes the budget and cuts the examples into micro-batches by it.
            examples: Positions of the examples, shape (n,).
            lengths: Tokens of every example that `examples` can point to.
            step: From 1.
            undo: Takes back what a computation that failed has left.

        Raises:
            OutOfMemoryError: Each example is computed alone already.
        """
        while True:
            try:
                return compute(self.max_tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                num_bytes = bytes_asked_for(error)
            # Outside of the handler, whose traceback keeps the tensors of the failed computation alive.
            undo()
            free_unused()
            self._halve(examples, lengths, step, num_bytes)

    def in_batches(self, compute: Callable[[Indices], None], lengths: Indices) -> Iterator[Indices]:
        """Compute all examples batch by batch, longest first; where memory runs out, the rest in smaller batches.

        Args:
            compute: Takes the positions of some examples, shape (m,); where it failed, it is asked for them again.
            lengths: Tokens of each example, shape (n,).

        Yields:
            After each batch, the positions of its examples.

        Raises:
            OutOfMemoryError: There is no memory for one example alone.
        """

        def fill(batch: Indices, max_tokens: int) -> None:
            for part in micro_batches(batch, lengths, max_tokens):
                compute(part)

        for number, batch in enumerate(micro_batches(np.arange(len(lengths)), lengths, self.max_tokens), start=1):
            self.redoing(partial(fill, batch), batch, lengths, step=number)
            yield batch

    def _halve(self, examples: Indices, lengths: Indices, step: int, num_bytes: int | None) -> None:
        """Go to the largest half, quarter ... that cuts the examples into smaller pieces than now."""
        now = _largest(examples, lengths, self.max_tokens)
        if all(len(part) == 1 for part in micro_batches(examples, lengths, self.max_tokens)):
            raise _single_example(num_bytes, int(lengths[examples].max()), f"{self.what} {step}", self.fix)
        before = self.max_tokens
        while _largest(examples, lengths, self.max_tokens) == now and self.max_tokens > 1:
            self.max_tokens //= 2
        self.budgets[step] = self.max_tokens
        asked = f" ({in_words(num_bytes)} were asked for)" if num_bytes is not None else ""
        _logger.warning(
            "out of memory in %s %d%s: from %d to %d tokens at once for the rest of this run, with the same examples",
            self.what,
            step,
            asked,
            before,
            self.max_tokens,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was no memory to be had."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def bytes_asked_for(error: BaseException) -> int | None:
    """The size of the allocation that failed; None where the message does not say."""
    text = str(error)
    if found := _ON_THE_CPU.search(text):
        return int(found[1])
    if found := _ON_CUDA.search(text):
        return round(float(found[1]) * _BYTES[found[2].lower()])
    return None


@contextmanager
def memory_failures_explained(what: "str | Callable[[], str]", fix: str = _FIX_UNANSWERED) -> Iterator[None]:
    """Turn a failed allocation that smaller batches do not answer into an error that says what to do.

    Args:
        what: What was being done; a function is asked when it happens.
        fix: What to do.

    Raises:
        OutOfMemoryError: No memory was to be had in the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"memory ran out while {what if isinstance(what, str) else what()}: {_asked(bytes_asked_for(error))}",
            fix=fix,
        ) from error


def free_unused() -> None:
    """Give back what only garbage and torch's cache hold."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _largest(examples: Indices, lengths: Indices, max_tokens: int) -> Sequence[int]:
    """Padded tokens of each micro-batch, largest first."""
    parts = micro_batches(examples, lengths, max_tokens)
    return sorted((padded_tokens(part, lengths) for part in parts), reverse=True)


def _single_example(num_bytes: int | None, num_tokens: int, where: str, fix: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"memory ran out in {where} although each example was computed alone (the longest has {num_tokens} tokens): "
        f"{_asked(num_bytes)}",
        fix=fix,
    )


def _asked(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "the system does not say how many bytes were asked for"
    return f"{num_bytes:,} bytes ({in_words(num_bytes)}) were asked for"
