"""`ftzard labels ...`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ftzard.cli.options import OVERRIDES, PROJECT

if TYPE_CHECKING:
    from ftzard.forgetting import ForgottenSource


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


@labels.command()
@PROJECT
@click.option("--max", "max_rows", type=click.IntRange(min=1), default=100, show_default=True, help="Rows at most.")
@click.option(
    "--show",
    "num_shown",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many to name here, by file and row, the most doubtful first.",
)
@OVERRIDES
def check(project_dir: Path, max_rows: int, num_shown: int, overrides: tuple[str, ...]) -> None:
    """Look for labelled rows whose label is probably wrong, and queue them to be labelled again.

    No label is changed. Needs the package cleanlab. Overrides are in Hydra's grammar.

    As in: ftzard labels check --max 50
    """
    from ftzard.composition import compose
    from ftzard.core.doubted_labels import doubts_in_words
    from ftzard.label_check import check_labels

    project = project_dir.resolve()
    done = check_labels(project, compose(overrides, project_dir=project), max_rows=max_rows)
    num_rows = done.doubted.height
    counted = done.doubted.group_by("doubted").len().sort("doubted")
    counts = ", ".join(f"{label!r} {rows}" for label, rows in counted.iter_rows())
    click.echo(f"{num_rows} of {done.num_examples} example(s) queued for a doubtful label{counts and f': {counts}'}.")
    click.echo(f"The data commit is {done.commit_id}." if done.commit_id else f"{done.file} held just that already.")
    for line in doubts_in_words(done.doubted.head(num_shown)):
        click.echo(f"  {line}")
    if num_rows:
        click.echo("No label was changed. `ftzard labels export` writes them, without their labels, for people.")


@labels.command("import")
@PROJECT
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--annotator", metavar="NAME", help="Who gave the labels; by default whom Label Studio's export names.")
@OVERRIDES
def import_(project_dir: Path, file: Path, annotator: str | None, overrides: tuple[str, ...]) -> None:
    """Take in the labels of FILE, all of them or none.

    FILE is a CSV that `export` or a label queue wrote, filled in, or Label Studio's JSON export, in which several
    people may have labelled the same texts. Overrides are in Hydra's grammar.

    As in: ftzard labels import to-label.csv --annotator anna KEY=VALUE
    """
    from ftzard.composition import compose
    from ftzard.label_import import import_labels

    project = project_dir.resolve()
    done = import_labels(project, compose(overrides, project_dir=project), file, annotator)
    click.echo(
        f"{done.num_new} new label(s), {done.num_corrected} corrected, {done.num_unchanged} as before, "
        f"{done.num_empty} row(s) without a label."
    )
    if annotator is None:
        click.echo(f"Labels of {', '.join(done.annotators) or 'nobody'}.")
    click.echo(f"The project has {done.resolution.labels.height} label(s) by majority.")
    if done.resolution.ties.height:
        click.echo(f"{done.resolution.ties.height} row(s) stay open: their annotators disagree without a majority.")


@labels.command()
@PROJECT
@click.option("--annotator", metavar="NAME", help="Take out all that this person said.")
@click.option("--batch", metavar="FILE", help="Take out this file of labelled rows; its name is enough.")
@click.option("--why", default="", metavar="TEXT", help="The reason, which is kept.")
@OVERRIDES
def forget(project_dir: Path, annotator: str | None, batch: str | None, why: str, overrides: tuple[str, ...]) -> None:
    """Take out the labels of a person, or a file of labelled rows, by one data commit.

    Where others labelled the same rows, they decide. A champion that was trained on what is gone is a reason to train
    again, from the base model. Overrides are in Hydra's grammar.

    As in: ftzard labels forget --annotator anna --why "she guessed"
    """
    from ftzard.composition import compose
    from ftzard.forgetting import forget_labels

    if (annotator is None) == (batch is None):
        message = "give either --annotator or --batch"
        raise click.UsageError(message)
    project = project_dir.resolve()
    config = compose(overrides, project_dir=project)
    kind: Literal["annotator", "batch"] = "batch" if annotator is None else "annotator"
    done = forget_labels(project, config, kind, annotator or batch or "", why=why)
    click.echo("\n".join(_told(done)))


def _told(done: "ForgottenSource") -> Iterator[str]:
    record, (before, after) = done.record, done.num_examples
    yield f"Took out {record.num_labels} label(s) of the {record.kind} {record.name}: {', '.join(done.files)}."
    num_changed = len(record.text_hashes)
    yield f"{num_changed} example(s) have no label now, or another one; there are {after}, and were {before}."
    if done.shortage is not None:
        yield f"What is left cannot be trained on before labels are added: {done.shortage}"
    yield f"The data commit is {done.commit.commit_id}."
    yield (
        "raw_data, cleaned and splits hold the labels until `ftzard materialize` makes them again; `retrain_decision` "
        "then says whether the champion was trained on them."
    )
    yield (
        "Not erased: earlier data commits hold the labels, in DVC's cache and in every remote and clone, and adapters "
        "keep what they learned. To erase them: rewrite git's history (git filter-repo), then `dvc gc --cloud "
        "--all-commits`, and delete versions and runs in MLflow."
    )
