"""`ftzard init`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ftzard.labelled_file import AnswerColumns, LabelColumns
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
    help="Labelled texts, or prompts with answers: CSV, TSV, JSON, Parquet or Arrow, text also as .gz or .zst. "
    "The file is copied.",
)
@click.option("--text", "text_column", metavar="COLUMN", help="The column with the texts; `text` by default.")
@click.option(
    "--label",
    "label_columns",
    metavar="COLUMN",
    multiple=True,
    help="The column with the labels; `label` by default. Several times: columns of 0 and 1, one for each label.",
)
@click.option("--multi-label", is_flag=True, help="A text can have any number of labels, as in `food|travel`.")
@click.option("--label-separator", metavar="TEXT", help="What separates its labels beside `|`; implies --multi-label.")
@click.option(
    "--task",
    type=click.Choice(["generation", "preference"]),
    help="Learn to write answers, or which of two answers is liked, instead of labels.",
)
@click.option("--prompt", metavar="COLUMN", help="The column with the prompts; `prompt` by default.")
@click.option("--context", metavar="COLUMN", help="With what is put below texts or prompts: the body of a title.")
@click.option("--completion", metavar="COLUMN", help="With the answers; implies --task generation.")
@click.option("--messages", metavar="COLUMN", help="With chats as lists of role and content; instead of prompts.")
@click.option("--chosen", metavar="COLUMN", help="With the answers that are liked; implies --task preference.")
@click.option("--rejected", metavar="COLUMN", help="With the others.")
@click.option("--remote", metavar="URL", help="Where DVC pushes the data: a folder, or a URL such as s3://bucket/path.")
def init(
    folder: Path,
    data: Path | None,
    remote: str | None,
    task: str | None,
    **columns: Any,
) -> None:
    """Make a project in DIR: git, DVC, a configuration for your data, and what Dagster needs to open it.

    As in: ftzard init my-project --data reviews.csv --text review --label stars

    Or: ftzard init my-project --data chats.jsonl --messages messages
    """
    from ftzard.new_project import make_project

    labels = {key: columns.pop(key) for key in ("text_column", "label_columns", "multi_label", "label_separator")}
    context = columns.pop("context")
    answers = _answers(task, columns, context)
    if answers and any(value not in {None, False, ()} for value in labels.values()):
        message = "--text, --label, --multi-label and --label-separator are for labels, and --prompt ... for answers"
        raise click.UsageError(message)
    made = make_project(folder, data=data, columns=answers or _labels(**labels, context=context), remote=remote)
    click.echo(_summary(made, folder, "prompts and answers" if answers else "labelled texts"))


def _labels(
    *,
    text_column: str | None,
    label_columns: tuple[str, ...],
    multi_label: bool,
    label_separator: str | None,
    context: str | None,
) -> "LabelColumns":
    from ftzard.core.label_sets import SEPARATOR
    from ftzard.labelled_file import LabelColumns

    default = LabelColumns()
    return LabelColumns(
        default.text if text_column is None else text_column,
        label_columns or default.labels,
        SEPARATOR if label_separator is None and multi_label else label_separator,
        context,
    )


def _answers(task: str | None, columns: Mapping[str, str | None], context: str | None) -> "AnswerColumns | None":
    """The task and its columns, where one of them was named; None where labels are learned."""
    from ftzard.labelled_file import AnswerColumns

    given = {name: column for name, column in columns.items() if column is not None}
    if task is None and not given:
        return None
    if context is not None:
        given["context"] = context
    is_preference = task == "preference" or (task is None and not given.keys().isdisjoint({"chosen", "rejected"}))
    are_messages = "messages" in given
    needed: tuple[str, ...] = ("messages",) if are_messages else ("prompt",)
    if "context" in given and not are_messages:
        needed += ("context",)
    if is_preference:
        needed += ("chosen", "rejected")
    elif not are_messages:
        needed += ("completion",)
    if odd := sorted(given.keys() - {*needed}):
        message = f"--{odd[0]} has no place beside --{' and --'.join(needed)}"
        raise click.UsageError(message)
    names = {f"{name}_column": given.get(name, name) for name in needed}
    return AnswerColumns("preference" if is_preference else "generation", names)


def _summary(made: "NewProject", folder: Path, what: str) -> str:
    from ftzard.core.data_funnel import MEANINGS

    lines = [f"Made a project in {made.folder}: git, DVC, conf/, data/, README.md."]
    if made.data:
        counts = [f"{label!r} {count}" for label, count in made.data.label_counts().items()]
        more = f" and {len(counts) - _NUM_LABELS_SHOWN} more labels" if len(counts) > _NUM_LABELS_SHOWN else ""
        shown = f"{', '.join(counts[:_NUM_LABELS_SHOWN])}{more}"
        lines.append(f"Copied {made.data.path.name} to data/raw/: {made.data.num_rows} rows.")
        without = f"; {made.data.num_without_label} without a label" if made.data.num_without_label else ""
        told = f": {shown}{without}" if made.data.labels else ""
        lines.append(f"Cleaned, these are {made.data.examples.height} examples{told}.")
        if made.data.left_out:
            reasons = [f"{num} because {MEANINGS[reason]}" for reason, num in made.data.left_out.items()]
            lines.append(f"Rows that were left out: {'; '.join(reasons)}.")
    lines += [f"Note: {note}" for note in made.notes]
    if not made.data:
        lines += [
            "",
            f"Put a file with {what} into data/raw/, and name its columns in conf/data/own_files.yaml.",
        ]
    return "\n".join([*lines, _NEXT.format(folder=shlex.quote(str(folder)))])
