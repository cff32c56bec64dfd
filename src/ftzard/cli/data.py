"""`ftzard data ...`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.group()
def data() -> None:
    """What the project's data looks like."""


@data.command()
@PROJECT
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("data-report.html"),
    show_default=True,
    help="The page; an earlier one is replaced.",
)
@click.option("--no-tokens", is_flag=True, help="Do not read the base model's tokenizer.")
@OVERRIDES
def report(project_dir: Path, output: Path, no_tokens: bool, overrides: tuple[str, ...]) -> None:
    """Write one HTML page about the data as it is stored now.

    Rows in and out of each step, labels and lengths, copies and conflicts, cleaning, drift of each file, tokens. It
    needs nothing but itself. What is on it are rows of the data: treat it as you treat those. Overrides are in Hydra's
    grammar.

    As in: ftzard data report --output report.html
    """
    from ftzard.composition import compose
    from ftzard.core.data_findings import findings
    from ftzard.data_report import write_data_report

    project = project_dir.resolve()
    made = write_data_report(project, compose(overrides, project_dir=project), output, with_tokens=not no_tokens)
    click.echo(f"Wrote {output}.")
    for absence in made.absences:
        click.echo(f"Left out: {absence.what}: {absence.why}\n  To fix it: {absence.fix}")
    for finding in findings(made):
        click.echo(f"- {finding.sentence}")
