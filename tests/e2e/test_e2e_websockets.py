"""Websocket connections without a guard are refused (E.10). Those with one have tests of their own: `tests/websockets`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from functools import cached_property

import pytest

import safellm

pytest.importorskip("websockets", reason="the SDK connects to websockets only with openai[realtime]")

NEEDED = {
    "model": "gpt-4o",
    "call_id": "call_1",
    "session_id": "sess_1",
    "agent_id": "agent_1",
}
GUARDED = {
    "OpenAI": {
        "client.responses.connect",
        "client.realtime.connect",
        "client.realtime.translations.connect",
        "client.beta.realtime.connect",
        "client.beta.responses.connect",
        "client.live.connect",
        "client.live.forks.connect",
        "client.live.sideband.connect",
    },
    "AzureOpenAI": {"client.realtime.connect", "client.beta.realtime.connect"},
}


def connects(thing, path="client", depth=0):
    """Yield every `connect` method of the client's resources, with its path."""
    if depth > 5:
        return
    for name in dir(type(thing)):
        if name.startswith("_"):
            continue
        attribute = inspect.getattr_static(type(thing), name)
        if name == "connect" and callable(attribute):
            yield f"{path}.connect", thing.connect
        elif isinstance(attribute, (property, cached_property)) and name not in ("websocket_base_url",):
            try:
                inner = getattr(thing, name)
            except Exception:
                continue
            if ".resources." in type(inner).__module__ and not name.startswith("with_"):
                yield from connects(inner, f"{path}.{name}", depth + 1)


def arguments(method):
    """Return what the method needs, and the model, which Azure needs."""
    known = inspect.signature(method).parameters.values()
    needed = [
        one for one in known if one.kind is not one.VAR_KEYWORD and (one.default is one.empty or one.name == "model")
    ]
    return {one.name: NEEDED.get(one.name, "x") for one in needed}


@pytest.mark.parametrize("name", ["OpenAI", "AzureOpenAI"])
@pytest.mark.parametrize("copied", [False, True], ids=["client", "with_options"])
def test_e_10_every_other_websocket_method_is_refused(face, provider, sink, name, copied):
    """Each `connect` of the installed SDK that isn't guarded raises `Refused` with a remedy, before any connection."""
    options = {"base_url": provider.base_url, "api_key": "x"}
    if name == "AzureOpenAI":
        options = {"azure_endpoint": provider.origin, "api_key": "x", "api_version": "2024-10-21"}
    client = face.client(name=name, **options)
    if copied:
        client = client.with_options(websocket_base_url=f"ws://127.0.0.1:{sink.port}/v1")
    found = dict(connects(client))
    assert any("realtime" in path for path in found)
    for path, method in found.items():
        if path in GUARDED[name]:
            continue
        with pytest.raises(safellm.Refused, match="[Ww]ebsocket") as caught:
            face.enter(method(**arguments(method)))
        assert caught.value.remedy, path
    assert provider.connection_count == 0
