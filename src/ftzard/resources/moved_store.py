"""MLflow's SQLite store in a project that is somewhere else by now: moved, renamed or copied.

MLflow keeps the places of artifacts as absolute URIs and has no call that changes one. Left as they are, a moved
project finds none of its adapters, and what it logs goes to a folder that is made anew where it was; what a copy logs
goes to the original.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

# MLflow's columns that hold places, each with its table.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
# As long as MLflow itself waits for another process.
_TIMEOUT_S = 20.0


def project_of(store: Path, relative: str) -> Path | None:
    """The project folder in which a relative path names a store; None where it leads out of the project.

    Args:
        store: An absolute path that was made of both.
        relative: As the configuration has it.
    """
    parts = Path(relative).parts
    inside = bool(parts) and not Path(relative).is_absolute() and ".." not in parts
    if not inside or store.parts[-len(parts) :] != parts:
        return None
    return store.parents[len(parts) - 1]


def follow_project(store: Path, before: Path, now: Path) -> int:
    """Let all places in a store that lie in the project be where the project is now; all of them or none.

    Args:
        store: The SQLite file.
        before: Where the project was when the places were noted.
        now: Where it is.

    Returns:
        How many places there were.

    Raises:
        sqlite3.Error: The file is locked for long, or is none of MLflow's.
    """
    places = {"before": f"{before.as_uri()}/", "now": f"{now.as_uri()}/"}
    with closing(sqlite3.connect(store, timeout=_TIMEOUT_S)) as connection, connection:
        return sum(connection.execute(_statement(*column), places).rowcount for column in _COLUMNS)


def _statement(table: str, column: str) -> str:
    # Not `LIKE` and not `replace`: a place may hold their wildcards, or the beginning twice.
    return (
        f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1)"  # noqa: S608 - our own names
        f" WHERE substr({column}, 1, length(:before)) = :before"
    )
