"""Loading a code location is cheap: nothing heavy is imported, nothing is composed and nothing is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_HEAVY = {
    "accelerate", "bitsandbytes", "dataframely", "datasets", "dvc", "hydra", "kubernetes", "matplotlib", "mlflow",
    "omegaconf", "peft", "sklearn", "torch", "transformers", "trl",
}  # fmt: skip


def _modules_after(statement: str, folder: Path) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after a statement."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import ftzard.definitions",
        "import dagster as dg; from ftzard.definitions import defs; dg.Definitions.validate_loadable(defs)",
        "import ftzard.materialization, ftzard.cli, ftzard.core.records, ftzard.assets.training",
    ],
)
def test_loading_imports_nothing_heavy_and_writes_nothing(statement: str, tmp_path: Path) -> None:
    modules = _modules_after(statement, tmp_path)
    assert "dagster" in modules
    assert modules & _HEAVY == set()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_not_even_dagster(tmp_path: Path) -> None:
    modules = _modules_after("import ftzard; dir(ftzard)", tmp_path)
    assert "ftzard" in modules
    assert modules & {*_HEAVY, "dagster", "polars", "pydantic"} == set()


def test_loading_needs_no_project_and_heeds_no_broken_conf(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("training: {seed: not a number}\n")
    assert "dagster" in _modules_after("from ftzard.definitions import defs; assert defs.assets", tmp_path)


def test_loading_warns_of_nothing(tmp_path: Path) -> None:
    code = "import dagster as dg; from ftzard.definitions import defs; dg.Definitions.validate_loadable(defs)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
