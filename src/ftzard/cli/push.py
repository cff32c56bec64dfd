"""`ftzard push`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command()
@PROJECT
@OVERRIDES
def push(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Push the data commits that a remote did not take when they were made."""
    from ftzard.composition import compose
    from ftzard.resources.versioning import DvcRepository

    config = compose(overrides, project_dir=project_dir.resolve())
    pushed = DvcRepository(project_dir.resolve(), config.versioning).push_pending()
    if pushed.recovered is not None:
        click.echo(f"Put in order: {pushed.recovered}")
    if not pushed.num_data and not pushed.branches:
        click.echo("Nothing is waiting to be pushed.")
    if pushed.num_data:
        click.echo(f"Pushed the data of {pushed.num_data} commit(s).")
    for branch in pushed.branches:
        click.echo(f"Pushed {branch.ref.removeprefix('refs/heads/')} to {branch.remote} ({branch.commit_id[:12]}).")
