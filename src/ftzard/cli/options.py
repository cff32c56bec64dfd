"""Options that several commands share."""

from pathlib import Path

import click

PROJECT = click.option(
    "--project",
    "project_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project folder; the current one by default.",
)
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
