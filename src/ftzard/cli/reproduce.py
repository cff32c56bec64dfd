"""`ftzard reproduce`."""

import json
from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT

# Not 2, by which click says that it did not understand the command line.
_NOT_REPRODUCED = 3


@click.command()
@PROJECT
@click.argument("which", metavar="VERSION_OR_RUN")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@OVERRIDES
@click.pass_context
def reproduce(ctx: click.Context, project_dir: Path, which: str, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Train an adapter once more from its manifest, and compare.

    It is named by its registered version, by `champion`, or by the id of the MLflow run that trained it. What was
    trained on a CPU has to be the same bit for bit. What was trained on CUDA may also be so in its answers: the paired
    95 % interval of the difference in macro-F1 on the test split then contains 0. Exits with 0 where it is the same,
    with 3 where it is not, and with 1 where it could not be tried.
    """
    from ftzard.reproduction import reproduce as reproduce_adapter

    report = reproduce_adapter(project_dir.resolve(), which, overrides)
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else "\n".join(report.lines()))
    ctx.exit(0 if report.is_reproduced else _NOT_REPRODUCED)
