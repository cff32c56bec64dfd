"""`ftzard import`."""

from pathlib import Path

import click

from ftzard.cli.options import OVERRIDES, PROJECT


@click.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--split", default="train", show_default=True, help="The split of the dataset.")
@click.option("--subset", metavar="NAME", help="Which of several datasets under one name.")
@click.option("--revision", metavar="REVISION", help="A commit, branch or tag of the hub; the newest by default.")
@PROJECT
@OVERRIDES
def import_data(
    source: str,
    split: str,
    subset: str | None,
    revision: str | None,
    project_dir: Path,
    overrides: tuple[str, ...],
) -> None:
    """Write a dataset into data/raw/ as a Parquet file; no code that comes with it is run.

    SOURCE is hub:ORG/NAME for one of the Hugging Face hub, or a folder. Overrides are in Hydra's grammar.

    As in: ftzard import hub:stanfordnlp/imdb --split train
    """
    from ftzard.composition import compose
    from ftzard.dataset_import import import_dataset

    project_dir = project_dir.resolve()
    config = compose(overrides, project_dir=project_dir)
    made = import_dataset(project_dir, config.data, source, split=split, subset=subset, revision=revision)
    click.echo(f"Wrote {made.num_rows} rows of {made.source} to {made.path.relative_to(project_dir)}.")
