"""A training through TRL that is interrupted at any step and gone on with ends with the bytes of one that was not."""

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.core.answer_scenario import config, examples

from ftzard.config import FtzardConfig, LoraConfig
from ftzard.core.answer_training import train_answers
from ftzard.core.checkpoints import remove_finished
from ftzard.core.progress import Progress
from ftzard.core.records import Splits
from ftzard.core.training import TrainingResult

pytestmark = pytest.mark.usefixtures("one_thread")


def _config(task: str, **training: Any) -> FtzardConfig:
    """Two epochs of three steps with dropout, in micro-batches, with a checkpoint after every step."""
    settings: dict[str, Any] = {
        "train_batch_size": 4,
        "max_tokens_per_batch": 60,
        "checkpoint_interval_s": 0.0,
        "lora": LoraConfig(r=4, lora_dropout=0.3 if task == "generation" else 0.0),
    }
    return config(task, **(settings | training))


def _train(
    folder: Path, checkpoints: Path | None, task: str = "generation", *, stop_at: int | None = None, **training: Any
) -> TrainingResult:
    def on_progress(progress: Progress) -> None:
        if progress.done == stop_at:
            raise KeyboardInterrupt

    parts = Splits(examples(12, 1, task), examples(4, 2, task), examples(4, 3, task))
    return train_answers(parts, _config(task, **training), folder, on_progress=on_progress, checkpoint_dir=checkpoints)


def _is_the_same(one: TrainingResult, other: TrainingResult) -> bool:
    """The same adapter, and the same curve but for the time it took."""
    curves_are_equal = one.curve.drop("seconds").equals(other.curve.drop("seconds"))
    return (
        one.adapter.checksum == other.adapter.checksum and curves_are_equal and one.validation.equals(other.validation)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingResult]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {task: _train(folder / task, None, task) for task in ("generation", "preference")}


@pytest.mark.parametrize(
    ("task", "step"),
    [*(("generation", step) for step in range(1, 7)), ("preference", 3), ("preference", 5)],
)
def test_interrupted_at_any_step_it_ends_with_the_same_bytes(
    uninterrupted: dict[str, TrainingResult], tmp_path: Path, task: str, step: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", task, stop_at=step)
    assert not (tmp_path / "never").exists()
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints", task)
    assert again.resumed_from == step
    assert uninterrupted[task].curve.height == 6
    assert _is_the_same(again, uninterrupted[task])


def test_packed_rows_are_gone_on_with_too(tmp_path: Path) -> None:
    packed: dict[str, Any] = {"packing": True, "train_batch_size": 1}
    whole = _train(tmp_path / "whole", None, **packed)
    step = whole.curve.height - 1
    # In the second epoch, and not at its end.
    assert whole.curve["epoch"].to_list()[step - 1 :] == [2, 2]
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=step, **packed)
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints", **packed)
    assert (again.resumed_from, _is_the_same(again, whole)) == (step, True)


def test_after_an_error_it_goes_on_from_the_last_checkpoint_before(
    uninterrupted: dict[str, TrainingResult], tmp_path: Path
) -> None:
    """As after a kill, which saves nothing either: what led to the error may be in the step."""

    def fail(progress: Progress) -> None:
        if progress.done == 5:
            raise ZeroDivisionError

    parts = Splits(examples(12, 1), examples(4, 2), examples(4, 3))
    with pytest.raises(ZeroDivisionError):
        train_answers(
            parts, _config("generation"), tmp_path / "never", on_progress=fail, checkpoint_dir=tmp_path / "checkpoints"
        )
    again = _train(tmp_path / "adapter", tmp_path / "checkpoints")
    assert again.resumed_from == 4
    assert _is_the_same(again, uninterrupted["generation"])


def test_the_steps_that_were_taken_are_not_taken_again_and_the_end_is_kept_until_the_adapter_is_stored(
    uninterrupted: dict[str, TrainingResult], tmp_path: Path
) -> None:
    _train(tmp_path / "lost", tmp_path / "checkpoints")
    seen: list[int] = []
    parts = Splits(examples(12, 1), examples(4, 2), examples(4, 3))
    again = train_answers(
        parts,
        _config("generation"),
        tmp_path / "adapter",
        on_progress=lambda progress: seen.append(progress.done),
        checkpoint_dir=tmp_path / "checkpoints",
    )
    assert seen == []
    assert again.resumed_from == uninterrupted["generation"].curve.height
    assert _is_the_same(again, uninterrupted["generation"])
    assert [path.suffix for path in (tmp_path / "checkpoints").glob("*/*")].count(".safetensors") == 1
    assert {path.suffix for path in (tmp_path / "checkpoints").glob("*/*")} == {".json", ".safetensors"}
    remove_finished(tmp_path / "checkpoints")
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("changed", [{"learning_rate": 3e-3}, {"packing": True}])
def test_another_training_does_not_take_it_up(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=1)
    assert _train(tmp_path / "adapter", tmp_path / "checkpoints", **changed).resumed_from == 0


def test_a_damaged_checkpoint_is_told_and_not_used(
    uninterrupted: dict[str, TrainingResult], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "never", tmp_path / "checkpoints", stop_at=3)
    (path,) = (tmp_path / "checkpoints").glob("*/*.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = _train(tmp_path / "adapter", tmp_path / "checkpoints")
    assert "begins anew" in caplog.text
    assert (again.resumed_from, _is_the_same(again, uninterrupted["generation"])) == (0, True)
