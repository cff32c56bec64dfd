"""`ftzard history`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import PROJECT


@click.command()
@PROJECT
@click.argument("asset", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def history(project_dir: Path, asset: str | None, as_json: bool) -> None:
    """Show what was materialized, oldest first: time, rows, data commit, runs and verdict of ASSET, or of all."""
    from ftzard.history import history_lines, nothing_told, read_history

    entries = read_history(project_dir.resolve(), asset)
    if as_json:
        click.echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
    elif entries:
        click.echo("\n".join(history_lines(entries)))
    else:
        click.echo(nothing_told(asset))
