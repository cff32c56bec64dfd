"""One operation of DVC on the data folder: tried again while DVC is locked, and its errors told as FTzard's."""

from collections.abc import Callable
from typing import Any, TypeVar

from ftzard.errors import DataCommitError, FtzardError
from ftzard.resources.data_folder import DataFolder
from ftzard.resources.dvc_repair import repair
from ftzard.resources.dvc_session import open_dvc, retry_while_locked
from ftzard.resources.git import redact

T = TypeVar("T")


def with_dvc(folder: DataFolder, work: Callable[[Any, list[str]], T]) -> T:
    """Open DVC and do some work, once more where it failed on a broken note of DVC's that could be removed.

    Args:
        folder: The data folder.
        work: Takes the open repository and the list that collects what DVC logs as errors.

    Raises:
        FtzardError: What `work` raises.
        DataCommitError: DVC refused.
    """
    complaints: list[str] = []

    def open_and_work() -> T:
        with open_dvc(folder.dvc_root, complaints) as repo:
            return work(repo, complaints)

    def repaired() -> T:
        try:
            return open_and_work()
        except Exception as error:
            if not repair(folder.dvc_root, error):
                raise
        return open_and_work()

    try:
        return retry_while_locked(repaired)
    except FtzardError:
        raise
    except Exception as error:
        raise DataCommitError(
            f"DVC could not record the data folder {folder.on_disk(folder.data)} in {folder.pointer}: "
            f"{type(error).__name__}: {redact(str(error))}",
            fix=f"{_remedy(folder, error)}; the data on disk is untouched",
        ) from error


def _remedy(folder: DataFolder, error: Exception) -> str:
    from dvc.config import ConfigError

    if isinstance(error, ConfigError):
        # DVC writes these in place too, but which part of them is missing only the person knows.
        config = folder.dvc_root.relative_to(folder.git.top_level) / ".dvc" / "config"
        return f"correct {config} or {config}.local; `git checkout -- {config}` brings the committed one back"
    return f"resolve what DVC says until `dvc add {folder.data}` works"
