"""A stream with something that can't be guarded: the program has what came before it, however the bytes were cut."""

from __future__ import annotations

import pytest
from awkward_texts import cuts
from exchanges import World, chat
from hypothesis import given
from hypothesis import strategies as st

from safellm.errors import Reason, Refused

_PIECES = [b'data: {"choices":[{"index":0,"delta":{"content":"word %d "}}]}\n\n' % number for number in range(12)]
_BROKEN = b'data: {"choices":[{"ind]\n\n'


@given(st.integers(1, 11), st.data())
def test_events_before_a_broken_one_reach_the_program_however_the_bytes_are_cut(
    place: int, data: st.DataObject
) -> None:
    """The events before it are handed on, those behind it never; then the program is told."""
    raw = b"".join([*_PIECES[:place], _BROKEN, *_PIECES[place:]])
    exchange, _ = World().begin(chat("hi", stream=True, stream_options={"include_usage": False}))
    exchange.response(200, (("content-type", "text/event-stream"),))
    got = b""
    with pytest.raises(Refused) as caught:
        for piece in cuts(raw, data):
            got += exchange.feed(piece)
            if exchange.cut_off:
                break
        exchange.end()
    assert caught.value.reason is Reason.SHAPE_MALFORMED
    assert got == b"".join(_PIECES[:place])
