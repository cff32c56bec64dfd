"""Whether the labelled batches have changed and have been left alone since."""

from dataclasses import dataclass
from pathlib import Path

from ftzard.config import DataConfig
from ftzard.core.batch_folder import list_batches
from ftzard.core.open_files import is_being_written, state_of
from ftzard.core.versions import batches_version, fingerprint


@dataclass(frozen=True)
class BatchWatch:
    """What the last look at the batch folders saw.

    Attributes:
        signature: Of names, sizes, times of change and inodes; empty before the first look.
        since_s: When the folders were first seen so, in seconds since the epoch.
        version: The content that was reported last; empty before the first report.
        is_settled: Whether the content behind the signature was looked at.
    """

    signature: str = ""
    since_s: float = 0.0
    version: str = ""
    is_settled: bool = False


def watch_batches(
    project_dir: Path, config: DataConfig, before: BatchWatch, *, settle_s: float, now_s: float
) -> tuple[BatchWatch, str | None]:
    """Look once; the bytes are only read when something about the files has changed and then stayed for a while.

    Args:
        project_dir: The project folder.
        config: Names the folders.
        before: What the last look returned.
        settle_s: How long the files must have been left alone, in seconds.
        now_s: In seconds since the epoch.

    Returns:
        What to hand to the next look, and the new content version; None where it is as it was, or not settled yet.

    Raises:
        NoBatchesError: There are none.
        FtzardError: As `list_batches` and `batches_version`.
    """
    paths = list_batches(project_dir, config)
    signature = fingerprint([[path.as_posix(), *state_of(path.stat())] for path in paths])
    if signature != before.signature:
        return BatchWatch(signature, now_s, before.version), None
    if before.is_settled or now_s - before.since_s < settle_s or any(is_being_written(path) for path in paths):
        return before, None
    version = batches_version(project_dir, config)
    settled = BatchWatch(signature, before.since_s, version, is_settled=True)
    return settled, version if version != before.version else None
