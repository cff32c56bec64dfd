"""`ftzard launcher`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.group()
def launcher() -> None:
    """Where a training runs (docs/launchers.md)."""


@launcher.command()
@PROJECT
@OVERRIDES
def manifest(project_dir: Path, overrides: tuple[str, ...]) -> None:
    """Print the Kubernetes Job that launcher=k8s creates, for a training without content.

    For `kubectl apply --dry-run=server -f -`: the cluster then says whether it would take it.
    """
    import yaml

    from ftzard.composition import compose
    from ftzard.resources.pod_training import example_manifest

    project = project_dir.resolve()
    shown = example_manifest(compose(overrides, project_dir=project), project)
    click.echo(yaml.safe_dump(shown, sort_keys=False), nl=False)
