"""Every file below `conf/` says which command uses it, and that command composes."""

import shlex
from pathlib import Path

import pytest
import yaml

from ftzard.composition import bundled_conf_dir, compose, to_dict

_CONF = bundled_conf_dir()
_FILES = sorted(_CONF.rglob("*.yaml"))
_GROUPS_AND_OPTIONS = [path for path in _FILES if path.parent != _CONF]


def _name(path: Path) -> str:
    return path.relative_to(_CONF).as_posix()


def _opening_comment(path: Path) -> list[str]:
    """The comment lines a file begins with; Hydra wants its package directive on the very first."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return lines


def _overrides_in(command: str) -> list[str]:
    return [word for word in shlex.split(command) if "=" in word]


def _choice_of(path: Path) -> list[str]:
    """The overrides that choose a file, and those that its command gives besides: some are needed."""
    group, option = path.relative_to(_CONF).with_suffix("").as_posix().rsplit("/", 1)
    given = _overrides_in(_opening_comment(path)[0])
    return [f"{group}={option}", *(override for override in given if not override.startswith(f"{group}="))]


def _keys(document: object) -> set[str]:
    if isinstance(document, dict):
        return {str(key) for key in document}.union(*(_keys(value) for value in document.values()))
    if isinstance(document, list):
        return set[str]().union(*(_keys(value) for value in document))
    return set()


def test_the_recipes_and_groups_that_the_documentation_names_are_there() -> None:
    assert {
        "config.yaml",
        "experiment/demo.yaml",
        "experiment/tiny.yaml",
        "experiment/sentiment140_falcon_7b.yaml",
        "experiment/sentiment140_llama3_8b.yaml",
        "model/smollm2_135m.yaml",
    } <= {_name(path) for path in _FILES}
    assert {path.parent.name for path in _GROUPS_AND_OPTIONS} >= {
        "data", "model", "training", "evaluation", "tracking", "versioning",
    }  # fmt: skip


@pytest.mark.parametrize("path", _GROUPS_AND_OPTIONS, ids=_name)
def test_a_file_composes_when_it_is_chosen(path: Path) -> None:
    compose(_choice_of(path))


@pytest.mark.parametrize("path", _FILES, ids=_name)
def test_a_file_begins_with_the_command_that_uses_it(path: Path) -> None:
    command = _opening_comment(path)[0]
    program, subcommand, *_ = shlex.split(command)
    assert program == "ftzard"
    assert subcommand in {"config", "demo", "materialize"}
    if path in _GROUPS_AND_OPTIONS and subcommand == "materialize":
        assert f"{path.parent.name}={path.stem}" in _overrides_in(command)


@pytest.mark.parametrize("path", _FILES, ids=_name)
def test_every_command_in_the_opening_comment_composes(path: Path) -> None:
    commands = [line for line in _opening_comment(path) if line.startswith("ftzard ")]
    assert commands
    for command in commands:
        compose(_overrides_in(command))


@pytest.mark.parametrize("path", _GROUPS_AND_OPTIONS, ids=_name)
def test_each_value_a_file_sets_is_the_value_that_is_used(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    document.pop("defaults", None)
    group = path.parent.relative_to(_CONF).as_posix()
    values = to_dict(compose(_choice_of(path)))
    given = document if group == "experiment" else {group: document}
    assert _merged(values, given) == values


def _merged(values: object, given: object) -> object:
    """`given` over `values`, numbers as YAML 1.1 reads them (`1e-3` is a text to it)."""
    if isinstance(values, dict) and isinstance(given, dict):
        return values | {key: _merged(values.get(key), value) for key, value in given.items()}
    return float(given) if isinstance(values, float) and isinstance(given, str) else given


@pytest.mark.parametrize("path", _FILES, ids=_name)
def test_no_file_names_a_class_to_instantiate(path: Path) -> None:
    assert "_target_" not in _keys(yaml.safe_load(path.read_text(encoding="utf-8")))
