"""What a batch file's name says: its format, how it is compressed, and whether it is finished; and how to show it."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ftzard.errors import MalformedBatchError

DELIMITED_SUFFIXES: Final = (".csv", ".tsv")
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")
JSON_SUFFIX: Final = ".json"
TEXT_SUFFIXES: Final = (*DELIMITED_SUFFIXES, *JSON_LINES_SUFFIXES, JSON_SUFFIX)
PARQUET_SUFFIX: Final = ".parquet"
ARROW_SUFFIXES: Final = (".arrow", ".feather", ".ipc")
COMPRESSED_SUFFIXES: Final = (".gz", ".zst")
_FORMATS: Final = (*TEXT_SUFFIXES, PARQUET_SUFFIX, *ARROW_SUFFIXES)
# For messages.
KNOWN_SUFFIXES: Final = f"{', '.join(_FORMATS)}, or .gz or .zst after a text format (.csv.gz)"
# Of spreadsheets, which hold many things beside rows.
_SHEET_SUFFIXES: Final = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
# What programs name a file that they have not finished, or keep beside one that is open.
_TEMPORARY_SUFFIXES: Final = (".tmp", ".part", "~")
_TEMPORARY_PREFIXES: Final = (".", "~")


@dataclass(frozen=True)
class BatchKind:
    """What a file is, by its name.

    Attributes:
        format: The suffix of its format, in lower case, such as `.csv`.
        compression: `.gz`, `.zst`, or nothing.
    """

    format: str
    compression: str = ""

    @property
    def suffix(self) -> str:
        """The whole of it, such as `.csv.gz`."""
        return self.format + self.compression


def kind_of(name: str) -> BatchKind | None:
    """The kind of a file by its name or path, in whatever case; None for one that is not read."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in _FORMATS:
        return BatchKind(last)
    inner = suffixes[-2] if len(suffixes) > 1 else ""
    return BatchKind(inner, last) if last in COMPRESSED_SUFFIXES and inner in TEXT_SUFFIXES else None


def remedy_for(name: str) -> str:
    """What to do about a file that is of no kind that is read, by its name."""
    if name.lower().endswith(_SHEET_SUFFIXES):
        return "save its sheet as CSV, in UTF-8"
    return f"give a file that ends in {KNOWN_SUFFIXES}"


def is_passed_over(name: str) -> bool:
    """Whether a file name says hidden, or not finished."""
    return name.startswith(_TEMPORARY_PREFIXES) or name.lower().endswith(_TEMPORARY_SUFFIXES)


def printable(name: str) -> str:
    r"""A name for a message, with escapes for what a terminal would obey or not show: `\n` for a line break."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in name
    )


def check_name(name: str) -> None:
    """Refuse a name that cannot be kept with each row.

    Raises:
        MalformedBatchError: It is not valid UTF-8.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedBatchError(
            f"the name of the file {printable(name)} is not valid UTF-8",
            fix="rename the file; its name is kept with each row",
        ) from error
