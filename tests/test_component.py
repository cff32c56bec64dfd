"""A pipeline in a code location that is written in YAML."""

import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTreeException

from ftzard.component import FtzardComponent
from ftzard.resources.configuration import ConfigurationResource

_PYPROJECT = """\
[project]
name = "somebodys-location"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "somebodys_location"
"""
_OWN = """\
import dagster as dg

@dg.asset
def reviews() -> None: ...
"""
_COMPONENT = """\
type: ftzard.component.FtzardComponent
attributes:
  project_dir: {project_dir}
  overrides: ["experiment=tiny"]
"""


@pytest.fixture
def defs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The layout that `dg` makes, with an asset of somebody's own."""
    folder = tmp_path / "somebodys_location" / "defs"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(_PYPROJECT)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "own.py").write_text(_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "somebodys_location"]:
        del sys.modules[name]


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "defs.yaml").write_text(text)


def _load(folder: Path) -> dg.Definitions:
    definitions: dg.Definitions = dg.load_from_defs_folder(path_within_project=folder)
    dg.Definitions.validate_loadable(definitions)
    return definitions


def _configuration(definitions: dg.Definitions, name: str) -> ConfigurationResource:
    with dg.build_resources({"it": (definitions.resources or {})[name]}) as resources:
        found = resources.it
    assert isinstance(found, ConfigurationResource)
    return found


def test_two_pipelines_stand_beside_somebodys_own_asset(defs_folder: Path) -> None:
    _write(defs_folder, "tweets", _COMPONENT.format(project_dir="../project"))
    more = "  name: mails\n  key_prefix: [team, mails]\n  deps: [reviews]\n  automation: true\n"
    _write(defs_folder, "mails", _COMPONENT.format(project_dir='"{{ project_root }}/other"') + more)
    definitions = _load(defs_folder)
    graph = definitions.resolve_asset_graph()
    assert {"reviews", "metrics", "team/mails/metrics"} <= {
        key.to_user_string() for key in graph.materializable_asset_keys
    }
    assert dg.AssetKey("reviews") in graph.get(dg.AssetKey(["team", "mails", "raw_data"])).parent_keys
    assert dg.AssetKey("reviews") not in graph.get(dg.AssetKey("raw_data")).parent_keys
    running = {one.name for one in definitions.sensors or [] if one.default_status is dg.DefaultSensorStatus.RUNNING}
    assert running == {f"mails_{what}" for what in ("automation", "dead_runs", "incoming_files", "labelled_batches")}
    # The location's own executor is left to it.
    assert definitions.executor is None
    project, other = defs_folder / "project", defs_folder.parents[1] / "other"
    assert _configuration(definitions, "ftzard_configuration").project_path == project
    assert _configuration(definitions, "mails_configuration").project_path == other
    assert _configuration(definitions, "mails_configuration").base_overrides == ["experiment=tiny"]


def test_all_steps_can_share_a_process(defs_folder: Path) -> None:
    _write(defs_folder, "tweets", _COMPONENT.format(project_dir=".") + "  in_process: true\n")
    assert _load(defs_folder).executor is dg.in_process_executor


@pytest.mark.parametrize(
    ("line", "said"),
    [("nmae: tweets", "attributes.nmae"), ("name: two words", "name = 'two words' cannot be part of a resource key")],
)
def test_an_attribute_that_cannot_be_is_named_with_its_file(defs_folder: Path, line: str, said: str) -> None:
    _write(defs_folder, "tweets", _COMPONENT.format(project_dir=".") + f"  {line}\n")
    with pytest.raises(ComponentTreeException, match=r"defs\.yaml") as caught:
        _load(defs_folder)
    assert said in str(caught.value.__cause__)


def test_dagsters_tools_find_the_component_by_the_packages_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["dagster_dg_cli.registry_modules"].values()
    assert importlib.import_module(module).FtzardComponent is FtzardComponent
