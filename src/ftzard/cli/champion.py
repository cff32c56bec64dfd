"""`ftzard champion ...`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


class _ShowByDefault(click.Group):
    """A group whose bare name, with or without options and overrides, is its command `show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {*self.commands, *self.get_help_option_names(ctx)}
        return super().parse_args(ctx, args if args and args[0] in names else ["show", *args])


@click.group(cls=_ShowByDefault)
def champion() -> None:
    """Show the adapter that serves, or go back to the one before: ftzard champion [show] [KEY=VALUE]..."""


@champion.command()
@PROJECT
@OVERRIDES
def show(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show the adapter that serves: version, scores, who promoted it and why, and every move before."""
    from ftzard.champion import describe_champion

    click.echo(describe_champion(project_dir.resolve(), overrides))


@champion.command()
@PROJECT
@click.option("--to", metavar="VERSION", help="The version to go to; by default the one that this one replaced.")
@click.option("--why", required=True, metavar="TEXT", help="The reason, which is kept.")
@click.option("--by", metavar="NAME", help="Who goes back; git's user.name by default, else the login.")
@OVERRIDES
def rollback(project_dir: Path, to: str | None, why: str, by: str | None, overrides: tuple[str, ...]) -> None:
    """Make an earlier version the champion again, and keep who did it and why."""
    from ftzard.champion import rollback_champion

    now = rollback_champion(project_dir.resolve(), overrides, to=to, why=why, by=by)
    click.echo(f"The champion of {now.name} is now version {now.version}.")
