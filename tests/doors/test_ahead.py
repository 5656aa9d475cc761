"""Looking ahead in an answer: pieces that are here already are taken together, and none is ever waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import h11
from hypothesis import given
from hypothesis import strategies as st

from safellm.transports.ahead import Ahead

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"data: same words\n\n", b"\r\n8\r\n8 bytes!", b"\n", b"\r\n11\r\ndata: same words\n\n"]),
        st.binary(min_size=600, max_size=900),
    ),
    max_size=30,
)


class _Connection:
    """A connection whose reads are cut at given places, and h11 above it as in the HTTP library."""

    def __init__(self, pieces: list[bytes], cuts: list[int]) -> None:
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        sent = _HEAD + body
        edges = [0, *sorted({cut % len(sent) for cut in cuts} - {0}), len(sent)]
        self._reads = [sent[low:high] for low, high in zip(edges, edges[1:], strict=False)]
        self.came = b""
        self.reads = 0

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces of the body as h11 hands them on."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method="GET", target="/", headers=[("host", "here")]))
        parser.send(h11.EndOfMessage())
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                self.came = self._reads[self.reads] if self.reads < len(self._reads) else b""
                self.reads += 1
                parser.receive_data(self.came)
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return


@given(_PIECES, st.lists(st.integers(0, 20_000), max_size=8))
def test_gathering_never_reads_and_loses_nothing_however_the_answer_is_cut(
    pieces: list[bytes], cuts: list[int]
) -> None:
    """Every byte comes, in order; while a piece is in hand nothing is read from the connection."""
    connection = _Connection(pieces, cuts)
    ahead, source = Ahead(connection), connection.pieces()
    got = []
    for piece in source:
        before = connection.reads
        got.append(ahead.gather(piece, source))
        assert connection.reads == before
    assert b"".join(got) == b"".join(pieces)


@given(_PIECES, st.lists(st.integers(0, 20_000), max_size=8))
def test_gathering_async_gives_the_same(pieces: list[bytes], cuts: list[int]) -> None:
    """The async way takes the same pieces together."""

    async def run() -> list[bytes]:
        connection = _Connection(pieces, cuts)
        ahead = Ahead(connection)

        async def source() -> AsyncIterator[bytes]:
            for piece in connection.pieces():
                yield piece

        stream = source()
        return [await ahead.gather_async(piece, stream) async for piece in stream]

    connection = _Connection(pieces, cuts)
    ahead, source = Ahead(connection), connection.pieces()
    assert asyncio.run(run()) == [ahead.gather(piece, source) for piece in source]


def test_first_pieces_go_alone_and_a_burst_goes_together() -> None:
    """The first token waits for nothing; of a burst of 200 pieces far fewer are left."""
    events = [b'data: {"delta": "word %d"}\n\n' % number for number in range(200)]
    connection = _Connection(events, [])
    ahead, source = Ahead(connection), connection.pieces()
    got = [ahead.gather(piece, source) for piece in source]
    assert got[:2] == events[:2]
    assert len(got) < 12
    assert b"".join(got) == b"".join(events)


def test_pieces_stay_apart_where_nothing_is_known_of_the_connection() -> None:
    """A transport of the program's own remembers nothing, so nothing is taken together."""
    ahead = Ahead(object())
    rest = iter([b"data: two\n\n"])
    assert ahead.gather(b"data: one\n\n", rest) == b"data: one\n\n"
    assert next(rest) == b"data: two\n\n"
