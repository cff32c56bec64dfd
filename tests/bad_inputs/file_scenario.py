"""Files in a project, and what comes of reading them."""

from pathlib import Path

from ftzard.config import DataConfig
from ftzard.core.intake import Intake, take_in
from ftzard.core.reading import read_batches

CSV = b"text,label\ngood,p\nbad,n\n"
ROWS = [("good", "p"), ("bad", "n")]
PLAIN = DataConfig()


def put(project: Path, name: str, content: bytes = CSV, folder: str = "data/raw") -> Path:
    path = project / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows_of(project: Path, config: DataConfig | None = None) -> list[tuple[str, str]]:
    return read_batches(project, config or PLAIN).examples.select("text", "label").rows()


def taken_in(project: Path, config: DataConfig) -> Intake:
    first = take_in(project, config, project / "staging", {}, settle_s=1, now_s=1000)
    return take_in(project, config, project / "staging", first.sightings, settle_s=1, now_s=1001)
