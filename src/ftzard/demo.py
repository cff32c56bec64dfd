"""The demo: a fresh project, real tweets, a real LLM, and what to look at afterwards."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftzard.assets.evaluation import score_table
from ftzard.composition import compose
from ftzard.core.evaluation_report import EvaluationReport
from ftzard.core.gate import PromotionVerdict
from ftzard.core.records import ASSETS_DIR
from ftzard.core.tweets import sample_tweets
from ftzard.errors import StorageError
from ftzard.io_managers.committing import PRIVATE_DIR
from ftzard.io_managers.document import read_document
from ftzard.materialization import Materialization, materialize
from ftzard.project_template import CONFIG, primary_config, write_project
from ftzard.resources.git import Git
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import RunSummary, Tracking

# About 1,000 for training, 190 for validation and 400 for test, with the fractions of conf/data/tweets.yaml.
_NUM_TWEETS = 1600
_SEED = 0
_TWEETS = "data/raw/tweets.csv"
_DEMO_RECIPE = "- experiment: demo"

_LOOK = """\
To look at it all, and to let it go on by itself:
  cd {workspace}
  DAGSTER_HOME=$PWD/.dagster dagster dev              # assets, pictures and checks: http://127.0.0.1:3000
  mlflow ui --backend-store-uri sqlite:///mlflow.db   # runs: http://127.0.0.1:5000
While dagster dev runs, put files without labels into data/incoming/ to have them predicted, label what
`ftzard labels export` asks for, and put labelled files into data/labelled/ to have the adapter trained again."""


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo showed.

    Attributes:
        text: For a person at a terminal.
        document: For a program, in JSON types.
    """

    text: str
    document: Mapping[str, Any]


def run_demo(workspace: Path, overrides: Sequence[str] = ()) -> DemoOutcome:
    """Make a project with real tweets, materialize its spine, and tell what came out.

    Called again with the same workspace it finds what is done and does only what is missing.

    Args:
        workspace: The project folder; made if missing.
        overrides: On top of the recipe `experiment=demo`.

    Raises:
        StorageError: The folder holds something else.
        FtzardError: As the steps of the pipeline.
    """
    start = time.monotonic()
    make_demo_project(workspace)
    done = materialize(workspace, overrides)
    report = read_document(EvaluationReport, workspace / "data" / ASSETS_DIR / "metrics.json")
    tracking = Tracking(compose(overrides, project_dir=workspace).tracking, workspace)
    runs = tracking.runs()
    verdict = read_document(PromotionVerdict, workspace / PRIVATE_DIR / ASSETS_DIR / "champion.json")
    commits = _data_commits(workspace)
    document = _document(report, workspace, commits, tracking, runs, time.monotonic() - start)
    champion = AdapterRegistry(tracking).champion()
    serving = f"version {champion.version}" if champion else "none"
    lines = (f"Champion: {serving}.", f"The gate's verdict on the newest adapter: {verdict.sentence}.")
    return DemoOutcome(_text(done, report, "\n".join(lines), workspace, commits, runs), document)


def make_demo_project(workspace: Path) -> None:
    """Make a folder a git repository with DVC, a local DVC remote, FTzard's configuration and the tweets.

    Raises:
        StorageError: The folder holds something that is no demo project.
    """
    is_demo = _is_demo(workspace)
    if workspace.is_dir() and any(workspace.iterdir()) and not is_demo:
        raise StorageError(
            f"{workspace} is not empty and not a demo project", fix="give another folder with --workspace"
        )
    if is_demo and (workspace / _TWEETS).is_file():
        return
    tweets = sample_tweets(_NUM_TWEETS, seed=_SEED)
    # The configuration comes first, because it says whose folder this is. The git repository is one of its own, because
    # the workspace may lie in somebody's; `make demo` puts it into this one.
    config = primary_config({"experiment": "demo"})
    write_project(workspace, {CONFIG: config}, "Configure the demo", remote=workspace / "dvc-remote")
    (workspace / _TWEETS).parent.mkdir(parents=True, exist_ok=True)
    # Last and at once, because its presence says that the project is complete.
    partial = workspace / f"{_TWEETS}.tmp"
    tweets.write_csv(partial)
    partial.replace(workspace / _TWEETS)


def _is_demo(workspace: Path) -> bool:
    """Whether the folder's configuration chooses the demo's recipe; any other project is somebody's own."""
    path = workspace / CONFIG
    return path.is_file() and _DEMO_RECIPE in path.read_text(encoding="utf-8", errors="replace")


def _data_commits(workspace: Path) -> list[tuple[str, str]]:
    """Id and subject of each data commit, oldest first."""
    log = Git.find(workspace).run("log", "--reverse", "--format=%H%x09%s", "--", "data.dvc")
    return [(line.partition("\t")[0], line.partition("\t")[2]) for line in log.splitlines()]


def _document(
    report: EvaluationReport,
    workspace: Path,
    commits: Sequence[tuple[str, str]],
    tracking: Tracking,
    runs: Sequence[RunSummary],
    seconds: float,
) -> dict[str, Any]:
    return {
        "macro_f1": report.adapter.metrics["macro_f1"].value,
        "accuracy": report.adapter.metrics["accuracy"].value,
        "baseline_macro_f1": report.baseline.metrics["macro_f1"].value,
        "majority_macro_f1": report.majority.metrics["macro_f1"].value,
        "difference": report.difference.value,
        "difference_low": report.difference.low,
        "difference_high": report.difference.high,
        "num_train": report.num_train,
        "num_test": report.num_test,
        "seconds": round(seconds, 1),
        "adapter_dir": str(workspace / "data" / ASSETS_DIR / "lora_adapter"),
        "commits": [commit_id for commit_id, _ in commits],
        "mlflow": {
            "experiment": tracking.config.experiment,
            "runs": [
                {
                    "step": run.step,
                    "parent_run_id": run.parent_run_id,
                    "run_id": run.run_id,
                    "status": run.status,
                }
                for run in runs
            ],
        },
    }


def _text(
    done: Materialization,
    report: EvaluationReport,
    champion: str,
    workspace: Path,
    commits: Sequence[tuple[str, str]],
    runs: Sequence[RunSummary],
) -> str:
    ran = (
        f"Materialized: {', '.join(done.ran)}." if done.ran else "Nothing to do: everything is as it was materialized."
    )
    sections = [
        ran,
        f"Scores on {report.num_test} test tweets, with 95 % intervals ({report.num_train} for training):",
        _aligned([score_table(report).columns, *score_table(report).rows()]),
        report.sentence,
        champion,
        "Data commits (git log data.dvc):",
        "\n".join(f"  {commit_id[:10]}  {subject}" for commit_id, subject in commits),
        "MLflow runs, by step:",
        "\n".join(f"  {run.step}\n    {run.name}  {run.status}  {run.run_id}" for run in runs),
        f"The adapter: {workspace / 'data' / ASSETS_DIR / 'lora_adapter'}",
        _LOOK.format(workspace=workspace),
    ]
    return "\n\n".join(sections)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(f"  {line}" for line in lines)
