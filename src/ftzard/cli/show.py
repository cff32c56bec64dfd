"""`ftzard show`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command()
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print the tree as JSON.")
@click.argument("thing")
@OVERRIDES
def show(project_dir: Path, as_json: bool, thing: str, overrides: tuple[str, ...]) -> None:
    """Show what THING was made from and what was made from it.

    THING is a registered version, `champion`, the id of an MLflow run, a git commit, or a file: a batch, a label file,
    an import of annotations or an incoming file, by its path or just its name. Overrides say where the registry is.
    """
    from ftzard.lineage import show as show_lineage

    found = show_lineage(project_dir.resolve(), thing, overrides)
    click.echo(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))
