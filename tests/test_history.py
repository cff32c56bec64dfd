"""`ftzard history`: what was materialized, when, and what became of it."""

import json
from pathlib import Path

from click.testing import CliRunner, Result
from tests.project_scenario import COMMITTED, NAMES, git, tracking

from ftzard.cli import main
from ftzard.history import read_history


def _history(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["history", *arguments, "--project", str(project)])


def test_every_asset_stands_in_it_in_the_order_it_was_made(materialized_project: Path) -> None:
    entries = read_history(materialized_project)
    assert tuple(entry.asset for entry in entries) == NAMES
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)


def test_an_entry_names_the_rows_the_commit_and_the_runs(materialized_project: Path) -> None:
    runs = {run.run_id for run in tracking(materialized_project).runs()}
    commits = git(materialized_project, "log", "--format=%H").splitlines()
    for entry in read_history(materialized_project):
        assert entry.mlflow_run_id in runs
        assert (entry.commit_id in commits) == (entry.asset in COMMITTED)
    (raw_data,) = read_history(materialized_project, "raw_data")
    assert raw_data.num_rows == 72


def test_what_was_decided_stands_beside_a_decision(materialized_project: Path) -> None:
    verdicts = {entry.asset: entry.verdict for entry in read_history(materialized_project) if entry.verdict}
    assert set(verdicts) == {"retrain_decision", "metrics", "champion"}
    assert verdicts["retrain_decision"] == "retrain"


def test_the_command_prints_a_line_for_each_and_json_for_programs(materialized_project: Path) -> None:
    lines = _history(materialized_project).output.splitlines()
    assert len(lines) == 1 + len(NAMES)
    assert lines[1].split()[2] == "raw_data"
    one = json.loads(_history(materialized_project, "cleaned", "--json").output)
    assert [entry["asset"] for entry in one] == ["cleaned"]
    assert one[0]["time"].endswith("+00:00")


def test_a_look_at_a_project_without_history_makes_nothing(project: Path) -> None:
    before = sorted(project.iterdir())
    assert "Nothing has been materialized yet" in _history(project).output
    assert "splits has not been materialized yet: `ftzard materialize` does" in _history(project, "splits").output
    # No command makes these.
    told = _history(project, "incoming_predictions").output
    assert "incoming_predictions has not been materialized yet: `dagster dev` does" in told
    assert sorted(project.iterdir()) == before


def test_an_asset_that_does_not_exist_is_told_the_names(project: Path) -> None:
    done = _history(project, "adapter")
    assert done.exit_code == 1
    assert "lora_adapter" in done.output
