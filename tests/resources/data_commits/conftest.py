"""Projects to commit the data of, with real git and real DVC."""

import shutil
from pathlib import Path

import pytest
from tests.resources.data_scenario import isolate, make_project, template_folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    isolate(monkeypatch, home)
    return home


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one commit of the person and DVC. Made once and copied: most of a second each."""
    with template_folder(tmp_path_factory) as folder:
        return make_project(folder)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of the template; unless the module has another one, with data that nobody has committed yet."""
    return shutil.copytree(template, tmp_path / "project", symlinks=True)
