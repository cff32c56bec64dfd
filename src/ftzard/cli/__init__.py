"""`ftzard ...`: each command calls what a Python user would call."""

import json
import logging
import os
import sys
from pathlib import Path

import click

from ftzard.cli.champion import champion
from ftzard.cli.checkout import checkout
from ftzard.cli.data import data
from ftzard.cli.diff import diff
from ftzard.cli.estimate import estimate
from ftzard.cli.history import history
from ftzard.cli.import_data import import_data
from ftzard.cli.init import init
from ftzard.cli.labels import labels
from ftzard.cli.launcher import launcher
from ftzard.cli.options import OVERRIDES, PROJECT
from ftzard.cli.push import push
from ftzard.cli.reproduce import reproduce
from ftzard.cli.show import show
from ftzard.cli.splits import splits
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import FtzardError

# As a shell tells of a program that Ctrl-C ended.
_INTERRUPTED = 130


class _Group(click.Group):
    """Prints FTzard's own errors without a traceback: they say what is wrong and what to do about it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            with disk_failures_explained():
                return super().invoke(ctx)
        except FtzardError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)
        except BaseException as error:
            # Dagster's own name for Ctrl-C and SIGTERM in a step; importing Dagster for it would take seconds.
            if type(error).__name__ != "DagsterExecutionInterruptedError":
                raise
            click.echo("Interrupted. What was finished is stored, and a training goes on where it was.", err=True)
            ctx.exit(_INTERRUPTED)


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
@PROJECT
@OVERRIDES
def config(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Print the composed configuration.

    Overrides are in Hydra's grammar, as in: ftzard config experiment=tiny training.learning_rate=1e-4
    """
    from ftzard.composition import compose, to_yaml

    click.echo(to_yaml(compose(overrides, project_dir=project_dir.resolve())), nl=False)


@main.command()
@PROJECT
@click.option("--force", is_flag=True, help="Materialize also what has not changed.")
@click.option("--until", metavar="ASSET", help="No more than this asset and what it is made from, such as `splits`.")
@OVERRIDES
def materialize(project_dir: Path, force: bool, until: str | None, overrides: tuple[str, ...]) -> None:
    """Materialize the assets whose code, configuration or inputs have changed.

    Overrides are in Hydra's grammar, as in: ftzard materialize experiment=tiny training.learning_rate=1e-4
    """
    from ftzard.materialization import materialize as materialize_project

    done = materialize_project(project_dir.resolve(), overrides, force=force, until=until)
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
@OVERRIDES
def demo(workspace: Path, json_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Fine-tune a 135M-parameter LLM on real tweets in a fresh project, in minutes."""
    from ftzard.demo import run_demo

    outcome = run_demo(workspace.resolve(), overrides)
    click.echo(outcome.text)
    if json_path is not None:
        json_path.write_text(json.dumps(outcome.document, indent=2) + "\n", encoding="utf-8")


main.add_command(init)
main.add_command(labels)
main.add_command(champion)
main.add_command(checkout)
main.add_command(data)
main.add_command(diff)
main.add_command(estimate)
main.add_command(history)
main.add_command(import_data)
main.add_command(launcher)
main.add_command(push)
main.add_command(reproduce)
main.add_command(show)
main.add_command(splits)
