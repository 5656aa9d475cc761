"""Events whose kind is no text are events of no known kind: no reader breaks on them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

import pytest

from safellm._core.adapter import EventView
from safellm.errors import Refused
from safellm_openai.live import LiveDialect, LiveReader
from safellm_openai.realtime import RealtimeDialect, RealtimeReader
from safellm_openai.sockets import ResponsesDialect
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.translations import TranslationDialect, TranslationReader

ODD = pytest.mark.parametrize("odd", [[], {}, ["response.completed"], {"type": "error"}, 5, None], ids=repr)


@ODD
@pytest.mark.parametrize(
    "dialect",
    [ResponsesDialect, RealtimeDialect, LiveDialect, partial(TranslationDialect, path="/realtime/translations")],
)
def test_an_event_of_an_odd_kind_ends_and_bounds_nothing(dialect, odd):
    """From the provider it ends no call; from the program it is unknown, or refused by name."""
    found = dialect().got({"type": odd, "stream_id": odd, "response_id": odd, "event": {"type": odd}})
    assert (found.ends, found.error) == (False, 0)
    dialect().said({"type": odd})
    try:
        assert not dialect().sent({"type": odd}).route.known
    except Refused as error:
        assert "'unknown'" in str(error)


@ODD
@pytest.mark.parametrize("reader", [OpenAIStreamReader, RealtimeReader, LiveReader, TranslationReader])
def test_an_event_of_an_odd_kind_is_walked_as_a_whole(reader, odd):
    """It has no deltas and closes nothing."""
    assert reader().view({"type": odd, "object": odd, "delta": {"content": odd}}) == EventView()
