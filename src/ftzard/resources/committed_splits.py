"""The splits that an adapter was trained on, read from their data commit beside the work tree."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from ftzard.core.adapter_documents import SPLITS_KEY
from ftzard.core.records import Splits
from ftzard.core.versions import content_version
from ftzard.errors import StorageError
from ftzard.resources.committed_data import fetch_committed
from ftzard.resources.data_folder import find_dvc_root
from ftzard.resources.git import Git

_SPLITS, _SUFFIX = "splits", ".parquet"


def fetch_splits(project_dir: Path, assets_dir: Path, provenance: Mapping[str, str]) -> Splits:
    """Read the splits that a product was made from, whatever is stored now.

    Args:
        project_dir: The project folder.
        assets_dir: The pipeline's folder of assets in the work tree; it need not exist.
        provenance: Of the product: its `data_commit`, and the version `read.splits`.

    Raises:
        StorageError: The commit or its data is not to be had, or holds other splits.
    """
    commit = provenance.get("data_commit", "")
    if not commit:
        raise StorageError(
            "the adapter's manifest names no data commit, so that nobody knows what it was trained on",
            fix="train it again, with `ftzard materialize`, or name another version",
        )
    folder = assets_dir.resolve() / _SPLITS
    # DVC's repository may begin above the project.
    root = find_dvc_root(project_dir.resolve(), Git.find(project_dir).top_level)
    with TemporaryDirectory(prefix="ftzard-splits-") as scratch:
        target = Path(scratch) / _SPLITS
        fetch_committed(root, commit, folder.relative_to(root).as_posix(), target)
        splits = read_splits(target)
    found, expected = content_version(splits), provenance.get(SPLITS_KEY)
    if found != expected:
        raise StorageError(
            f"the splits of the commit {commit} have the version {found}, and the adapter was trained on {expected}",
            fix="look whether somebody rewrote the commit or its data: `dvc doctor`, `git log data.dvc`",
        )
    return splits


def read_splits(path: Path) -> Splits:
    """Read the splits from a folder that `RecordIOManager` wrote.

    Raises:
        StorageError: It holds something else.
    """
    try:
        files = {item.name: path / f"{item.name}{_SUFFIX}" for item in fields(Splits)}
        if not files["quarantined"].exists():
            del files["quarantined"]
        return Splits(**{name: pl.read_parquet(file) for name, file in files.items()})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"{path} holds no readable splits: {error}", fix="restore the folder with `dvc checkout`"
        ) from error
