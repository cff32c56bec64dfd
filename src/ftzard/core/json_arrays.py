"""A JSON file of records: an array of objects, or one object on each line, as both are called `.json`."""

import json
import re
from typing import Final

from ftzard.core.cell_values import shorten
from ftzard.errors import MalformedBatchError

_decoder: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_LINE_END: Final = re.compile(r"[\n\r]")
_BRING_RECORDS: Final = (
    'write an array of objects, such as [{"text": "...", "label": "..."}] (pandas: orient="records"), or one object on '
    "each line; or move the file out of the data folder"
)


def as_json_lines(text: str, name: str) -> str:
    """Write the elements of an array each on a line, line N being the Nth; JSON lines stay as they are.

    Args:
        text: The file's text.
        name: What to call it.

    Raises:
        MalformedBatchError: It is neither.
    """
    start = _after_blanks(text, 0)
    if text[start : start + 1] == "[":
        return "\n".join(_elements(text, start + 1, name))
    try:
        _, end = _decoder.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise MalformedBatchError(f"{name} is not JSON: {error}", fix=_BRING_RECORDS) from error
    if text[start : start + 1] == "{" and not _LINE_END.search(text[start:end]):
        return text
    raise MalformedBatchError(
        f"{name} holds {shorten(repr(text[start:end]))} where an array of objects should be", fix=_BRING_RECORDS
    )


def _elements(text: str, place: int, name: str) -> list[str]:
    """The elements of the array whose first bracket was passed, each without line ends."""
    found: list[str] = []
    place = _after_blanks(text, place)
    if text[place : place + 1] != "]":
        while True:
            start = place
            try:
                place = _decoder.raw_decode(text, start)[1]
            except (ValueError, RecursionError) as error:
                raise MalformedBatchError(
                    f"{name}, element {len(found) + 1} of the array is not JSON: {error}", fix=_BRING_RECORDS
                ) from error
            # Within a string a line end is written as an escape.
            found.append(_LINE_END.sub(" ", text[start:place]))
            place = _after_blanks(text, place)
            if text[place : place + 1] != ",":
                break
            place = _after_blanks(text, place + 1)
    _check_end(text, place, name, len(found))
    return found


def _check_end(text: str, place: int, name: str, num_elements: int) -> None:
    if text[place : place + 1] != "]":
        what = "is cut short" if place == len(text) else f"goes on with {shorten(repr(text[place : place + 80]))}"
        raise MalformedBatchError(f"{name}: the array {what} after element {num_elements}", fix=_BRING_RECORDS)
    if _after_blanks(text, place + 1) != len(text):
        raise MalformedBatchError(
            f"{name} goes on behind the end of its array, after element {num_elements}", fix=_BRING_RECORDS
        )


def _after_blanks(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return match.end() if match else place
