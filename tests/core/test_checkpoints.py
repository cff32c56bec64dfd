"""A training that is interrupted at any step and gone on with ends with the bytes of one that was not."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.model_scenario import LABELS, config, splits

from ftzard.config import FtzardConfig, LoraConfig
from ftzard.core.checkpoints import kept_checkpoints, remove_finished
from ftzard.core.progress import Progress
from ftzard.core.training import TrainingResult, train_adapter

_EVERY_STEP: dict[str, Any] = {
    "num_train_epochs": 2,
    "train_batch_size": 32,
    "checkpoint_interval_s": 0.0,
    "max_tokens_per_batch": 512,
}


def _config(**training: Any) -> FtzardConfig:
    """Two epochs with dropout, in micro-batches, with a checkpoint after every step."""
    return config(**(_EVERY_STEP | {"lora": LoraConfig(r=4, lora_dropout=0.3)} | training))


def _train(folder: Path, checkpoints: Path | None, *, stop_at: int | None = None, **training: Any) -> TrainingResult:
    def on_progress(progress: Progress) -> None:
        if progress.done == stop_at:
            raise KeyboardInterrupt

    return train_adapter(
        splits(), _config(**training), LABELS, folder, on_progress=on_progress, checkpoint_dir=checkpoints
    )


def _is_the_same(one: TrainingResult, other: TrainingResult) -> bool:
    """The same adapter, and the same curve but for the time it took."""
    curves_are_equal = one.curve.drop("seconds").equals(other.curve.drop("seconds"))
    return (
        one.adapter.checksum == other.adapter.checksum and curves_are_equal and one.validation.equals(other.validation)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return _train(tmp_path_factory.mktemp("uninterrupted") / "adapter", None)


def test_interrupted_at_any_step_it_ends_with_the_same_bytes(uninterrupted: TrainingResult, tmp_path: Path) -> None:
    num_steps = uninterrupted.curve.height
    for step in range(1, num_steps + 1):
        checkpoints = tmp_path / f"checkpoints-{step}"
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / f"never-{step}", checkpoints, stop_at=step)
        again = _train(tmp_path / f"adapter-{step}", checkpoints)
        assert again.resumed_from == step
        assert _is_the_same(again, uninterrupted)


def test_interrupted_twice_it_goes_on_twice(uninterrupted: TrainingResult, tmp_path: Path) -> None:
    for step in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / f"never-{step}", tmp_path / "checkpoints", stop_at=step)
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints")
    assert again.resumed_from == 4
    assert _is_the_same(again, uninterrupted)


# Loses what it has learned, and stops before its last epoch.
_STOPS_EARLY: dict[str, Any] = {
    "num_train_epochs": 5,
    "learning_rate": 3e-2,
    "warmup_fraction": 0.0,
    "early_stopping_patience": 2,
    "metric_for_best_model": "loss",
    "num_validations_per_epoch": 2,
}


def test_a_training_that_stops_early_stops_and_keeps_the_same_after_an_interruption_at_any_step(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", None, **_STOPS_EARLY)
    num_steps = whole.curve.height
    assert whole.validation.filter("is_kept")["step"].to_list() < [num_steps]
    assert "stopped after" in whole.kept
    for step in range(1, num_steps + 1):
        checkpoints = tmp_path / f"checkpoints-{step}"
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / f"never-{step}", checkpoints, stop_at=step, **_STOPS_EARLY)
        again = _train(tmp_path / f"adapter-{step}", checkpoints, **_STOPS_EARLY)
        assert again.resumed_from == step
        assert _is_the_same(again, whole)
        assert again.kept == whole.kept
    # Also where it had come to its end, and only the adapter was lost.
    finished = _train(tmp_path / "finished", checkpoints, **_STOPS_EARLY)
    assert finished.resumed_from == num_steps
    assert _is_the_same(finished, whole)


@pytest.mark.parametrize("step", [1, 4])
def test_in_float16_the_resumed_training_ends_with_the_same_adapter_too(step: int, tmp_path: Path) -> None:
    def go(folder: Path, stop_at: int | None, checkpoints: Path | None) -> TrainingResult:
        def on_progress(progress: Progress) -> None:
            if progress.done == stop_at:
                raise KeyboardInterrupt

        half = config({"dtype": "float16"}, **(_EVERY_STEP | {"num_train_epochs": 1, "train_batch_size": 16}))
        return train_adapter(splits(), half, LABELS, folder, on_progress=on_progress, checkpoint_dir=checkpoints)

    whole = go(tmp_path / "whole", None, None)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "never", step, tmp_path / "checkpoints")
    again = go(tmp_path / "again", None, tmp_path / "checkpoints")
    assert again.resumed_from == step
    assert _is_the_same(again, whole)


def test_an_interruption_saves_although_no_checkpoint_was_due(uninterrupted: TrainingResult, tmp_path: Path) -> None:
    seldom: dict[str, Any] = {"checkpoint_interval_s": 3600.0}
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3, **seldom)
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints", **seldom)
    assert again.resumed_from == 3
    assert _is_the_same(again, uninterrupted)


def test_the_steps_that_were_taken_are_not_taken_again(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    train_adapter(
        splits(),
        _config(),
        LABELS,
        tmp_path / "adapter",
        on_progress=lambda progress: seen.append(progress.done),
        checkpoint_dir=tmp_path / "checkpoints",
    )
    assert seen[0] == 4


def test_the_end_is_kept_until_the_adapter_is_stored(uninterrupted: TrainingResult, tmp_path: Path) -> None:
    """A kill between the last step and the commit costs no training."""
    _train(tmp_path / "lost", tmp_path / "checkpoints")
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints")
    assert again.resumed_from == uninterrupted.curve.height
    assert _is_the_same(again, uninterrupted)
    remove_finished(tmp_path / "checkpoints")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_what_nobody_has_taken_up_for_two_weeks_is_removed_by_the_next_training(tmp_path: Path) -> None:
    ages = {"old": 15, "new": 13}
    for seed, (name, days) in enumerate(ages.items()):
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / name, tmp_path / "checkpoints", stop_at=2, seed=seed)
        document = next(path for path in (tmp_path / "checkpoints").glob("*/checkpoint.json") if _age_d(path) < 1)
        then = time.time() - days * 86_400
        os.utime(document, (then, then))
    _train(tmp_path / "adapter", tmp_path / "checkpoints", seed=2)
    assert _train(tmp_path / "again", tmp_path / "checkpoints", seed=0).resumed_from == 0
    assert _train(tmp_path / "again-new", tmp_path / "checkpoints", seed=1).resumed_from == 2


def _age_d(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / 86_400


def test_what_is_not_finished_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    remove_finished(tmp_path / "checkpoints")
    assert _train(tmp_path / "adapter", tmp_path / "checkpoints").resumed_from == 3


@pytest.mark.parametrize("changed", [{"learning_rate": 3e-3}, {"seed": 5}, {"lora": LoraConfig(r=2)}])
def test_another_training_does_not_take_it_up(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    other = _train(tmp_path / "adapter", tmp_path / "checkpoints", **changed)
    assert other.resumed_from == 0
    assert _is_the_same(other, _train(tmp_path / "alone", None, **changed))


def _the(pattern: str, folder: Path) -> Path:
    (path,) = folder.glob(f"*/{pattern}")
    return path


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [_flip_a_bit, _cut, Path.unlink])
@pytest.mark.parametrize("pattern", ["step-*.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_is_told_and_not_used(
    damage: Callable[[Path], None],
    pattern: str,
    uninterrupted: TrainingResult,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", checkpoints, stop_at=3)
    damage(_the(pattern, checkpoints))
    with caplog.at_level(logging.WARNING):
        again = _train(tmp_path / "adapter", checkpoints)
    assert again.adapter.checksum == uninterrupted.adapter.checksum
    is_gone = damage is Path.unlink and pattern == "checkpoint.json"
    # One flipped bit of JSON may be white space; then nothing is lost.
    assert is_gone or again.resumed_from == 3 or "begins anew" in caplog.text


def test_a_checkpoint_of_another_training_under_the_same_name_is_told_by_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    path = _the("checkpoint.json", tmp_path / "checkpoints")
    document = json.loads(path.read_text())
    document["identity"]["torch version"] = '"1.0"'
    path.write_text(json.dumps(document))
    with caplog.at_level(logging.WARNING):
        assert _train(tmp_path / "adapter", tmp_path / "checkpoints").resumed_from == 0
    assert "torch version" in caplog.text


def test_two_processes_at_the_same_training_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    with kept_checkpoints(tmp_path, {"a": "1"}, 0.0) as first, kept_checkpoints(tmp_path, {"a": "1"}, 0.0) as second:
        assert first.folder is not None
        assert second.folder is None
    with kept_checkpoints(tmp_path, {"a": "1"}, 0.0) as third:
        assert third.folder == first.folder


def test_a_disk_that_takes_no_checkpoint_costs_no_training(
    uninterrupted: TrainingResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        result = _train(tmp_path / "adapter", tmp_path / "checkpoints")
    assert _is_the_same(result, uninterrupted)
    assert "no checkpoint" in caplog.text


_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.core.test_checkpoints import train_and_tell
train_and_tell(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


def train_and_tell(folder: Path, checkpoints: Path, num_epochs: int) -> None:
    """What a process does that is killed: train, and tell each step on standard output."""
    torch.set_num_threads(1)
    settings = _config(num_train_epochs=num_epochs)
    result = train_adapter(
        splits(),
        settings,
        LABELS,
        folder,
        on_progress=lambda progress: print(f"step {progress.done}", flush=True),  # noqa: T201 - read by the test
        checkpoint_dir=checkpoints,
    )
    print(f"done {result.adapter.checksum} {result.resumed_from}", flush=True)  # noqa: T201


def _start(folder: Path, checkpoints: Path, num_epochs: int = 6) -> "subprocess.Popen[str]":
    script = _SCRIPT.format(root=str(Path(__file__).parents[2]))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(folder), str(checkpoints), str(num_epochs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _wait_for_step(process: "subprocess.Popen[str]", step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line == f"step {step}\n":
            return
    message = f"it ended before step {step}"
    raise AssertionError(message)


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_by_the_next_and_nothing_shows_it(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    whole = _start(tmp_path / "whole", tmp_path / "none").communicate(timeout=300)[0].split()
    for number, step in enumerate((3, 7)):
        process = _start(tmp_path / f"killed-{number}", checkpoints)
        _wait_for_step(process, step)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    done = _start(tmp_path / "adapter", checkpoints).communicate(timeout=300)[0].split()
    assert done[-3] == whole[-3] == "done"
    assert done[-2] == whole[-2]
    assert int(done[-1]) >= 6
    shutil.rmtree(checkpoints)


def test_the_number_of_threads_belongs_to_a_training(tmp_path: Path) -> None:
    """It decides the order of sums: going on with another would end with bytes that no single training has."""
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert _train(tmp_path / "adapter", tmp_path / "checkpoints").resumed_from == 0
    finally:
        torch.set_num_threads(before)


def test_when_checkpoints_are_made_does_not_make_it_another_training(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints", checkpoint_interval_s=7.0)
    assert again.resumed_from == 3
