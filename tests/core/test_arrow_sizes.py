"""What an Arrow file has unpacked is known before it is unpacked, and no damage leads astray."""

import io
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, ipc

from ftzard.core.arrow_sizes import unpacked_size

_MIB = 1024**2


def _written(table: pa.Table, compression: str | None, *, is_stream: bool) -> bytes:
    sink = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=compression)
    with (ipc.new_stream if is_stream else ipc.new_file)(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_large_text_is_told_by_its_size_and_takes_no_memory(*, compression: str, is_stream: bool) -> None:
    data = _written(pa.table({"text": ["x" * 64 * _MIB, "y"]}), compression, is_stream=is_stream)
    assert len(data) < _MIB
    tracemalloc.start()
    try:
        assert unpacked_size(data, is_stream=is_stream) == pytest.approx(64 * _MIB, rel=1e-3)
        assert tracemalloc.get_traced_memory()[1] < _MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_stream", [False, True])
def test_batches_and_dictionaries_are_counted_each(*, is_stream: bool) -> None:
    words = pa.array(["word " * 10_000, "other " * 10_000]).dictionary_encode()
    data = _written(pa.table({"text": pa.chunked_array([words] * 3)}), "zstd", is_stream=is_stream)
    # The dictionary once, of each batch two indices.
    assert unpacked_size(data, is_stream=is_stream) == pytest.approx(110_000, rel=0.01)
    numbers = pa.table({"n": pa.chunked_array([[1] * 1000] * 7, pa.int64())})
    assert unpacked_size(_written(numbers, "lz4", is_stream=is_stream), is_stream=is_stream) == 7 * 8000


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_not_compressed_is_no_larger_than_the_file(*, is_stream: bool) -> None:
    data = _written(pa.table({"text": ["x" * _MIB]}), None, is_stream=is_stream)
    assert unpacked_size(data, is_stream=is_stream) == 0


def test_feather_is_the_same_format() -> None:
    sink = io.BytesIO()
    feather.write_feather(pa.table({"text": ["x" * _MIB]}), sink)
    assert unpacked_size(sink.getvalue(), is_stream=False) == pytest.approx(_MIB, rel=1e-3)


_TABLE = pa.table({"text": ["a" * 200, "b"], "label": pa.array(["p", "n"]).dictionary_encode()})
_FILES = {is_stream: _written(_TABLE, "zstd", is_stream=is_stream) for is_stream in (False, True)}


@given(st.booleans(), st.integers(0, 2**16), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_damaged_file_ends_with_a_number_or_is_told(is_stream: bool, at: int, wrong: bytes, is_cut: bool) -> None:
    whole = _FILES[is_stream]
    at %= len(whole)
    data = whole[:at] if is_cut else (whole[:at] + wrong + whole[at + len(wrong) :])
    try:
        assert unpacked_size(data, is_stream=is_stream) >= 0
    except ValueError as error:
        assert str(error)  # noqa: PT017
