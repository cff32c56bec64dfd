"""HTML entities as the characters they stand for, escaped as often as they may be."""

import html
import re
from html.entities import html5
from typing import Final

import polars as pl

# Only with a semicolon: without one, the `&copy=1` of a web address would become a copyright sign.
_ENTITY: Final = r"&(?:#[0-9]{1,10}|#[xX][0-9a-fA-F]{1,8}|[a-zA-Z][a-zA-Z0-9]{1,31});"
_AT_END: Final = re.compile(_ENTITY + r"\Z")
_LONGEST: Final = 34


def without_entities(text: pl.Expr) -> pl.Expr:
    """Replace each entity that ends with a semicolon by its character, as often as texts were escaped.

    Looks with Python only at the distinct texts that hold something like an entity.
    """
    return text.map_batches(_replaced, return_dtype=pl.String, is_elementwise=True)


def _replaced(texts: pl.Series) -> pl.Series:
    with_entity = texts.filter(texts.str.contains(_ENTITY).fill_null(value=False)).unique()
    if with_entity.is_empty():
        return texts
    unescaped = pl.Series([unescape(text) for text in with_entity], dtype=pl.String)
    return texts.replace(with_entity, unescaped)


def unescape(text: str) -> str:
    """Replace entities from left to right, and those that come about by it: `&amp;lt;` becomes `<`.

    One pass, in time linear in the text's length however deep it is escaped: an entity is complete with its semicolon,
    so that only what stands directly before one has to be looked at. What only looks like an entity stays.
    """
    parts = text.split(";")
    # The text before the current position, which holds no complete entity.
    done = list(parts[0])
    for part in parts[1:]:
        _close(done)
        done.extend(part)
    return "".join(done)


def _close(done: list[str]) -> None:
    """Append a semicolon, and replace the entity that it completes."""
    done.append(";")
    while done and done[-1] == ";" and (found := _AT_END.search("".join(done[-_LONGEST:]))):
        characters = _characters(found[0])
        if characters is None:
            return
        del done[-len(found[0]) :]
        done.extend(characters)


def _characters(entity: str) -> str | None:
    """What an entity stands for: nothing for a number that HTML allows no character for, None for an unknown name."""
    return html.unescape(entity) if entity.startswith("&#") else html5.get(entity[1:])
