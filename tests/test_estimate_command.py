"""`ftzard estimate` before and after a training, and a training that is refused because it cannot fit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.project_scenario import TINY, copy_of, failure_of, file_bytes, materializations, tracking

from ftzard.cli import main
from ftzard.errors import DoesNotFitError


def _estimate(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["estimate", "--project", str(project), *TINY, *arguments])


def test_a_project_without_splits_gets_an_estimate_and_stays_as_it_was(project: Path) -> None:
    before = file_bytes(project)
    result = _estimate(project)
    assert result.exit_code == 0, result.output
    assert "It fits." in result.output
    assert "the texts are not known yet" in result.output
    assert file_bytes(project) == before


def test_after_a_training_the_estimate_knows_its_texts_and_how_fast_it_was(materialized_project: Path) -> None:
    result = _estimate(materialized_project, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["seconds"] > 0
    metrics, _ = tracking(materialized_project).last_run(("TRAINING",))
    assert document["efficiency"] == metrics["efficiency"]
    other = json.loads(_estimate(materialized_project, "--json", "model.dtype=float32", "training.lora.r=8").stdout)
    assert other["num_trainable_parameters"] > document["num_trainable_parameters"]


def test_a_training_records_what_it_took_and_the_errors_of_the_estimate(materialized_project: Path) -> None:
    metrics, _ = tracking(materialized_project).last_run(("TRAINING",))
    shown = materializations(materialized_project)["lora_adapter"].metadata
    for name in ("estimate_memory_error", "estimate_time_error", "peak_memory_bytes", "efficiency"):
        assert shown[name].value == pytest.approx(metrics[name])
    assert metrics["peak_memory_bytes"] > 0
    error = metrics["estimated_memory_bytes"] / metrics["peak_memory_bytes"] - 1
    assert metrics["estimate_memory_error"] == pytest.approx(error)
    assert shown["token_budget"].value == "2048 tokens at once, as configured"


def test_a_training_that_cannot_fit_is_refused_before_it_loads_anything(
    materialized_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_of(materialized_project, tmp_path)
    monkeypatch.setattr("ftzard.core.estimate.free_bytes", lambda _: 1000)
    monkeypatch.setattr("ftzard.core.training.borrowed_base_model", lambda *_: pytest.fail("it was loaded"))
    error = failure_of(project, "training.learning_rate=2e-3")
    assert isinstance(error, DoesNotFitError)
    assert "1,000" in error.what
    result = _estimate(project)
    assert result.exit_code == 3
    assert "It does not fit: try " in result.output


@pytest.mark.slow
def test_a_large_model_is_estimated_from_its_configuration_alone(project: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from ftzard.core.tiny_model import build_tiny_tokenizer

    folder = tmp_path / "seventy"
    LlamaConfig(
        hidden_size=8192, intermediate_size=28672, num_hidden_layers=2, num_attention_heads=64, num_key_value_heads=8
    ).save_pretrained(folder)
    build_tiny_tokenizer().save_pretrained(folder)
    limited = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, resource.getrlimit(resource.RLIMIT_DATA)[1]))
from ftzard.cli import main
main(sys.argv[1:])
"""
    arguments = ["estimate", "--json", "--project", str(project), *TINY, f"model.base_model={folder}"]
    arguments += ["model.dtype=float32", "training.device=cpu"]
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False, cwd=project
    )
    assert done.returncode in {0, 3}, done.stderr
    # Two layers of 70B's size: 1.7 billion numbers of 4 bytes, in a process that may have less than that.
    assert json.loads(done.stdout)["bytes"]["base weights"] > 6 * 2**30
