"""Where memory runs out, fewer tokens are computed at once, and what is learned stays what it would have been."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.core.model_scenario import config, file_bytes, splits, train

from ftzard.core import training_loop
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.batching import micro_batches
from ftzard.core.classifier import Classifier
from ftzard.core.inference import predict
from ftzard.core.prompts import Tokens
from ftzard.core.token_budget import TokenBudget, bytes_asked_for, is_out_of_memory
from ftzard.core.training import TrainingResult
from ftzard.core.training_record import TrainingRecord
from ftzard.errors import OutOfMemoryError

_ON_THE_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"  # noqa: E501  # torch's own line


def _limit_rows(
    monkeypatch: pytest.MonkeyPatch, max_tokens: int, message: str = _ON_THE_CPU, *, after: int = 0
) -> None:
    """Let the model fail for more than so many tokens at once, as an allocation does, after the gradients of a part."""
    hidden_states, calls = Classifier.hidden_states, [0]

    def limited(self: Classifier, sequences: Sequence[Tokens]) -> torch.Tensor:
        calls[0] += 1
        if len(sequences) * max(map(len, sequences)) > max_tokens and calls[0] > after:
            raise RuntimeError(message)
        return hidden_states(self, sequences)

    monkeypatch.setattr(Classifier, "hidden_states", limited)


def _weights(result: TrainingResult) -> bytes:
    return file_bytes(result.adapter)[WEIGHTS_NAME]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_training_that_runs_out_of_memory_is_the_one_with_the_smaller_budget_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    settings: dict[str, Any] = {"num_train_epochs": 1, "lora": {"lora_dropout": dropout}}
    small = train(tmp_path / "small", max_tokens_per_batch=256, **settings)
    large = train(tmp_path / "large", max_tokens_per_batch=1024, **settings)
    _limit_rows(monkeypatch, 256)
    halved = train(tmp_path / "halved", max_tokens_per_batch=1024, **settings)
    assert _weights(halved) == _weights(small) != _weights(large)
    assert halved.curve["loss"].to_list() == small.curve["loss"].to_list()
    assert halved.curve.height == large.curve.height
    assert halved.budget.budgets == {1: 256}


def test_a_part_that_fails_late_leaves_nothing_of_the_parts_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = train(tmp_path / "small", max_tokens_per_batch=128, num_train_epochs=1)
    calls = [0]
    backward = training_loop._backward

    def failing(loss: torch.Tensor) -> None:
        calls[0] += 1
        backward(loss)
        if calls[0] == 2:
            raise MemoryError

    monkeypatch.setattr(training_loop, "_backward", failing)
    halved = train(tmp_path / "halved", max_tokens_per_batch=256, num_train_epochs=1)
    assert halved.budget.budgets == {1: 128}
    assert _weights(halved) == _weights(small)


def test_what_was_halved_when_is_told_and_kept_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(tmp_path / "whole", max_tokens_per_batch=1024, num_train_epochs=1)
    assert whole.budget.sentence == "1024 tokens at once, as configured"
    assert "token_budgets" not in read_manifest(whole.adapter.path).compute
    _limit_rows(monkeypatch, 512, after=4)
    halved = train(tmp_path / "halved", max_tokens_per_batch=1024, num_train_epochs=1)
    (first, at_first), (step, tokens) = sorted(halved.budget.budgets.items())
    assert (first, at_first, tokens) == (1, 1024, 512)
    assert step > 1
    assert read_manifest(halved.adapter.path).compute["token_budgets"] == f"1024 from step 1, 512 from step {step}"
    assert f"512 from optimizer step {step} on" in halved.budget.sentence
    assert f"out of memory in optimizer step {step} (4 KiB were asked for): from 1024 to 512 tokens" in caplog.text


def test_one_example_that_does_not_fit_is_an_error_with_the_bytes_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit_rows(monkeypatch, 8)
    with pytest.raises(OutOfMemoryError, match=r"optimizer step 1 although (?s:.*)4,096 bytes \(4 KiB\)") as caught:
        train(tmp_path / "adapter")
    assert "model.max_length" in caught.value.fix
    assert not (tmp_path / "adapter").exists()


def test_predictions_that_run_out_of_memory_are_those_of_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = train(tmp_path / "adapter", num_train_epochs=1).adapter
    whole = predict(adapter, splits().test, config(max_tokens_per_batch=1024))
    _limit_rows(monkeypatch, 128)
    halved = predict(adapter, splits().test, config(max_tokens_per_batch=1024))
    assert halved["text_hash"].to_list() == whole["text_hash"].to_list()
    for column in (name for name in whole.columns if name.startswith("logit")):
        np.testing.assert_allclose(halved[column], whole[column], rtol=1e-3, atol=1e-4)
    _limit_rows(monkeypatch, 8)
    with pytest.raises(OutOfMemoryError, match="batch 1"):
        predict(adapter, splits().test, config())


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit_rows(monkeypatch, 8, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(tmp_path / "adapter")


def test_a_halving_that_changes_nothing_is_skipped() -> None:
    lengths = np.full(8, 10)
    examples = np.arange(8)
    budget = TokenBudget(4096, "step")

    def compute(max_tokens: int) -> int:
        largest = max(len(part) for part in micro_batches(examples, lengths, max_tokens))
        if largest > 4:
            raise MemoryError
        return max_tokens

    assert budget.redoing(compute, examples, lengths, step=3) == 32
    assert budget.budgets == {1: 4096, 3: 32}


@pytest.mark.parametrize(
    ("error", "num_bytes"),
    [
        (RuntimeError(_ON_THE_CPU), 4096),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total ..."), 2684354560),
        (RuntimeError("CUDA error: out of memory"), None),
        (MemoryError("std::bad_alloc"), None),
    ],
)
def test_the_ways_in_which_torch_says_that_there_is_no_memory(error: Exception, num_bytes: int | None) -> None:
    assert is_out_of_memory(error)
    assert bytes_asked_for(error) == num_bytes


_ROOM = 24 * 2**20
_UNDER_A_LIMIT = """
import json, resource, sys
from pathlib import Path
from tests.core.model_scenario import train
import torch

torch.set_num_threads(1)
# One step first, so that everything that is loaded or made once is there before the limit.
train(Path(sys.argv[1]) / "warm", max_tokens_per_batch=64, num_train_epochs=1)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = now + int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
halved = train(Path(sys.argv[1]) / "halved", max_tokens_per_batch=2**20, train_batch_size=96, num_train_epochs=1)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
budget = halved.budget.max_tokens
small = train(Path(sys.argv[1]) / "small", max_tokens_per_batch=budget, train_batch_size=96, num_train_epochs=1)
print(json.dumps([budget, halved.adapter.checksum == small.adapter.checksum, halved.budget.budgets]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_process_that_may_not_have_more_memory_trains_with_what_it_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_A_LIMIT, str(tmp_path), str(_ROOM)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    budget, is_equal, budgets = json.loads(done.stdout)
    assert budget < 2**20
    assert list(budgets) == ["1"]
    assert is_equal


def test_a_training_that_goes_on_from_a_checkpoint_has_the_budget_it_had() -> None:
    record = TrainingRecord(budget=TokenBudget(1024, "optimizer step"))
    record.budget.max_tokens = 256
    record.budget.budgets[7] = 256
    resumed = TrainingRecord(budget=TokenBudget(1024, "optimizer step"))
    resumed.restore(json.loads(json.dumps(record.to_dict())), record.tensors())
    assert resumed.budget.max_tokens == 256
    assert resumed.budget.budgets == {1: 1024, 7: 256}
    assert resumed.budget.is_halved
