"""The named ways to change text that FTzard brings, as polars expressions.

Their patterns are matched by polars' engine for regular expressions (Rust's `regex`), which neither backtracks nor
knows look-around and back-references: a match takes time linear in the text, whatever the text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from ftzard.core.emoji_words import emoji_as_words
from ftzard.core.html_entities import without_entities
from ftzard.core.mojibake import without_mojibake

# Control characters but those that are whitespace; soft hyphen; marks and overrides of direction; characters of no
# width but the joiners, which words in Persian and Indic scripts and compound emoji are written with.
_INVISIBLE: Final = (
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u{ad}\u{61c}\u{180e}\u{200b}\u{200e}\u{200f}\u{202a}-\u{202e}"
    r"\u{2060}-\u{206f}\u{feff}\u{fff9}-\u{fffb}\u{e0001}]"
)
# Between Latin letters a joiner joins nothing.
_LATIN_JOINER: Final = r"(\p{Latin})[\u{200c}\u{200d}]+"
# All runs of whitespace but a single space, which would be replaced by itself, and is most of them.
_ODD_WHITESPACE: Final = r"\s{2,}|[^\S ]"
# What Python's `\w` is; Rust's takes in marks without a letter and leaves out `²`.
_AT_WORD: Final = r"@+([\p{L}\p{N}_])"
_NOT_BASIC: Final = r"[^a-zA-Z0-9. ]"
_ADDRESS: Final = r"(?i)(?:https?://|\bwww\.)\S+"
_REPEATABLE: Final = tuple(
    chr(code)
    for first, last in ((0x21, 0x17F), (0x391, 0x3C9), (0x410, 0x45F))
    for code in range(first, last + 1)
    if chr(code).isalpha() or chr(code) in "!?.,"
)
# Replaced twice, so that a run of up to 32 comes down to two at once, and a longer one when the step is applied again.
_RUN_LENGTHS: Final = (8, 7, 6, 5, 4, 3)


@dataclass(frozen=True)
class CleaningStep:
    """One named way to change text.

    Attributes:
        name: As in `data.cleaning_steps`.
        description: What it does, in one sentence.
        apply: From an expression of text to one of text, each text by itself.
        version: Of what somebody else registered; empty for FTzard's own.
        concerns: Whether a text may be changed, which is quicker to tell than to try; no only where it surely is not.
    """

    name: str
    description: str
    apply: Callable[[pl.Expr], pl.Expr]
    version: str = ""
    concerns: Callable[[pl.Expr], pl.Expr] | None = None


def _without_tags(text: pl.Expr) -> pl.Expr:
    """Comments first, because a tag may stand in one.

    With all that is opened before it, a tag goes as a whole: `<<<b>b>b>` would otherwise be a tag again twice.
    """
    return text.str.replace_all(r"(?s)<!--.*?-->", " ").str.replace_all(r"<+[a-zA-Z/!?][^>]*>", " ")


def _without_long_runs(text: pl.Expr) -> pl.Expr:
    runs = [character * length for length in _RUN_LENGTHS for character in _REPEATABLE]
    pairs = [character * 2 for _ in _RUN_LENGTHS for character in _REPEATABLE]
    return text.str.replace_many(runs, pairs, leftmost=True).str.replace_many(runs, pairs, leftmost=True)


_STEPS: Final = (
    CleaningStep(
        "unicode_nfc",
        "Write each character in its composed form (Unicode NFC), so that equal-looking texts are equal.",
        lambda text: text.str.normalize("NFC"),
        concerns=lambda text: text.str.len_bytes() != text.str.len_chars(),
    ),
    CleaningStep(
        "collapse_whitespace",
        "Make each run of whitespace, line breaks included, one space, and remove it at both ends.",
        lambda text: text.str.replace_all(_ODD_WHITESPACE, " ").str.strip_chars(),
        concerns=lambda text: text.str.contains(rf"{_ODD_WHITESPACE}|^\s|\s$"),
    ),
    CleaningStep("lowercase", "Make all letters lower case.", lambda text: text.str.to_lowercase()),
    CleaningStep(
        "user_names",
        "Write `@name` as `user name`: an `@` in front of a word becomes the word `user`.",
        lambda text: text.str.replace_all(_AT_WORD, "user ${1}"),
        concerns=lambda text: text.str.contains("@", literal=True),
    ),
    CleaningStep(
        "basic_characters",
        "Remove all characters but ASCII letters, digits, full stop and space.",
        lambda text: text.str.replace_all(rf"{_NOT_BASIC}+", ""),
        concerns=lambda text: text.str.contains(_NOT_BASIC),
    ),
    CleaningStep(
        "replace_urls",
        "Write each web address (from `http://`, `https://` or `www.` to the next whitespace) as `http`.",
        lambda text: text.str.replace_all(_ADDRESS, "http"),
        concerns=lambda text: text.str.contains(_ADDRESS),
    ),
    CleaningStep(
        "html_entities",
        "Write each HTML entity that ends with a semicolon as its character (`&amp;` as `&`), however often escaped.",
        without_entities,
    ),
    CleaningStep(
        "html_tags",
        "Write each HTML tag, from `<` and a letter, `/`, `!` or `?` to the next `>`, and each comment as a space.",
        _without_tags,
    ),
    CleaningStep(
        "emoji_words",
        "Write each emoji as its English Unicode name between spaces (needs the extra `emoji`).",
        emoji_as_words,
    ),
    CleaningStep(
        "mojibake",
        "Turn text back that was decoded in the wrong encoding (`schÃ¶n`), as far as `ftfy` knows; name it first.",
        without_mojibake,
    ),
    CleaningStep(
        "invisible_characters",
        "Remove control characters that are no whitespace, soft hyphens, marks and overrides of direction, and what "
        "has no width, but joiners only after a Latin letter.",
        lambda text: text.str.replace_all(_INVISIBLE, "").str.replace_all(_LATIN_JOINER, "${1}"),
    ),
    CleaningStep(
        "repeated_characters",
        "Write three or more of the same Latin, Greek or Cyrillic letter, `!`, `?`, `.` or `,` in a row as two; name "
        "it after `replace_urls`, because it makes `www.` `ww.`.",
        _without_long_runs,
    ),
)

CLEANING_STEPS: Final[Mapping[str, CleaningStep]] = MappingProxyType({step.name: step for step in _STEPS})
