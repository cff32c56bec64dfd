"""How large the compressed buffers of an Arrow file are when they are unpacked, by what stands before each of them.

Readers say so when they have unpacked them, and some kilobytes can hold a text of gigabytes. So the file's messages are
looked at here; they are flatbuffers (https://arrow.apache.org/docs/format/Columnar.html#format-ipc).
"""

import struct
from collections.abc import Iterator
from typing import Final

_MARK: Final = b"ARROW1"
_CONTINUATION: Final = b"\xff\xff\xff\xff"
# The fields that are looked at, by their number in their table: of the footer, a message, a dictionary and a batch.
_DICTIONARIES, _BATCHES = 2, 3
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3
_CONTENT: Final = 1
_BUFFERS, _COMPRESSION = 2, 3
# What a message can be, besides a schema.
_DICTIONARY, _BATCH = 2, 3
# A message's place in the footer: offset, bytes before the body, bytes of the body. A buffer's: offset, bytes.
_BLOCK: Final = struct.Struct("<qi4xq")
_BUFFER: Final = struct.Struct("<qq")
_SIZE_BYTES: Final = 8


def unpacked_size(data: bytes, *, is_stream: bool) -> int:
    """The bytes that the compressed buffers of a file have when they are unpacked; of others none.

    Args:
        data: The file's bytes.
        is_stream: Whether it is in the format for streams, and not in that for files.

    Raises:
        ValueError: It is damaged.
    """
    total = 0
    try:
        messages = _in_stream(data) if is_stream else _in_file(data)
        sizes = (size for message, body in messages for size in _sizes(data, message, body))
        for number, size in enumerate(sizes):
            if number * _BUFFER.size > len(data):
                problem = "it names its parts again and again"
                raise ValueError(problem)
            total += size
    except struct.error as error:
        problem = "what it says of its own parts leads out of it"
        raise ValueError(problem) from error
    return total


def _in_file(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each message and its body begin, by the footer, which readers go by."""
    end = len(data) - len(_MARK) - 4
    if not data.endswith(_MARK):
        problem = "its end is missing"
        raise ValueError(problem)
    footer = _followed(data, end - _number("<i", data, end))
    for field in (_DICTIONARIES, _BATCHES):
        for place in _elements(data, footer, field, _BLOCK.size):
            start, length, _ = _BLOCK.unpack_from(data, place)
            yield _begun(data, start)[0], start + length


def _in_stream(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each message and its body begin, one after the other."""
    place = 0
    while True:
        message, length = _begun(data, place)
        if length <= 0:
            return
        body = message + length
        yield message, body
        at = _field(data, _followed(data, message), _BODY_LENGTH)
        place = body + (max(0, _number("<q", data, at)) if at else 0)


def _begun(data: bytes, place: int) -> tuple[int, int]:
    """Where a message begins after its length, and the length; before 2019 nothing stood before that."""
    place += 4 if data[place : place + 4] == _CONTINUATION else 0
    return place + 4, _number("<i", data, place)


def _sizes(data: bytes, message: int, body: int) -> Iterator[int]:
    """The sizes of a message's compressed buffers."""
    table = _followed(data, message)
    kind, header = _field(data, table, _KIND), _field(data, table, _HEADER)
    is_a = _number("<B", data, kind) if kind else 0
    if is_a not in (_DICTIONARY, _BATCH):
        return
    batch = _followed(data, header)
    if is_a == _DICTIONARY:
        batch = _followed(data, _field(data, batch, _CONTENT))
    if not _field(data, batch, _COMPRESSION):
        return
    for place in _elements(data, batch, _BUFFERS, _BUFFER.size):
        offset, length = _BUFFER.unpack_from(data, place)
        # -1 stands before one that would not have become smaller.
        yield max(0, _number("<q", data, body + offset)) if length >= _SIZE_BYTES else 0


def _elements(data: bytes, table: int, field: int, size: int) -> range:
    """Where the elements of a vector begin."""
    at = _field(data, table, field)
    if not at:
        return range(0)
    start = _followed(data, at)
    return range(start + 4, start + 4 + _number("<I", data, start) * size, size)


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 where the table has none."""
    fields = table - _number("<i", data, table)
    slot = 4 + 2 * number
    offset = _number("<H", data, fields + slot) if slot < _number("<H", data, fields) else 0
    return table + offset if offset else 0


def _followed(data: bytes, place: int) -> int:
    """Where an offset leads to."""
    return place + _number("<I", data, place)


def _number(kind: str, data: bytes, place: int) -> int:
    if place < 0:
        # From the end, as Python would have it.
        raise struct.error
    number: int = struct.unpack_from(kind, data, place)[0]
    return number
