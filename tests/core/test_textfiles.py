"""Text files inside requests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.fields import Kind
from safellm._core.textfiles import FileBody, decode, read_file

VALUES = st.recursive(
    st.one_of(
        st.text(max_size=8), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16-le-mark", "utf-16-be-mark"]


def encoded(text: str, encoding: str) -> bytes:
    """Return bytes with or without a mark."""
    if encoding.endswith("-mark"):
        name = encoding.removesuffix("-mark")
        return "\ufeff".encode(name) + text.encode(name)
    return text.encode(encoding)


def read(data: bytes) -> FileBody:
    """Return a file that must be text."""
    body = read_file(data, max_depth=100)
    assert body is not None
    return body


@given(st.binary(max_size=60))
def test_any_bytes_come_back_as_they_were(data: bytes) -> None:
    """Reading a file and writing it back changes no byte, and nothing that isn't read is taken for text."""
    body = read_file(data, max_depth=100)
    if body is not None:
        assert body.encode() == data


@given(VALUES, st.sampled_from(ENCODINGS), st.sampled_from([None, 1]), st.booleans())
def test_json_is_read_text_by_text_and_written_back(
    value: object, encoding: str, indent: int | None, ascii_only: bool
) -> None:
    """Every string and long number is a field with its path; without a change nothing changes."""
    data = encoded(json.dumps([value], indent=indent, ensure_ascii=ascii_only), encoding)
    body = read(data)
    assert body.encode() == data
    texts = {(one.path, one.text) for one in body.fields()}

    def walk(item: object, path: tuple[object, ...]) -> None:
        if isinstance(item, str):
            assert (path, item) in texts
        elif isinstance(item, dict):
            for key, inner in item.items():
                walk(inner, (*path, key))
        elif isinstance(item, list):
            for index, inner in enumerate(item):
                walk(inner, (*path, index))

    walk([value], ())


@given(VALUES, st.text(max_size=5), st.sampled_from(ENCODINGS), st.booleans())
def test_r_6_a_changed_text_is_the_only_change(value: object, new: str, encoding: str, ascii_only: bool) -> None:
    """Whatever is written into a field, the file stays JSON and all else as it was."""
    source = {"a": value, "secret": "old", "z": [1.50, 2e3]}
    text = json.dumps(source, ensure_ascii=ascii_only)
    body = read(encoded(text, encoding))
    next(one for one in body.fields() if one.path == ("secret",) and one.text == "old").put(new)
    decoded = decode(body.encode())
    assert decoded is not None
    assert json.loads(decoded.text) == {**source, "secret": new}
    assert decoded.text == text.replace('"secret": "old"', f'"secret": {json.dumps(new)}')


def test_json_lines_have_a_path_for_each_line() -> None:
    """Numbers of nine and more digits are texts as well; the rest of the line stays."""
    data = b'{"a": "x", "n": 4111111111111111, "s": 5}\r\n\n{"a" : "y"}\n'
    body = read(data)
    assert [(one.path, one.text) for one in body.fields() if one.text in ("x", "y", "4111111111111111")] == [
        (("a",), "x"),
        (("n",), "4111111111111111"),
        (("a",), "y"),
    ]
    for one in body.fields():
        if one.text == "4111111111111111":
            one.put("X")
    assert body.encode() == data.replace(b"4111111111111111", b'"X"')


def test_images_of_notebooks_are_data() -> None:
    """Outputs that are images aren't searched as text, and count as what can't be."""
    book = {"cells": [{"outputs": [{"data": {"image/png": "iVBORw0KGgo" + "A" * 80, "text/plain": ["<Figure>"]}}]}]}
    body = read(json.dumps(book).encode())
    kinds = {one.path[-1]: one.kind for one in body.fields() if one.path}
    assert (kinds["image/png"], kinds[0]) == (Kind.DATA, Kind.TEXT)
    assert any(one.kind is Kind.DATA for one in body.fields())
    assert body.binary_bytes > 60


@pytest.mark.parametrize("text", ["name;mail\nJörg;a@b.example\n", "plain", "{not json", "[1,2", "Привет, мир"])
@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-le", "utf-16-be"])
def test_other_texts_are_one_field(text: str, encoding: str) -> None:
    """CSV and the like, also in UTF-16 with and without a mark."""
    data = encoded(text, encoding)
    if text.startswith("При") and encoding in ("utf-16-le", "utf-16-be"):
        return  # without a mark only texts with many Latin letters, spaces or digits can be told
    body = read(data)
    assert [one.text for one in body.fields()] == [text]
    next(iter(body.fields())).put("é")
    assert body.encode() == encoded("é", encoding)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfe\x00", b"PK\x03\x04\x14\0\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF"]
)
def test_what_is_no_text_is_none(data: bytes) -> None:
    """Images, archives, half characters."""
    assert read_file(data, max_depth=100) is None
