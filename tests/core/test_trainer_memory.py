"""Where memory runs out under TRL, fewer rows are computed at once, and what is learnt stays what it would be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.answer_scenario import config, examples

from ftzard.config import LoraConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.answer_training import train_answers
from ftzard.core.progress import Progress
from ftzard.core.records import Splits
from ftzard.core.training import TrainingResult
from ftzard.errors import OutOfMemoryError

_ON_THE_CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def _limited(
    max_tokens: int, message: str = _ON_THE_CPU, *, after: int = 0, late: bool = False, in_training: bool = True
) -> Iterator[None]:
    """Let the model fail for more than so many tokens at once, as an allocation does.

    Args:
        max_tokens: Padding included.
        message: Of the failure.
        after: Passes that have memory.
        late: When gradients are there already, in the backward pass.
        in_training: Where gradients are computed; otherwise, where they are not.
    """
    num_passes = [0]

    def fail(*_: Any) -> None:
        raise RuntimeError(message)

    def check(module: torch.nn.Module, ids: torch.Tensor | None) -> bool:
        if not isinstance(module, torch.nn.Embedding) or ids is None or torch.is_grad_enabled() != in_training:
            return False
        num_passes[0] += 1
        return ids.numel() > max_tokens and num_passes[0] > after

    def before(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if check(module, inputs[0] if inputs else None):
            if not late:
                fail()
            failing.append(True)

    def behind(module: torch.nn.Module, _: Any, output: Any) -> None:
        # The first layer's is computed last.
        if failing and getattr(module, "layer_idx", None) == 0 and isinstance(output, tuple):
            failing.clear()
            output[0].register_hook(fail)

    failing: list[bool] = []
    hooks = [
        torch.nn.modules.module.register_module_forward_pre_hook(before),
        torch.nn.modules.module.register_module_forward_hook(behind),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _train(folder: Path, task: str, max_tokens: int, **training: Any) -> TrainingResult:
    options = {name: training.pop(name) for name in ("on_progress", "checkpoint_dir") if name in training}
    settings: dict[str, Any] = {"train_batch_size": 4, "num_train_epochs": 1, "max_tokens_per_batch": max_tokens}
    parts = Splits(examples(training.pop("num", 12), 1, task), examples(4, 2, task), examples(4, 3, task))
    return train_answers(parts, config(task, **(settings | training)), folder, **options)


def _weights(result: TrainingResult) -> bytes:
    return (result.adapter.path / WEIGHTS_NAME).read_bytes()


_ROWS: list[tuple[str, int, int, dict[str, Any]]] = [
    # Examples of at most 13 tokens, and pairs of twice as many: four of them in a pass, then two.
    ("generation", 64, 30, {"lora": LoraConfig(r=8, lora_dropout=0.2)}),
    ("preference", 128, 60, {}),
    # Rows of 64 tokens, in each of which there are several examples.
    ("generation", 128, 64, {"packing": True, "train_batch_size": 2}),
]


@pytest.mark.parametrize(("task", "large", "small", "training"), _ROWS, ids=["dropout", "preference", "packed"])
@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
def test_a_training_that_runs_out_of_memory_is_the_one_with_the_smaller_budget_bit_for_bit(
    tmp_path: Path, task: str, large: int, small: int, training: dict[str, Any], late: bool
) -> None:
    expected = _train(tmp_path / "small", task, small, **training)
    with _limited(small, late=late):
        halved = _train(tmp_path / "halved", task, large, **training)
    assert halved.budget.is_halved
    assert list(halved.budget.budgets) == [1]
    assert _weights(halved) == _weights(expected)
    assert halved.curve["loss"].to_list() == pytest.approx(expected.curve["loss"].to_list(), rel=1e-6)
    assert halved.curve["num_tokens"].to_list() == expected.curve["num_tokens"].to_list()
    assert halved.validation.equals(expected.validation)


@pytest.mark.parametrize(("task", "large", "small"), [("generation", 64, 30), ("preference", 128, 60)])
def test_each_row_of_a_pass_that_is_divided_unevenly_counts_as_much_as_before(
    tmp_path: Path, task: str, large: int, small: int
) -> None:
    # The last pass has three of eleven rows, which become two and one.
    whole = _train(tmp_path / "whole", task, large, num=11)
    with _limited(small):
        halved = _train(tmp_path / "halved", task, large, num=11)
    assert halved.budget.is_halved
    assert halved.curve["loss"].to_list() == pytest.approx(whole.curve["loss"].to_list(), rel=1e-4)


def test_what_was_halved_when_is_told_kept_in_the_manifest_and_by_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    whole = _train(tmp_path / "whole", "generation", 64)
    assert "token_budgets" not in read_manifest(whole.adapter.path).compute
    options: dict[str, Any] = {"checkpoint_dir": tmp_path / "checkpoints", "checkpoint_interval_s": 0.0}
    with _limited(30, after=1), pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "halved", "generation", 64, on_progress=stop, **options)
    assert "out of memory in optimizer step 2 (4 KiB were asked for): from 64 to 32 tokens at once" in caplog.text
    halved = _train(tmp_path / "halved", "generation", 64, **options)
    assert halved.resumed_from == 2
    assert halved.budget.budgets == {1: 64, 2: 32}
    assert read_manifest(halved.adapter.path).compute["token_budgets"] == "64 from step 1, 32 from step 2"  # noqa: S105 - of texts


def test_a_validation_that_runs_out_of_memory_is_computed_in_smaller_pieces(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _train(tmp_path / "whole", "generation", 64)
    with _limited(30, in_training=False):
        halved = _train(tmp_path / "halved", "generation", 64)
    assert "out of memory in batch 1 (4 KiB were asked for): from 64 to 32 tokens at once" in caplog.text
    assert not halved.budget.is_halved
    assert _weights(halved) == _weights(whole)
    assert halved.validation["loss"].to_list() == pytest.approx(whole.validation["loss"].to_list(), rel=1e-5)


def test_one_example_that_does_not_fit_is_an_error_with_the_bytes_and_nothing_is_written(tmp_path: Path) -> None:
    with _limited(8), pytest.raises(OutOfMemoryError, match=r"optimizer step 1 although .*4,096 bytes") as caught:
        _train(tmp_path / "adapter", "generation", 64)
    assert "model.max_length" in caught.value.fix
    assert not (tmp_path / "adapter").exists()


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    with _limited(8, "mat1 and mat2 shapes cannot be multiplied"), pytest.raises(RuntimeError, match="mat1 and mat2"):
        _train(tmp_path / "adapter", "generation", 64)


_ROOM = 24 * 2**20
_UNDER_A_LIMIT = """
import json, resource, sys
from pathlib import Path
from tests.core.test_trainer_memory import _train, _weights
import torch

torch.set_num_threads(1)
folder, wide = Path(sys.argv[1]), {"train_batch_size": 64, "num": 64}
# One step first, so that everything that is loaded or made once is there before the limit.
_train(folder / "warm", "generation", 64)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[2]), hard))
halved = _train(folder / "halved", "generation", 2**20, **wide)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
budget = halved.budget.max_tokens
small = _train(folder / "small", "generation", budget, **wide)
print(json.dumps([budget, _weights(halved) == _weights(small), halved.budget.budgets]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_process_that_may_not_have_more_memory_trains_with_what_it_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_A_LIMIT, str(tmp_path), str(_ROOM)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    budget, is_equal, budgets = json.loads(done.stdout.splitlines()[-1])
    assert budget < 2**20
    assert list(budgets) == ["1"]
    assert is_equal
