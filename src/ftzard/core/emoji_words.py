"""Emoji as words, by the names that Unicode gives them.

The package `emoji` is data to us here: its table of emoji and names. They are replaced by polars, all at once and the
longest first, so that a family is not taken for three people.
"""

from functools import cache

import polars as pl

from ftzard.errors import MissingPackageError


def emoji_as_words(text: pl.Expr) -> pl.Expr:
    """Replace each emoji by its English name between spaces.

    Raises:
        MissingPackageError: `emoji` is not installed.
    """
    emoji, words = _names()
    return text.str.replace_many(emoji, words, leftmost=True)


@cache
def _names() -> tuple[list[str], list[str]]:
    """The emoji, the longest first, and beside them their names."""
    try:
        from emoji import EMOJI_DATA
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "the cleaning step emoji_words needs the Python package emoji, which is not installed",
            fix="pip install 'ftzard[emoji]', or take emoji_words out of data.cleaning_steps",
        ) from error
    longest_first = sorted(EMOJI_DATA, key=lambda emoji: (-len(emoji), emoji))
    names = [EMOJI_DATA[emoji]["en"].strip(":").replace("_", " ") for emoji in longest_first]
    return longest_first, [f" {name} " for name in names]
