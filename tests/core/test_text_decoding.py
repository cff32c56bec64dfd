"""The encoding of a file: its own word, the person's, or one that is sure; and no byte replaced in silence."""

import codecs
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.batch_scenario import GERMAN, JAPANESE, PLAIN, put, read

from ftzard.config import DataConfig
from ftzard.core.damaged_text import decode_damaged
from ftzard.core.reading import BatchSource, read_batch
from ftzard.errors import (
    BatchEncodingError,
    ConfigError,
)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize("declared", ["auto", "latin-1"])
def test_a_byte_order_mark_decides_and_is_not_part_of_the_text(
    tmp_path: Path, mark: bytes, encoding: str, declared: str
) -> None:
    path = put(tmp_path, "x.csv", mark + f"text,label\n{JAPANESE},neg\n".encode(encoding))
    frame, source = read_batch(path, "x.csv", DataConfig(encoding=declared))
    assert frame["text"].to_list() == [JAPANESE]
    assert source.encoding == encoding


def test_a_mark_that_stands_twice_or_belongs_to_a_rarer_encoding_is_not_part_of_the_text_either(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", codecs.BOM_UTF8 * 2 + b"text,label\na,b\n") == [(2, "a", "b")]
    content = "\ufefftext,label\na,b\n".encode("gb18030")
    assert read(tmp_path, "y.csv", content, DataConfig(encoding="gb18030")) == [(2, "a", "b")]


@pytest.mark.parametrize(("text", "encoding", "name"), [(GERMAN, "cp1252", "cp1252"), (JAPANESE, "shift_jis", "cp932")])
def test_another_encoding_is_detected_where_it_is_sure_and_is_recorded(
    tmp_path: Path, text: str, encoding: str, name: str
) -> None:
    path = put(tmp_path, "x.csv", f'text,label\nplain,b\n"{text}",a\n'.encode(encoding))
    frame, source = read_batch(path, "x.csv", PLAIN)
    assert frame["text"].to_list() == ["plain", text]
    assert source.encoding == name


@pytest.mark.parametrize("line", ["Mieszkam w Łodzi, zażółć gęślą jaźń".encode("iso8859_2"), bytes(range(128, 256))])
def test_an_encoding_that_cannot_be_told_is_an_error_with_the_place_and_what_to_declare(
    tmp_path: Path, line: bytes
) -> None:
    content = b'text,label\nplain,a\n"' + line + b'",b\n'
    offset = next(index for index, byte in enumerate(content) if byte > 127)
    with pytest.raises(BatchEncodingError, match=rf"x\.csv .*byte offset {offset}, line 3") as caught:
        read(tmp_path, "x.csv", content)
    assert "data.encoding=latin-1" in caught.value.fix


def test_a_declared_encoding_is_used(tmp_path: Path) -> None:
    content = "text,label\ncafé,a\n".encode("latin-1")
    assert read(tmp_path, "x.csv", content, DataConfig(encoding="latin-1")) == [(2, "café", "a")]


def test_how_sure_a_detected_encoding_is_stands_beside_it(tmp_path: Path) -> None:
    def source(content: bytes, config: DataConfig = PLAIN) -> BatchSource:
        return read_batch(put(tmp_path, "x.csv", b"text,label\n" + content), "x.csv", config)[1]

    assert source(b"a,b\n").encoding_confidence == 1
    assert source("é,b\n".encode(), DataConfig(encoding="utf-8")).encoding_confidence is None
    guessed = source(f'"{GERMAN}",a\n'.encode("cp1252"))
    assert guessed.encoding == "cp1252"
    assert 0.9 <= (guessed.encoding_confidence or 0) <= 1


def test_utf_8_with_a_damaged_byte_is_never_guessed_to_be_something_else(tmp_path: Path) -> None:
    content = f'text,label\n"{GERMAN}",a\n{JAPANESE},b\n'.encode() + b"caf\xe9,c\n"
    with pytest.raises(BatchEncodingError, match=r"'utf-8': 1 of \d+ bytes"):
        read(tmp_path, "x.csv", content)
    frame, source = read_batch(tmp_path / "x.csv", "x.csv", DataConfig(max_replaced_fraction=0.01))
    assert frame["text"].to_list() == [GERMAN, JAPANESE, "caf\ufffd"]
    assert source.num_replaced_bytes == 1
    assert "1 bytes replaced" in source.summary


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["utf-8", "cp1252", "shift_jis", "utf-16-le", "ascii"]))
def test_every_replaced_byte_is_counted_and_the_others_are_read_as_python_reads_them(data: bytes, name: str) -> None:
    text, damage = decode_damaged(data, name)
    assert text == data.decode(name, errors="replace")
    assert damage.num_bytes >= text.count("\ufffd") - data.decode(name, errors="ignore").count("\ufffd")
    assert (damage.num_bytes == 0) == (damage.places == "")
    assert damage.num_bytes <= len(data)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_bytes_outside_the_declared_encoding_are_an_error_with_the_place_and_are_not_replaced(
    tmp_path: Path, name: str
) -> None:
    content = "text,label\nfine,a\ncafé,a\n".encode("latin-1")
    with pytest.raises(BatchEncodingError, match=rf"{name} .*'utf-8'.*byte e9 at byte offset 21, line 3"):
        read(tmp_path, name, content, DataConfig(encoding="utf-8"))


def test_a_file_cut_within_a_character_is_an_error_also_behind_a_byte_order_mark(tmp_path: Path) -> None:
    content = codecs.BOM_UTF8 + "text,label\ncafé".encode()[:-1]
    with pytest.raises(BatchEncodingError, match=f"byte offset {len(content) - 1}, line 2"):
        read(tmp_path, "x.csv", content)


def test_utf_8_read_under_another_declared_encoding_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(tmp_path, "x.csv", "text,label\ncafé,a\n", DataConfig(encoding="latin-1"))[0][1] == "cafÃ©"
    assert "x.csv is valid UTF-8 but was read as latin-1" in caplog.text
    caplog.clear()
    read(tmp_path, "y.csv", "text,label\ncafé,a\n", DataConfig(encoding="UTF8"))
    assert caplog.text == ""


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13"])
def test_an_encoding_that_does_not_exist_is_a_configuration_error(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ConfigError, match=f"data.encoding is '{encoding}'"):
        read(tmp_path, "x.csv", "text,label\na,b\n", DataConfig(encoding=encoding))
