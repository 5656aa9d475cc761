"""Server-sent events, content encodings, multipart forms, strict JSON."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from awkward_texts import cuts
from hypothesis import given
from hypothesis import strategies as st

from safellm._core import jsontext, multipart, sse
from safellm._core.decoding import Decoder, TooLarge, Undecodable

EVENT = st.builds(
    lambda name, lines, end: end.join(
        [*(["event: " + name] if name else []), *(f"data: {line}" for line in lines), "", ""]
    ),
    st.sampled_from(["", "x", "response.done"]),
    st.lists(st.text(alphabet='aé😀 {}"', max_size=6), min_size=1, max_size=3),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@given(st.lists(EVENT, max_size=5), st.data())
def test_events_are_the_same_in_any_cut(events: list[str], data: st.DataObject) -> None:
    """Bytes are kept, and the data of the events doesn't depend on where the stream was cut."""
    raw = "".join(events).encode()
    whole = sse.Splitter(10_000)
    expected = [sse.data_of(event) for event in whole.feed(raw)]
    pieces = sse.Splitter(10_000)
    out = [event for piece in cuts(raw, data) for event in pieces.feed(piece)]
    assert b"".join(out) + pieces.finish() == raw
    assert [one for event in out if (one := sse.data_of(event)) is not None] == [
        one for one in expected if one is not None
    ]


def test_other_data_keeps_name_and_id() -> None:
    """A rewritten event keeps everything but its data."""
    assert sse.with_data(b"id: 7\r\nevent: a\r\ndata: 1\r\ndata: 2\r\n\r\n", b"{}") == b"id: 7\nevent: a\ndata: {}\n\n"
    assert (
        sse.with_data(b"\ndata: 1\r\n\r", b"{}") == b"\ndata: {}\n\n"
    )  # behind an event that was cut inside of its last CR LF


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_a_byte_order_mark_hides_no_event(size: int) -> None:
    """Readers that drop it would read what others, and the guards, take for no field: nobody gets it."""
    raw = b"\xef\xbb\xbfdata: 1\n\ndata: \xef\xbb\xbf2\n\n"
    splitter = sse.Splitter(100)
    out = [event for at in range(0, len(raw), size) for event in splitter.feed(raw[at : at + size])]
    assert out == [b"data: 1\n\n", b"data: \xef\xbb\xbf2\n\n"]


def test_an_event_without_end_is_refused() -> None:
    """E.9: a line that never ends stops at the limit."""
    splitter = sse.Splitter(100)
    with pytest.raises(sse.TooLong):
        for _ in range(200):
            splitter.feed(b"x")


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate", "identity", ""]), st.data())
def test_decoding_is_the_same_in_any_cut(content: bytes, encoding: str, data: st.DataObject) -> None:
    """What was encoded comes out, whatever the cut."""
    raw = gzip.compress(content) if encoding == "gzip" else zlib.compress(content) if encoding == "deflate" else content
    decoder = Decoder(encoding, 10_000)
    assert b"".join(decoder.feed(piece) for piece in cuts(raw, data)) == content
    decoder.finish()


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.sampled_from([b"", bytes(7), b"\x1fno"]), st.data())
def test_all_members_of_gzip_are_read(members: list[bytes], behind: bytes, data: st.DataObject) -> None:
    """Several may follow each other (RFC 1952 2.2), and nothing of them is lost; what is no member isn't part of the text."""
    raw = b"".join(map(gzip.compress, members)) + behind
    decoder = Decoder("gzip", 10_000)
    assert b"".join(decoder.feed(piece) for piece in cuts(raw, data)) == b"".join(members)
    decoder.finish()
    cut = Decoder("gzip", 10_000)
    cut.feed(gzip.compress(members[0]) + gzip.compress(b"more")[:-1])
    with pytest.raises(Undecodable):
        cut.finish()


def test_e_9_a_compression_bomb_stops_at_the_limit() -> None:
    """A gigabyte of zeros in a megabyte is noticed while it is still small."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    raw = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64)) + compressor.flush()
    decoder = Decoder("gzip", 1 << 20)
    with pytest.raises(TooLarge):
        decoder.feed(raw)
    assert decoder.total < 1 << 21


def test_encodings_that_nobody_asked_for_are_refused() -> None:
    """Brotli, zstd and chains of encodings can't be undone here."""
    for encoding in ("br", "zstd", "gzip, gzip"):
        with pytest.raises(Undecodable):
            Decoder(encoding, 10)
    cut = Decoder("gzip", 1000)
    cut.feed(gzip.compress(b"x" * 100)[:-4])
    with pytest.raises(Undecodable):
        cut.finish()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_values_survive(value: object) -> None:
    """Reading and writing keeps every value, lone surrogates and huge integers included."""
    assert jsontext.loads(jsontext.dumps(value), max_depth=50) == value
    assert jsontext.loads(json.dumps(value).encode(), max_depth=50) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b"NaN",
        b"[Infinity]",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{",
        b"[" * 100_000,
        b"[" * 20 + b"]" * 20,
        b"1" * 10_000,
        b"",
    ],
)
def test_json_that_could_mean_two_things_is_refused(text: bytes) -> None:
    """K.9: duplicate keys, NaN, bad UTF-8, depth and half texts are errors, not guesses."""
    with pytest.raises(jsontext.Malformed):
        jsontext.loads(text, max_depth=10)


@given(st.text())
def test_a_quoted_text_is_the_inside_of_a_json_string(text: str) -> None:
    """R.6: written between quotation marks it parses to itself."""
    assert json.loads(f'"{jsontext.quote(text)}"') == text


PARTS = st.lists(
    st.tuples(st.sampled_from(["f", "file"]), st.none() | st.sampled_from(["a.txt", "b.png"]), st.binary(max_size=40)),
    max_size=4,
)


@given(PARTS)
def test_multipart_bodies_survive(parts: list[tuple[str, str | None, bytes]]) -> None:
    """Cutting a form into parts and joining it gives the same bytes."""
    boundary = b"boundary123456"
    built = [
        multipart.Part(
            head=f'Content-Disposition: form-data; name="{name}"'.encode()
            + (f'; filename="{file}"'.encode() if file else b""),
            content=content,
        )
        for name, file, content in parts
        if b"\r\n--" + boundary not in content
    ]
    body = multipart.join(built, boundary)
    if not built:
        return
    again = multipart.split(body, boundary)
    assert multipart.join(again, boundary) == body
    assert [(part.name, part.file_name) for part in again] == [(part.name, part.file_name) for part in built]


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n\r\n", b"junk--x--\r\n", b"--x\r\nno blank\r\n--x--\r\n", b"--x\r\nA: b\r\n\r\nc"]
)
def test_multipart_that_is_not_whole_is_refused(body: bytes) -> None:
    """Half a form is an error, not a form with fewer parts."""
    with pytest.raises(multipart.Malformed):
        multipart.split(body, b"x")
