"""SIGTERM in the middle of a training: the process ends, and the next materialization goes on and ends the same."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.project_scenario import materializations, run, tracking

# A checkpoint after every step shows that it is in the middle of the training.
_OVERRIDES = (
    "training.num_train_epochs=40",
    "training.lora.lora_dropout=0.1",
    "training.checkpoint_interval_s=0",
)
_TIMEOUT_S = 120.0


def _terminated_in_training(project: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", "-c", "from ftzard.cli import main; main()", "materialize"]
    process = subprocess.Popen(
        [*command, "--project", str(project), "experiment=tiny", *_OVERRIDES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + _TIMEOUT_S
    while not list((project / ".ftzard" / "checkpoints").glob("*/checkpoint.json")) and time.monotonic() < give_up:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, told = process.communicate(timeout=_TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, said, told)


@pytest.mark.slow
def test_a_terminated_training_goes_on_with_the_next_materialization_and_ends_with_the_same_bytes(
    project: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project, tmp_path / "other", symlinks=True)
    done = _terminated_in_training(project)
    assert done.returncode == 130, done.stderr
    assert "Interrupted." in done.stderr
    assert "Traceback" not in done.stderr
    assert list((project / ".ftzard" / "checkpoints").glob("*/checkpoint.json"))
    trainings = [each for each in tracking(project).runs() if each.step == "TRAINING"]
    assert [each.status for each in trainings] == ["KILLED"]

    run(project, *_OVERRIDES)
    resumed = materializations(project, ["lora_adapter"])["lora_adapter"].metadata["resumed_from_step"].value
    assert isinstance(resumed, int)
    assert resumed > 0
    assert not list((project / ".ftzard" / "checkpoints").iterdir())
    run(other, *_OVERRIDES)
    weights = [each / "data" / "assets" / "lora_adapter" / "adapter_model.safetensors" for each in (project, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "resumed_from_step" not in materializations(other, ["lora_adapter"])["lora_adapter"].metadata
