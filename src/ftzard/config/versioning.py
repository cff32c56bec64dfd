"""The section `versioning`: how data is committed."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Name, ProjectPath


@dataclass(frozen=True, config=STRICT)
class VersioningConfig:
    """How data is committed."""

    # Tracked as a whole by `<data_dir>.dvc`.
    data_dir: ProjectPath = "data"
    # The branch data commits go to; None means the one that is checked out.
    branch: Name | None = None
    # Whether DVC objects go to the DVC repository's default remote, where it has one.
    push_data: bool = True
    # The git remote to push the branch to; None pushes nothing, because a push publishes the person's commits too.
    git_remote: Name | None = None
    # How often a push is tried, with pauses of 0.5, 1, 2 ... seconds, before it is left for the next data commit.
    push_attempts: Annotated[int, Field(gt=0, le=5)] = 3
