"""The command line: what it prints, and that it ends with 0 or 1."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.project_scenario import copy_of, git

from ftzard.cli import main
from ftzard.composition import compose, to_dict


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def _call_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script as a person's shell runs it."""
    script = Path(sys.executable).with_name("ftzard")
    return subprocess.run([str(script), *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands(option: str) -> None:
    result = _call(option)
    assert result.exit_code == 0
    assert all(command in result.output for command in ("champion", "config", "demo", "materialize"))


@pytest.mark.parametrize("command", ["champion", "config", "demo", "materialize"])
def test_each_command_has_a_help_of_its_own(command: str) -> None:
    result = _call(command, "--help")
    assert result.exit_code == 0
    assert "KEY=VALUE" in result.output


def test_the_version_is_that_of_the_package() -> None:
    result = _call("--version")
    assert result.exit_code == 0
    assert "0.1.0" in result.output


def test_config_prints_the_composed_configuration_as_yaml(project: Path) -> None:
    result = _call("config", "--project", str(project), "experiment=tiny", "training.learning_rate=1e-4")
    assert result.exit_code == 0
    printed = yaml.safe_load(result.stdout)
    config = compose(["experiment=tiny", "training.learning_rate=1e-4"], project_dir=project)
    assert printed == to_dict(config)
    assert printed["training"]["learning_rate"] == 1e-4
    assert printed["model"]["base_model"] == "random:tiny-llama"


@pytest.mark.parametrize(("place", "command"), [(".ftzard", "champion"), (".dagster", "history")])
def test_a_project_that_may_not_be_written_is_told_without_a_traceback(
    tracked_project: Path, place: str, command: str
) -> None:
    # Where nobody may make a file, whoever runs the tests.
    (tracked_project / place).symlink_to("/sys")
    result = _call(command, "--project", str(tracked_project))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert place in result.stderr or "/sys" in result.stderr
    assert "look at the permissions" in result.stderr


def test_config_reads_the_projects_own_recipes(project: Path) -> None:
    (project / "conf" / "experiment").mkdir(parents=True)
    (project / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\ntraining: {seed: 7}\n")
    # What the project's folder lacks comes from FTzard's own.
    result = _call("config", "--project", str(project), "experiment=mine")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["training"]["seed"] == 7


def test_a_known_failure_is_two_sentences_on_stderr_and_exit_code_1(project: Path) -> None:
    result = _call("config", "--project", str(project), "training.learning_rat=1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: Unknown key 'training.learning_rat'")
    assert "To fix it: did you mean training.learning_rate" in result.stderr
    assert "Traceback" not in result.output


def test_a_project_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    result = _call("materialize", "--project", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_materialize_says_what_it_did_and_then_that_there_is_nothing_to_do(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "data" / "assets" / "metrics.json").unlink()
    first = _call("materialize", "--project", str(project), "experiment=tiny")
    assert first.exit_code == 0, first.output
    assert "Materialized metrics, champion in Dagster run" in first.stdout
    unchanged = "raw_data, cleaned, splits, retrain_decision, tuned_hyperparameters, lora_adapter, predictions"
    assert f"Unchanged: {unchanged}." in first.stdout
    second = _call("materialize", "--project", str(project), "experiment=tiny")
    assert second.exit_code == 0
    assert second.stdout.startswith("Nothing to do")


def test_the_console_script_finds_nothing_to_do_in_the_current_folder(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    head = git(project, "rev-parse", "HEAD")
    done = _call_script(project, "materialize", "experiment=tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing to do")
    assert git(project, "rev-parse", "HEAD") == head


def test_the_console_script_tells_a_failing_step_without_a_traceback(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "data" / "raw" / "empty.csv").write_text("text,label\n")
    done = _call_script(project, "materialize", "experiment=tiny")
    assert done.returncode == 1
    assert "Error: data/raw/empty.csv" in done.stderr
    assert "To fix it:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
