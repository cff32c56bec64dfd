"""`ftzard estimate`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT

# Not 2, by which click says that it did not understand the command line.
_DOES_NOT_FIT = 3


@click.command()
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
@OVERRIDES
@click.pass_context
def estimate(ctx: click.Context, project_dir: Path, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Estimate the memory and time of a training; nothing of the base model is loaded.

    Exits with 0 where it fits into the device's free memory, with 3 where it does not, and with 1 where that could not
    be found out.
    """
    from ftzard.core.estimate_report import estimate_lines, to_document
    from ftzard.estimation import estimate_project

    found, config = estimate_project(project_dir.resolve(), overrides)
    click.echo(json.dumps(to_document(found), indent=2) if as_json else "\n".join(estimate_lines(found, config)))
    ctx.exit(0 if found.fits else _DOES_NOT_FIT)
