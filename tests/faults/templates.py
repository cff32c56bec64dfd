"""Projects to begin a trial with; made once, and copied for each."""

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from tests.faults.injection import Fault, run_with
from tests.faults.operations import keep_waiting, materialize, serve, take_in_file
from tests.faults.project import make_project

from ftzard.config import TrackingConfig
from ftzard.resources.moved_store import follow_project

_CONF = Path(__file__).parents[2] / "conf"


class Templates:
    """Projects in different states.

    Args:
        folder: Where they are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def fresh(self) -> Path:
        """Nothing was materialized, and there is no MLflow store: making one takes seconds."""
        return self._made("fresh", make_project)

    @cached_property
    def stored(self) -> Path:
        """Nothing was materialized; MLflow's tables are there."""
        # Here, not in the process that makes it, which would not tell this one that it is there.
        source = self.fresh

        source = self.fresh

        def make(folder: Path) -> None:
            shutil.copytree(source, folder, symlinks=True)
            from ftzard.resources.tracking import Tracking

            Tracking(TrackingConfig(), folder).runs()

        return self._made("stored", make)

    @cached_property
    def materialized(self) -> Path:
        """Everything was materialized once."""
        source = self.stored

        source = self.stored

        def make(folder: Path) -> None:
            copy_project(source, folder)
            materialize(folder)

        return self._made("materialized", make)

    @cached_property
    def second_batch(self) -> Path:
        """Everything was materialized once, and a second batch has come."""
        source = self.materialized

        source = self.materialized

        def make(folder: Path) -> None:
            copy_project(source, folder)
            add_batch(folder)

        return self._made("second-batch", make)

    @cached_property
    def served(self) -> Path:
        """As `second_batch`, with a file that came in and was predicted, settings, and something that waits."""
        source = self.materialized

        source = self.materialized

        def make(folder: Path) -> None:
            copy_project(source, folder)
            (folder / "conf").mkdir(exist_ok=True)
            shutil.copy(_CONF / "experiment" / "tiny.yaml", _made_folder(folder / "conf" / "experiment"))
            take_in_file(folder)
            serve(folder)
            add_batch(folder)
            keep_waiting(folder)

        return self._made("served", make)

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        folder = self._folder / name
        outcome = run_with(Fault(), lambda: make(folder) and None)
        if outcome.exit_code != 0:
            raise RuntimeError(outcome.error)
        return folder


def copy_project(template: Path, folder: Path) -> Path:
    """A copy that knows nothing of where it came from."""
    shutil.copytree(template, folder, symlinks=True)
    store = folder / "mlflow.db"
    if store.is_file():
        follow_project(store, template, folder)
    return folder


def add_batch(project: Path, name: str = "second.csv") -> None:
    """A second batch arrives."""
    things = ("river", "cake", "bus", "window", "shirt", "story", "game", "shop")
    opinions = {"was lovely": "good", "is a joy": "good", "was awful": "bad", "is a shame": "bad"}
    rows = [f"That {thing} {opinion},{label}" for thing in things for opinion, label in opinions.items()]
    (project / "data" / "raw" / name).write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")


def _made_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
