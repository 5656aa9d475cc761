"""The meter of a stream never stops what a provider would not have stopped, and always stops what runs on."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.jsonarray import ArrayFraming
from safellm._core.meter import Meter
from safellm._core.sse import SSEFraming
from safellm.stores.encodings import Encodings

COUNTER = Encodings()
COUNTER.count("o200k_base", ("hello",))
PIECES = st.lists(st.text(max_size=30) | st.sampled_from([" word", "\n\n", "字字", "x" * 40]), max_size=80)


def metered(limit: int, pieces: Sequence[str], *, channels: int = 1) -> int | None:
    """Return after how many pieces a stream is ended, or None."""
    meter = Meter(limit=limit, encoding="o200k_base", counter=COUNTER)
    for number, piece in enumerate(pieces):
        if meter.add(("choice", number % channels), piece):
            return number + 1
    return None


@given(pieces=PIECES, channels=st.integers(1, 3))
def test_an_answer_that_fits_is_never_ended(pieces: list[str], channels: int) -> None:
    """With a ceiling of what the answer has, cut however, the meter lets it through."""
    whole = ["".join(pieces[number::channels]) for number in range(channels)]
    counted = COUNTER.count("o200k_base", whole)
    assert counted is not None
    assert metered(max(1, counted), pieces, channels=channels) is None


@given(pieces=PIECES, limit=st.integers(1, 60))
def test_b_3_an_answer_that_runs_on_is_ended(pieces: list[str], limit: int) -> None:
    """Whatever came before: after enough text more the stream is over."""
    ended = metered(limit, [*pieces, *[" word"] * (3 * limit + 200)])
    assert ended is not None
    counted = COUNTER.count("o200k_base", ("".join([*pieces, *[" word"] * 1000][:ended]),))
    assert counted is not None
    assert counted > limit


@pytest.mark.parametrize("limit", [20, 200, 2000])
def test_b_3_a_stream_ends_soon_after_its_ceiling(limit: int) -> None:
    """A token for each piece: at most a tenth and a few more than the ceiling get through."""
    ended = metered(limit, [" word"] * (limit * 3))
    assert ended is not None
    assert limit < ended <= limit * 1.1 + 30


@pytest.mark.parametrize("step", [3, 7, 11])
def test_a_long_answer_that_fits_is_never_ended(step: int) -> None:
    """What seams between stretches add is allowed for, where the whole is too long to be counted again."""
    text = " ".join(f"internationalization-{number:05}" for number in range(2500))
    counted = COUNTER.count("o200k_base", (text,))
    assert counted is not None
    assert metered(counted, [text[at : at + step] for at in range(0, len(text), step)]) is None


def test_a_long_backlog_is_counted_in_parts() -> None:
    """Under a high ceiling nothing is counted for long; then no piece has to wait for more than a part of it."""
    counted: list[int] = []

    class Noting:
        def ready(self, encoding: str) -> bool:
            return True

        def count(self, encoding: str, texts: Sequence[str], *, wait: bool = True) -> int | None:
            counted.append(sum(map(len, texts)))
            return COUNTER.count(encoding, texts)

    meter = Meter(limit=100_000, encoding="o200k_base", counter=Noting())
    ended = next(number for number in range(200_000) if meter.add(("c", number % 2), " word"))
    assert 100_000 <= ended <= 101_000
    assert len(counted) > 10
    assert max(counted) <= 8192 + 2 * len(" word")


class Loading:
    """A counter that is never ready."""

    def ready(self, encoding: str) -> bool:
        return False

    def count(self, encoding: str, texts: Sequence[str], *, wait: bool = True) -> int | None:
        raise AssertionError("it is not ready")


def test_b_3_without_a_tokenizer_there_is_an_end_too() -> None:
    """While a vocabulary loads, only what no answer of that many tokens could have in bytes is ended; and that is."""
    meter = Meter(limit=10, encoding="o200k_base", counter=Loading())
    ended = next(number for number in range(10_000) if meter.add(("c",), " word"))
    assert 10 * 4 < ended * 5 <= 32 * 20


def test_framings_end_where_they_are_closed() -> None:
    """Events of our own are whole; what came in part is dropped; an array is closed."""
    events = SSEFraming(limit_bytes=1000)
    assert events.feed(b'data: {"a":') == []
    events.close()
    made = events.compose("end", b"{}")
    assert (made, events.data_of(made), events.rest()) == (b"event: end\ndata: {}\n\n", b"{}", b"")
    array = ArrayFraming(limit_bytes=1000)
    out = array.write(array.feed(b'[{"a":1},{"b"'))
    array.close()
    out += array.write([array.compose("end", b'{"c":2}')]) + array.write([], last=True)
    assert out == b'[{"a":1},\r\n{"c":2}]'
