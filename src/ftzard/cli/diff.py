"""`ftzard diff`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command()
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print the difference as JSON.")
@click.option(
    "--rows", type=click.IntRange(min=0), default=5, show_default=True, help="Examples of each kind of change."
)
@click.argument("first")
@click.argument("second")
@OVERRIDES
def diff(project_dir: Path, as_json: bool, rows: int, first: str, second: str, overrides: tuple[str, ...]) -> None:
    """Show what differs from FIRST to SECOND: rows, configuration and test scores.

    Each is a registered version, `champion`, the id of an MLflow run that made data, or a git commit. Overrides say
    where the registry is.
    """
    from ftzard.difference import diff_lines, diff_project

    found = diff_project(project_dir.resolve(), first, second, overrides)
    click.echo(json.dumps(found.to_dict(rows), indent=2) if as_json else "\n".join(diff_lines(found, rows)))
