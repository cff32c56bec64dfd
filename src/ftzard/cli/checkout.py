"""`ftzard checkout`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command()
@PROJECT
@click.argument("commit")
@click.option(
    "--to",
    "target",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that is empty or does not exist; by default one of the project's own, named by the commit.",
)
@OVERRIDES
def checkout(project_dir: Path, commit: str, target: Path | None, overrides: tuple[str, ...]) -> None:
    """Write the data of COMMIT into a folder of its own; the work tree stays as it is."""
    from ftzard.data_checkout import checkout_data

    done = checkout_data(project_dir.resolve(), commit, overrides, to=target)
    said = "are in" if done.was_there else "were written to"
    click.echo(f"The {done.num_files} data file(s) of the commit {done.commit_id} {said} {done.folder}.")
