"""Texts of strangers made fit to be looked at: what cannot be seen is written out, and what is long is cut.

This is about the eye. That a text does not become markup is up to whoever puts it on a page.
"""

import unicodedata
from typing import Final

# Printable by Unicode's account, and still nothing to be seen: fillers, a joiner, and the empty braille cell.
_BLANK: Final = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")
# More marks than this on one letter are there to spill over other lines; no script needs them.
_MAX_MARKS: Final = 4


def visible(text: str) -> str:
    r"""Write out what cannot be seen, such as control, zero-width and direction characters, as `\x1b` or `\u202e`.

    Letters and marks of all scripts stay as they are, so that Arabic, Hindi or Thai can be read.
    """
    shown: list[str] = []
    num_marks = 0
    for character in text:
        num_marks = num_marks + 1 if unicodedata.combining(character) else 0
        shown.append(character if _is_seen(character) and num_marks <= _MAX_MARKS else _escaped(character))
    return "".join(shown)


def shortened(text: str, max_characters: int) -> str:
    """Cut a text that is longer, and say so with an ellipsis as its last character."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"


def excerpt(text: str, max_characters: int) -> str:
    """The beginning of a text, visible."""
    # Cut first: an escape is longer than what it stands for, and must not be cut in half.
    return visible(shortened(text, max_characters))


def _is_seen(character: str) -> bool:
    return character == " " or (character.isprintable() and character not in _BLANK)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
