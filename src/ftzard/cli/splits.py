"""`ftzard splits ...`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.group()
def splits() -> None:
    """What is trained on and what it is judged on."""


@splits.command()
@PROJECT
@OVERRIDES
def status(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show since when the test split is frozen and why, and what waits for it or was kept out of training.

    Overrides are in Hydra's grammar, as in: ftzard splits status experiment=tiny
    """
    from ftzard.composition import compose
    from ftzard.refreezing import splits_status

    project = project_dir.resolve()
    click.echo("\n".join(splits_status(project, compose(overrides, project_dir=project)).lines()))


@splits.command()
@PROJECT
@click.option("--reason", required=True, metavar="TEXT", help="Why, which is kept.")
@OVERRIDES
def refreeze(project_dir: Path, reason: str, overrides: tuple[str, ...]) -> None:
    """Take what is held for the test split into it, by one data commit; what is gone from the data leaves it.

    The champion is scored on the new test rows before a challenger is compared with it. Overrides are in Hydra's
    grammar.

    As in: ftzard splits refreeze --reason "500 labels of spring are in"
    """
    from ftzard.composition import compose
    from ftzard.refreezing import refreeze as refreeze_splits

    if not reason.strip():
        message = "--reason must say why"
        raise click.UsageError(message)
    project = project_dir.resolve()
    done = refreeze_splits(project, compose(overrides, project_dir=project), reason=reason)
    click.echo(
        f"The test split has {done.after.rows.height} row(s) now: {done.num_added} new, "
        f"{done.num_dropped} dropped because they are gone from the data."
    )
    click.echo(f"Its fingerprint is {done.after.current.fingerprint}, and was {done.before.current.fingerprint}.")
    click.echo(f"The data commit is {done.commit.commit_id}.")
    click.echo(
        "The next `ftzard materialize` makes the splits anew, and scores the champion on the new test rows before "
        "a challenger is compared with it."
    )
