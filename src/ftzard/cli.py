"""`ftzard ...`: each command calls what a Python user would call."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Literal

import click

from ftzard.errors import FtzardError

_PROJECT = click.option(
    "--project",
    "project_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project folder; the current one by default.",
)
_OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


class _Group(click.Group):
    """Prints FTzard's own errors without a traceback: they say what is wrong and what to do about it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except FtzardError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)


class _ShowByDefault(click.Group):
    """A group whose bare name, with or without options and overrides, is its command `show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {*self.commands, *self.get_help_option_names(ctx)}
        return super().parse_args(ctx, args if args and args[0] in names else ["show", *args])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ftzard")
def main() -> None:
    """Continual fine-tuning of LLMs: labelled text in, an adapter and honest numbers out."""
    # Nothing FTzard does needs these to phone home.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # What our libraries warn each other of is not the person's business, unless they ask with `python -W`.
    if not sys.warnoptions:
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").propagate = False
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@main.command()
@_PROJECT
@_OVERRIDES
def config(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Print the composed configuration.

    Overrides are in Hydra's grammar, as in: ftzard config experiment=tiny training.learning_rate=1e-4
    """
    from ftzard.composition import compose, to_yaml

    click.echo(to_yaml(compose(overrides, project_dir=project_dir.resolve())), nl=False)


@main.command()
@_PROJECT
@click.option("--force", is_flag=True, help="Materialize everything, also what has not changed.")
@_OVERRIDES
def materialize(project_dir: Path, force: bool, overrides: tuple[str, ...]) -> None:
    """Materialize the assets whose code, configuration or inputs have changed.

    Overrides are in Hydra's grammar, as in: ftzard materialize experiment=tiny training.learning_rate=1e-4
    """
    from ftzard.materialization import materialize as materialize_project

    done = materialize_project(project_dir.resolve(), overrides, force=force)
    if not done.ran:
        click.echo("Nothing to do: no code, configuration or data has changed since the last materialization.")
        return
    click.echo(f"Materialized {', '.join(done.ran)} in Dagster run {done.run_id}.")
    if done.fresh:
        click.echo(f"Unchanged: {', '.join(done.fresh)}.")


@main.command()
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-workspace"),
    show_default=True,
    help="The project folder to make or to go on with.",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result here."
)
@_OVERRIDES
def demo(workspace: Path, json_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Fine-tune a 135M-parameter LLM on real tweets in a fresh project, in minutes."""
    from ftzard.demo import run_demo

    outcome = run_demo(workspace.resolve(), overrides)
    click.echo(outcome.text)
    if json_path is not None:
        json_path.write_text(json.dumps(outcome.document, indent=2) + "\n", encoding="utf-8")


@main.group()
def labels() -> None:
    """What people are asked to label, and what they say."""


@labels.command()
@_PROJECT
@_OVERRIDES
def status(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show what is queued, labelled and open, live accuracy, and how far annotators agree.

    Overrides are in Hydra's grammar, as in: ftzard labels status experiment=tiny
    """
    from ftzard.composition import compose
    from ftzard.labels import label_status

    project = project_dir.resolve()
    click.echo("\n".join(label_status(project, compose(overrides, project_dir=project)).lines()))


@labels.command()
@_PROJECT
@click.option("--format", "export_format", type=click.Choice(["csv", "label-studio"]), default="csv", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that does not exist yet; to-label.csv or to-label.json by default.",
)
@_OVERRIDES
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
@_PROJECT
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--annotator", required=True, metavar="NAME", help="Who gave the labels.")
@_OVERRIDES
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


@main.group(cls=_ShowByDefault)
def champion() -> None:
    """Show the adapter that serves, or go back to the one before: ftzard champion [show] [KEY=VALUE]..."""


@champion.command()
@_PROJECT
@_OVERRIDES
def show(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show the adapter that serves: version, scores, who promoted it and why, and every move before."""
    from ftzard.champion import describe_champion

    click.echo(describe_champion(project_dir.resolve(), overrides))


@champion.command()
@_PROJECT
@click.option("--to", metavar="VERSION", help="The version to go to; by default the one that this one replaced.")
@click.option("--why", required=True, metavar="TEXT", help="The reason, which is kept.")
@click.option("--by", metavar="NAME", help="Who goes back; git's user.name by default, else the login.")
@_OVERRIDES
def rollback(project_dir: Path, to: str | None, why: str, by: str | None, overrides: tuple[str, ...]) -> None:
    """Make an earlier version the champion again, and keep who did it and why."""
    from ftzard.champion import rollback_champion

    now = rollback_champion(project_dir.resolve(), overrides, to=to, why=why, by=by)
    click.echo(f"The champion of {now.name} is now version {now.version}.")
