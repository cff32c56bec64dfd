"""What Label Studio exports: tasks with the annotations of one person or of several."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ftzard.core.label_files import ID_COLUMN
from ftzard.core.label_sets import SEPARATOR
from ftzard.errors import MalformedBatchError

TEXT_COLUMN: Final = "text"
LABEL_COLUMN: Final = "label"

# Id, text, label, number and annotator: a row of a label file before it is checked.
ReturnedRow = tuple[str, str, str | None, int, str | None]
# Takes what was chosen, the file's name and the task's number; gives the cell that says it.
_Choose = Callable[[object, str, int], str | None]
_EXPORT_AGAIN: Final = 'export the project from Label Studio as "JSON"; its labelling interface is beside the queue'


def exported_rows(text: str, name: str, *, takes_sets: bool) -> list[ReturnedRow]:
    """The rows of an export as JSON or JSON-MIN.

    Args:
        text: The file's text.
        name: What to call it.
        takes_sets: Whether an annotation can have several labels.

    Returns:
        One for each annotation that was not cancelled, with the task's number from 1; one without a label for a task
        that has none.

    Raises:
        MalformedBatchError: It is no such export, or an annotation has several labels where it can have one.
    """
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBatchError(f"{name} is not JSON: {error}", fix=_EXPORT_AGAIN) from error
    if not isinstance(tasks, list):
        raise MalformedBatchError(f"{name} is not a list of Label Studio's tasks", fix=_EXPORT_AGAIN)
    choose = _any_choices if takes_sets else _one_choice
    return [row for number, task in enumerate(tasks, start=1) for row in _task_rows(task, name, number, choose)]


def _task_rows(task: object, name: str, number: int, choose: _Choose) -> Iterator[ReturnedRow]:
    data = task.get("data", task) if isinstance(task, dict) else None
    row_id, text = (data.get(ID_COLUMN), data.get(TEXT_COLUMN)) if isinstance(data, dict) else (None, None)
    if not isinstance(task, dict) or not isinstance(row_id, str) or not isinstance(text, str):
        raise MalformedBatchError(
            f"{name}, task {number} has no {ID_COLUMN!r} and {TEXT_COLUMN!r} of a label queue", fix=_EXPORT_AGAIN
        )
    if "data" not in task:
        yield row_id, text, choose(task.get(LABEL_COLUMN), name, number), number, _person(task.get("annotator"))
        return
    annotations = [one for one in _list(task.get("annotations")) if isinstance(one, dict)]
    given = [one for one in annotations if not one.get("was_cancelled")]
    for annotation in given:
        label = _label_of(annotation, name, number, choose)
        yield row_id, text, label, number, _person(annotation.get("completed_by"))
    if not given:
        yield row_id, text, None, number, None


def _person(who: object) -> str | None:
    """Label Studio names people by a number, by an address, or by a record that has both."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    if isinstance(who, str) and who.strip():
        return who.strip()
    return f"label-studio-{who}" if isinstance(who, int) and not isinstance(who, bool) else None


def _label_of(annotation: Mapping[str, Any], name: str, number: int, choose: _Choose) -> str | None:
    results = [one for one in _list(annotation.get("result")) if isinstance(one, dict) and one.get("type") == "choices"]
    values = [one.get("value") for one in results]
    choices = [choice for value in values if isinstance(value, dict) for choice in _list(value.get("choices"))]
    return choose(choices, name, number)


def _any_choices(choices: object, name: str, number: int) -> str | None:
    """What was chosen, as a cell; no choice is no answer, because nobody said that there is none."""
    found = _listed(choices)
    odd = next((choice for choice in found if not isinstance(choice, str) or SEPARATOR in choice), None)
    if odd is not None:
        raise MalformedBatchError(
            f"{name}, task {number} has the label {odd!r}, which is none", fix="correct the labelling interface"
        )
    return SEPARATOR.join(found) or None


def _one_choice(choices: object, name: str, number: int) -> str | None:
    found = _listed(choices)
    if len(found) > 1 or not all(isinstance(choice, str) for choice in found):
        raise MalformedBatchError(
            f"{name}, task {number} has the labels {found}, and an annotation has one",
            fix='choose one label for each text (`choice="single"` in the labelling interface)',
        )
    return str(found[0]).strip() or None if found else None


def _listed(choices: object) -> list[Any]:
    # JSON-MIN writes one choice as text and several as {"choices": [...]}.
    listed = choices.get("choices") if isinstance(choices, dict) else choices
    return [listed] if isinstance(listed, str) else _list(listed)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
