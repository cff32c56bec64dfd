"""`ftzard labels ...`."""

from pathlib import Path
from typing import Literal

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.group()
def labels() -> None:
    """What people are asked to label, and what they say."""


@labels.command()
@PROJECT
@OVERRIDES
def status(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show what is queued, labelled and open, live accuracy, and how far annotators agree.

    Overrides are in Hydra's grammar, as in: ftzard labels status experiment=tiny
    """
    from ftzard.composition import compose
    from ftzard.labels import label_status

    project = project_dir.resolve()
    click.echo("\n".join(label_status(project, compose(overrides, project_dir=project)).lines()))


@labels.command()
@PROJECT
@click.option("--format", "export_format", type=click.Choice(["csv", "label-studio"]), default="csv", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that does not exist yet; to-label.csv or to-label.json by default.",
)
@OVERRIDES
def export(
    project_dir: Path, export_format: Literal["csv", "label-studio"], output: Path | None, overrides: tuple[str, ...]
) -> None:
    """Write all rows that wait for a label into one file.

    Overrides are in Hydra's grammar, as in: ftzard labels export experiment=tiny
    """
    from ftzard.composition import compose
    from ftzard.labels import export_open_rows

    project = project_dir.resolve()
    target = output or Path("to-label.csv" if export_format == "csv" else "to-label.json")
    config = compose(overrides, project_dir=project)
    num_rows, files = export_open_rows(project, config, target, export_format)
    if not files:
        click.echo("Nothing to label: no row is open.")
        return
    click.echo(f"Wrote {num_rows} row(s) to {target}.")
    for interface in files[1:]:
        click.echo(f"The labelling interface for Label Studio's settings is in {interface}.")


@labels.command("import")
@PROJECT
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--annotator", required=True, metavar="NAME", help="Who gave the labels.")
@OVERRIDES
def import_(project_dir: Path, file: Path, annotator: str, overrides: tuple[str, ...]) -> None:
    """Take in the labels of FILE, all of them or none.

    FILE is a CSV that `export` or a label queue wrote, filled in, or Label Studio's JSON export. Overrides are in
    Hydra's grammar.

    As in: ftzard labels import to-label.csv --annotator anna KEY=VALUE
    """
    from ftzard.composition import compose
    from ftzard.labels import import_labels

    project = project_dir.resolve()
    done = import_labels(project, compose(overrides, project_dir=project), file, annotator)
    click.echo(
        f"{done.num_new} new label(s), {done.num_corrected} corrected, {done.num_unchanged} as before, "
        f"{done.num_empty} row(s) without a label."
    )
    click.echo(f"The project has {done.resolution.labels.height} label(s) by majority.")
    if done.resolution.ties.height:
        click.echo(f"{done.resolution.ties.height} row(s) stay open: their annotators disagree without a majority.")
