"""Texts in a language that is not wanted, told by lingua, which is made for short texts.

Short texts often look like several languages, so doubt keeps a text: it is left out only where one other language is
more probable than all the rest together.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from ftzard.errors import ConfigError, MissingPackageError

if TYPE_CHECKING:
    from lingua import LanguageDetector

    from ftzard.config import DataConfig

OTHER_LANGUAGE: Final = "other_language"
# Of 2,000 English tweets this leaves out 6, all of them mangled before they were published.
_MIN_PROBABILITY: Final = 0.5


def with_language_reason(rows: pl.DataFrame, config: "DataConfig") -> pl.DataFrame:
    """Give each row whose text is in another language than `data.languages` names that as its `reason`.

    Args:
        rows: With columns `cleaned` and `reason`; rows that have a reason keep it.
        config: Names the languages; none: every language is wanted.

    Raises:
        ConfigError: A language is unknown.
        MissingPackageError: `lingua-language-detector` is not installed.
    """
    if not config.languages:
        return rows
    texts = rows.filter(pl.col("reason").is_null())["cleaned"].unique().sort()
    others = _in_other_languages(texts.to_list(), config.languages)
    is_other = pl.col("reason").is_null() & pl.col("cleaned").is_in(others)
    return rows.with_columns(reason=pl.when(is_other).then(pl.lit(OTHER_LANGUAGE)).otherwise("reason"))


def _in_other_languages(texts: Sequence[str], wanted: Sequence[str]) -> list[str]:
    known = _languages()
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ConfigError(
            f"data.languages names {unknown}, which cannot be told; known are {', '.join(sorted(known))}",
            fix="name languages by their two letters of ISO 639-1, such as en",
        )
    # The quick one is several times as fast and rather takes a short text for another language than misses one: only
    # what it finds is looked at with all that there is.
    suspects = [text for text, code, _ in _most_probable(_detector(is_quick=True), texts) if code not in wanted]
    judged = _most_probable(_detector(is_quick=False), suspects)
    return [text for text, code, probability in judged if code not in wanted and probability > _MIN_PROBABILITY]


def _most_probable(detector: "LanguageDetector", texts: Sequence[str]) -> list[tuple[str, str, float]]:
    """Each text with the language that is most probable, and how probable it is among all that lingua knows."""
    found = detector.compute_language_confidence_values_in_parallel(list(texts)) if texts else []
    return [
        (text, values[0].language.iso_code_639_1.name.lower(), float(values[0].value))
        for text, values in zip(texts, found, strict=True)
    ]


@cache
def _detector(*, is_quick: bool) -> "LanguageDetector":
    from lingua import LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    return (builder.with_low_accuracy_mode() if is_quick else builder).build()


@cache
def _languages() -> frozenset[str]:
    """The languages that can be told, by their two letters of ISO 639-1."""
    try:
        from lingua import Language
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "data.languages needs the Python package lingua-language-detector, which is not installed",
            fix="pip install 'ftzard[language]', or take data.languages out of the configuration",
        ) from error
    return frozenset(language.iso_code_639_1.name.lower() for language in Language.all())
