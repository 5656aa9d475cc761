"""What a program puts in the place of the library's `connect`: guarded where it connects, told no address where it doesn't."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import sys
from unittest.mock import AsyncMock

import pytest
from sockets_support import MAIL, secret

import safellm
from safellm.transports.websocket_opening import GUARDED

PLACES = {
    "openai": ("openai.lib._websocket", "_WebSocketConnect"),
    "azure": ("openai.lib._azure_websocket", "_AzureWebSocketConnect"),
}


@pytest.fixture(params=sorted(PLACES))
def replace(request, monkeypatch):
    """Replaces what the SDK's async clients call to connect; returns the function and the kind of client."""
    pytest.importorskip(PLACES[request.param][0], reason="an older SDK calls the library's own")

    def put(value):
        monkeypatch.setattr(".".join(PLACES[request.param]), value)

    return put, request.param


def client_of(face, kind, server, **options):
    if kind == "openai":
        return face.client(base_url=server.base_url, **options)
    made = safellm.AsyncAzureOpenAI(azure_endpoint=server.origin, api_version="2025-04-01-preview", **options)
    return face.keep(made)


def test_a_function_around_the_library_s_own_is_guarded(asynchronous, sockets, replace):
    """Such as an instrumentation: the connection that it makes passes the guard."""
    put, kind = replace
    found, seen = getattr(importlib.import_module(PLACES[kind][0]), PLACES[kind][1]), []
    own = next(
        one for one in found.__mro__ if GUARDED not in vars(one)
    )  # an earlier connection may have put ours there

    def around(uri, **options):
        seen.append(uri)
        return own(uri, **options)

    put(around)
    client = client_of(asynchronous, kind, sockets, api_key="k")
    for _ in range(2):
        connection = asynchronous.open(client.realtime.connect(model="gpt-realtime"))
        asynchronous.until(connection, "session.created")
        asynchronous.say(connection, f"I am {MAIL}")
        asynchronous.run(connection.response.create())
        asynchronous.until(connection, "response.done")
        assert "I am" in (said := "".join(sockets.last.messages))
        assert MAIL not in said
    assert len(seen) == 2


@pytest.mark.parametrize("form", ["function", "mock"])
def test_e_10_a_double_is_told_no_address_and_no_key(asynchronous, sockets, replace, monkeypatch, form):
    """A test's own function or mock is called as the SDK calls it, and has to do without a provider."""
    put, kind = replace
    monkeypatch.setenv("AZURE_OPENAI_API_KEY" if kind == "azure" else "OPENAI_API_KEY", secret())
    double = AsyncMock(return_value=AsyncMock())

    async def function(uri, **options):
        return await double(uri, **options)

    put(function if form == "function" else double)
    asynchronous.open(client_of(asynchronous, kind, sockets).realtime.connect(model="gpt-realtime"))
    assert "websocket.safellm.invalid" in double.await_args.args[0]
    assert secret() not in repr(double.await_args)
    assert sockets.connections == []


def test_azure_s_own_is_guarded_whenever_it_is_loaded(asynchronous, sockets, monkeypatch):
    """Before the first connection or after it; and a double that stands there then is none of its business."""
    module = "openai.lib._azure_websocket"
    pytest.importorskip(module, reason="an older SDK calls the library's own")
    for loaded in (True, False):
        if not loaded:
            monkeypatch.delattr(module)  # of the package, which keeps it as well
            monkeypatch.delitem(sys.modules, module)
            with monkeypatch.context() as patched:
                patched.setattr(".".join(PLACES["openai"]), AsyncMock(return_value=AsyncMock()))
                asynchronous.open(client_of(asynchronous, "openai", sockets, api_key="k").realtime.connect(model="m"))
            assert module not in sys.modules
        client = client_of(asynchronous, "azure", sockets, api_key="k")
        asynchronous.until(asynchronous.open(client.realtime.connect(model="gpt-realtime")), "session.created")
