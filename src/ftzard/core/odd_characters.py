"""What in cleaned texts looks like an accident: of an encoding, of an export, or of somebody who hides something."""

from dataclasses import dataclass
from typing import Final

import polars as pl

_NUM_SHOWN: Final = 3
# Characters of an example, and how many of them stand before what is odd.
_CONTEXT: Final = 30


@dataclass(frozen=True)
class OddKind:
    """A kind of accident.

    Attributes:
        name: For people.
        pattern: What gives it away, for polars' regular expressions.
        advice: What may have happened, and what would help.
    """

    name: str
    pattern: str
    advice: str


@dataclass(frozen=True)
class OddCharacters:
    """Texts with one kind of accident.

    Attributes:
        kind: Which.
        num_texts: How many.
        examples: Around the first place in some of them.
    """

    kind: OddKind
    num_texts: int
    examples: tuple[str, ...]


_KINDS: Final = (
    OddKind(
        "replacement characters",
        r"\u{FFFD}",
        "an earlier program could not read the file's encoding, and what stood there is lost",
    ),
    OddKind(
        "UTF-8 read as Latin-1",
        r"[\u{C2}\u{C3}][\u{80}-\u{BF}]|\u{E2}\u{20AC}|\u{E2}[\u{80}-\u{9F}]|\u{F0}\u{9F}|\u{F0}\u{178}",
        "read the file with data.encoding=utf-8, or repair it where it was made",
    ),
    OddKind(
        "control characters of Latin-1",
        r"[\u{80}-\u{84}\u{86}-\u{9F}]",
        "no text has them: the file is in another encoding (data.encoding), or was mangled before it came here",
    ),
    OddKind(
        "other control characters",
        r"[\x00-\x08\x0E-\x1F\x7F]",
        "such as ANSI colours of a terminal's log; the cleaning step invisible_characters removes the character",
    ),
    OddKind(
        "zero-width and direction characters",
        r"[\u{AD}\u{61C}\u{180E}\u{200B}\u{200E}\u{200F}\u{202A}-\u{202E}\u{2060}-\u{206F}\u{FEFF}]",
        "they make equal-looking texts differ; the cleaning step invisible_characters removes them",
    ),
    OddKind(
        "HTML entities",
        r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});",
        "the cleaning step html_entities writes them as their characters",
    ),
    OddKind("HTML tags", r"</?[a-zA-Z][^<>]{0,200}>", "the cleaning step html_tags takes them out"),
)


def odd_characters(texts: pl.Series) -> tuple[OddCharacters, ...]:
    """Count the texts with each kind of accident, most first; those that there are none of are left out.

    Args:
        texts: Without null.
    """
    found = []
    for kind in _KINDS:
        odd = texts.filter(texts.str.contains(kind.pattern))
        if not odd.is_empty():
            shown = odd.head(_NUM_SHOWN).str.extract(rf"(?s)(.{{0,{_CONTEXT}}}(?:{kind.pattern}).{{0,{_CONTEXT}}})")
            found.append(OddCharacters(kind, odd.len(), tuple(shown)))
    return tuple(sorted(found, key=lambda one: -one.num_texts))
