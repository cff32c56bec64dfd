"""`ftzard reproduce`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command()
@PROJECT
@click.argument("version")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@OVERRIDES
@click.pass_context
def reproduce(ctx: click.Context, project_dir: Path, version: str, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Train VERSION (a number, or `champion`) once more from its manifest, and compare bit for bit.

    Exits with 0 where it is the same, with 2 where it is not, and with 1 where it could not be tried.
    """
    from ftzard.reproduction import reproduce as reproduce_version

    report = reproduce_version(project_dir.resolve(), version, overrides)
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else "\n".join(report.lines()))
    ctx.exit(0 if report.is_reproduced else 2)
