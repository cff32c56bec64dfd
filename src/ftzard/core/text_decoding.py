"""From the bytes of a text file to its text, by an encoding that the file says, the person says, or that is sure.

Where the bytes leave a choice, the person is asked to declare it. No byte is replaced but where a share is allowed for
it, and then each is counted.
"""

import codecs
import logging
from dataclasses import dataclass
from typing import Final

from ftzard.core.batch_names import printable
from ftzard.core.damaged_text import Damage, decode_damaged
from ftzard.core.encoding_guess import guess_encoding, utf_16_without_mark
from ftzard.errors import BatchEncodingError, ConfigError

_logger = logging.getLogger(__name__)

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURE: Final = 1.0
_PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class DecodedText:
    """A file's text, and how it was got.

    Attributes:
        text: Without byte order mark.
        encoding: The name of the encoding that was used.
        confidence: From 0 to 1: how sure the encoding is, by the file's own mark or by its bytes; None where it was
            declared.
        num_replaced_bytes: How many bytes became U+FFFD because they are no text in the encoding.
    """

    text: str
    encoding: str
    confidence: float | None
    num_replaced_bytes: int = 0


def decode(data: bytes, name: str, encoding: str, max_replaced_fraction: float = 0.0) -> DecodedText:
    """Decode a text file.

    A byte order mark decides, even over a declared encoding: it is the file's own word, and one project may hold
    old latin-1 batches beside files exported with a mark. Then comes what is declared; then UTF-16 without a mark and
    UTF-8, if the bytes are that beyond doubt; then a guess, if it is a sure one.

    Args:
        data: The file's bytes.
        name: The file's name for messages.
        encoding: A Python codec name, or `auto`.
        max_replaced_fraction: The share of the bytes that may be no text in the encoding.

    Raises:
        ConfigError: `encoding` is not the name of a text encoding.
        BatchEncodingError: More of the bytes are not text in the encoding, or it cannot be told for sure.
    """
    name = printable(name)
    for mark, marked in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decode_as(data, name, marked, _SURE, max_replaced_fraction, start=len(mark))
    if encoding != "auto":
        _check_encoding(encoding)
        _check_byte_order(data, name, encoding)
        decoded = _decode_as(data, name, encoding, None, max_replaced_fraction)
        _warn_if_utf_8(data, name, encoding)
        return decoded
    if wide := utf_16_without_mark(data):
        _logger.info("%s is %s without a byte order mark", name, wide)
        return _decode_as(data, name, wide, _SURE, max_replaced_fraction)
    return _detect(data, name, max_replaced_fraction)


def _detect(data: bytes, name: str, max_replaced_fraction: float) -> DecodedText:
    try:
        return DecodedText(data.decode("utf-8"), "utf-8", _SURE)
    except UnicodeDecodeError as error:
        _, damage = decode_damaged(data, "utf-8")
        # Text in another encoding hardly ever holds a sequence that UTF-8 allows.
        if damage.num_bytes < damage.num_good_sequences:
            return _decode_as(data, name, "utf-8", _SURE - damage.fraction, max_replaced_fraction)
        guess, confidence = guess_encoding(data, name, error)
    return _decode_as(data, name, guess, confidence, max_replaced_fraction)


def _decode_as(
    data: bytes, name: str, encoding: str, confidence: float | None, max_replaced_fraction: float, start: int = 0
) -> DecodedText:
    try:
        return DecodedText(data[start:].decode(encoding).removeprefix("\ufeff"), encoding, confidence)
    except UnicodeDecodeError:
        text, damage = decode_damaged(data, encoding, start)
    except UnicodeError as error:
        raise BatchEncodingError(
            f"{name} is not text in the encoding {encoding!r}: {error}",
            fix="set data.encoding to the encoding that the file was written in, or write the file as UTF-8",
        ) from error
    if damage.is_endless or damage.fraction > max_replaced_fraction:
        raise _too_damaged(damage, name, encoding, max_replaced_fraction)
    _logger.warning(
        "%s: %d of %d bytes are not text in the encoding %s and became U+FFFD, at: %s",
        name,
        damage.num_bytes,
        damage.num_all_bytes,
        encoding,
        damage.places,
    )
    return DecodedText(text.removeprefix("\ufeff"), encoding, confidence, damage.num_bytes)


def _too_damaged(damage: Damage, name: str, encoding: str, max_replaced_fraction: float) -> BatchEncodingError:
    more = "more than " if damage.is_endless else ""
    limit = f", and data.max_replaced_fraction is {max_replaced_fraction:g}" if max_replaced_fraction else ""
    return BatchEncodingError(
        f"{name} is not text in the encoding {encoding!r}: {more}{damage.num_bytes} of {damage.num_all_bytes} bytes "
        f"({more}{damage.fraction:.3%}) are not{limit}: {damage.places}",
        fix="set data.encoding to the encoding that the file was written in (`auto` has it detected), write the file "
        f"as UTF-8, or have such bytes replaced by U+FFFD with data.max_replaced_fraction={damage.allowing_fraction:g}",
    )


def _check_encoding(encoding: str) -> None:
    try:
        b" ".decode(encoding, errors="ignore")
    except (LookupError, UnicodeError) as error:
        raise ConfigError(
            f"data.encoding is {encoding!r}, which is not a text encoding that Python knows",
            fix="give one of Python's codec names, such as utf-8, latin-1 or cp1252, or `auto` to have it detected",
        ) from error


def _check_byte_order(data: bytes, name: str, encoding: str) -> None:
    """UTF-16 in the wrong byte order decodes without an error, to other characters."""
    declared = codecs.lookup(encoding).name
    if declared.startswith("utf-16") and (found := utf_16_without_mark(data)) and not _is_order(declared, found):
        raise BatchEncodingError(
            f"{name} is {found} by its bytes, not {encoding} as data.encoding says",
            fix=f"set data.encoding={found}, or auto",
        )


def _is_order(declared: str, found: str) -> bool:
    # Without a mark, Python reads plain `utf-16` in the machine's own order.
    own = "utf-16-le" if codecs.BOM_UTF16 == codecs.BOM_UTF16_LE else "utf-16-be"
    return found == (own if declared == "utf-16" else declared)


def _warn_if_utf_8(data: bytes, name: str, encoding: str) -> None:
    """Say so when a declared encoding reads a file that is UTF-8 beyond doubt: latin-1 reads anything, as mojibake."""
    if data.isascii() or codecs.lookup(encoding).name.startswith("utf-8"):
        return
    # Piece by piece, because nothing is done with the text.
    decoder, bytes_of = codecs.getincrementaldecoder("utf-8")(), memoryview(data)
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            decoder.decode(bytes_of[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return
    _logger.warning("%s is valid UTF-8 but was read as %s, as data.encoding says", name, encoding)
