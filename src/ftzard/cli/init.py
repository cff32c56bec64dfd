"""`ftzard init`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ftzard.new_project import NewProject

_NUM_LABELS_SHOWN = 10
_NEXT = """
Next:
  cd {folder}
  ftzard materialize    # the first experiment, or in the browser, and from then on by itself:
  dagster dev           # http://127.0.0.1:3000"""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Labelled texts: CSV, TSV, JSON, Parquet or Arrow, text also as .gz or .zst. The file is copied.",
)
@click.option("--text", "text_column", metavar="COLUMN", help="The column with the texts; `text` by default.")
@click.option("--label", "label_column", metavar="COLUMN", help="The column with the labels; `label` by default.")
@click.option("--multi-label", is_flag=True, help="A text can have any number of labels, as in `food|travel`.")
@click.option("--label-separator", metavar="TEXT", help="What separates its labels beside `|`; implies --multi-label.")
@click.option("--remote", metavar="URL", help="Where DVC pushes the data: a folder, or a URL such as s3://bucket/path.")
def init(
    folder: Path,
    data: Path | None,
    text_column: str | None,
    label_column: str | None,
    multi_label: bool,
    label_separator: str | None,
    remote: str | None,
) -> None:
    """Make a project in DIR: git, DVC, a configuration for your data, and what Dagster needs to open it.

    As in: ftzard init my-project --data reviews.csv --text review --label stars
    """
    from ftzard.core.label_sets import SEPARATOR
    from ftzard.new_project import make_project

    made = make_project(
        folder,
        data=data,
        text_column=text_column,
        label_column=label_column,
        label_separator=label_separator or (SEPARATOR if multi_label else None),
        remote=remote,
    )
    click.echo(_summary(made, folder))


def _summary(made: "NewProject", folder: Path) -> str:
    lines = [f"Made a project in {made.folder}: git, DVC, conf/, data/, README.md."]
    if made.data:
        counts = [f"{label!r} {count}" for label, count in made.data.label_counts().items()]
        more = f" and {len(counts) - _NUM_LABELS_SHOWN} more labels" if len(counts) > _NUM_LABELS_SHOWN else ""
        shown = f"{', '.join(counts[:_NUM_LABELS_SHOWN])}{more}"
        lines.append(f"Copied {made.data.path.name} to data/raw/: {made.data.num_rows} rows.")
        without = f"; {made.data.num_without_label} without a label" if made.data.num_without_label else ""
        lines.append(f"Cleaned, these are {made.data.examples.height} examples: {shown}{without}.")
    lines += [f"Note: {note}" for note in made.notes]
    if not made.data:
        lines += [
            "",
            "Put a file with labelled texts into data/raw/, and name its columns in conf/data/own_files.yaml.",
        ]
    return "\n".join([*lines, _NEXT.format(folder=shlex.quote(str(folder)))])
