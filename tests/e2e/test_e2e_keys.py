"""A managed key is nowhere in the program: not in objects, errors, frames, logs or files (K.4)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import types
from collections.abc import Iterator
from typing import Any

import pytest

import openai
from safellm._core.secret import Secret
from safellm.testing.canary import sweep
from safellm.testing.replies import Reply

LEAVES = (
    str,
    bytes,
    bytearray,
    int,
    float,
    type(None),
    type,
    types.FunctionType,
    types.ModuleType,
    types.BuiltinFunctionType,
)
DEPTH = 9


def walk(value: Any, seen: set[int], depth: int = 0) -> Iterator[str | bytes]:
    """Yield the texts of everything that can be reached from a value: what crash reporters and `rich` show, and more."""
    if isinstance(value, (str, bytes, bytearray)):
        yield bytes(value) if isinstance(value, bytearray) else value
    # A Secret is where the key may stand; its owner is the driver, which the transport needs.
    if isinstance(value, (*LEAVES, Secret)) or id(value) in seen or depth > DEPTH:
        return
    seen.add(id(value))
    inner: list[Any] = []
    if isinstance(value, dict):
        inner += [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner += value
    elif isinstance(value, types.FrameType):
        inner += value.f_locals.values()
    elif isinstance(value, types.MethodType):
        inner.append(value.__self__)
    if isinstance(value, BaseException):
        inner += [value.args, value.__context__, value.__cause__, *frames(value)]
    inner += list(getattr(value, "__dict__", {}).values())
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            inner.append(getattr(value, name, None))
    for one in inner:
        yield from walk(one, seen, depth + 1)


def frames(error: BaseException) -> list[Any]:
    """Return the locals of all frames of an error but those of this file, which knows the key."""
    found, trace = [], error.__traceback__
    while trace is not None:
        if "/tests/e2e/" not in trace.tb_frame.f_code.co_filename.replace("\\", "/"):
            found.append(dict(trace.tb_frame.f_locals))
        trace = trace.tb_next
    return found


def shown(thing: Any) -> list[str | bytes]:
    """Return every way in which a thing is shown or saved."""
    texts: list[str | bytes] = [repr(thing), str(thing), *walk(thing, set())]
    try:
        texts.append(pickle.dumps(thing))
    except Exception as error:
        texts += [repr(error), str(error)]
    return texts


CASES = {
    "success": None,
    "401": openai.AuthenticationError,
    "500": openai.InternalServerError,
    "stall-before-headers": openai.APITimeoutError,
    "stall-mid-body": (openai.APIError, openai.OpenAIError, Exception),
    "reset-before-headers": openai.APIConnectionError,
    "reset-mid-body": (openai.APIError, Exception),
    "length-short": (openai.APIError, Exception),
    "invalid-json": (openai.APIError, Exception),
    "refused": openai.APIConnectionError,
    "refusal": openai.APIStatusError,
}


@pytest.mark.parametrize(
    ("case", "stream"),
    # A stream that is cut short on purpose may end before anyone notices: nothing to look at.
    [(case, stream) for case in CASES for stream in (False, True) if (case, stream) != ("length-short", True)],
)
def test_k_4_managed_key_shows_nowhere(face, provider, faults, home, env_key, free_port, debug_logs, case, stream):
    """Success, errors of every kind, refusal: the provider gets the real key, and nothing else holds it."""
    settings = {"redaction.types": {"EMAIL": "block"}} if case == "refusal" else None
    base_url = provider.base_url
    if case in ("401", "500"):
        provider.reply_with(Reply(status=int(case)))
    elif case == "refused":
        base_url = f"http://127.0.0.1:{free_port}/v1"
    elif case not in ("success", "refusal"):
        base_url = faults.base_url(case)
    client = face.client(base_url=base_url, timeout=0.4 if case.startswith("stall") else 20, safellm=settings)
    things: list[Any] = [client]
    if CASES[case] is None:
        things.append(
            face.run(
                client.chat.completions.with_raw_response.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
                )
            )
        )
        face.ask(client, stream=stream)
    else:
        with pytest.raises(CASES[case]) as caught:
            face.ask(client, "mail alice@example.com", stream=stream)
        assert not isinstance(caught.value, AssertionError)
        things.append(caught.value)
    assert client.api_key.startswith("safellm-managed-")
    for thing in things:
        assert sweep(env_key, texts=shown(thing)) == [], type(thing)
    assert sweep(env_key, paths=[home], texts=debug_logs) == []
    for request in [*provider.requests, *faults.requests]:
        assert request.headers["authorization"] == f"Bearer {env_key}"
    assert bool(provider.requests or faults.requests) is (case not in ("refused", "refusal"))


def test_k_4_walk_finds_a_key_that_the_sdk_holds(sync, provider):
    """The search of the other test does find a key in the plain SDK's objects and errors."""
    key = "sk-" + "proj-" + "Z9y8X7w6V5" * 4
    client = openai.OpenAI(base_url=provider.base_url, api_key=key, max_retries=0)
    assert sweep(key, texts=shown(client))
    provider.reply_with(Reply(status=401))
    with pytest.raises(openai.AuthenticationError) as caught:
        sync.ask(client)
    client.close()
    assert sweep(key, texts=shown(caught.value))


def test_k_4_open_stream_shows_no_key(face, provider, env_key):
    """An object of a stream that is under way, shown by a debugger or a notebook."""
    client = face.client(base_url=provider.base_url)
    stream = face.run(
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True)
    )
    face.first(stream)
    assert sweep(env_key, texts=[repr(stream), str(stream), repr(vars(stream)), repr(stream.response)]) == []
    assert sweep(env_key, texts=[repr(stream.response.request.headers), repr(stream.response.headers)]) == []
    face.run(stream.close())


def test_k_4_key_given_in_code_stays_what_the_sdk_expects(face, provider):
    """A program's own key is its own choice: `client.api_key` is the key."""
    client = face.client(provider, api_key="own-choice")
    face.ask(client)
    assert client.api_key == "own-choice"
    assert provider.requests[-1].headers["authorization"] == "Bearer own-choice"


@pytest.mark.skipif("admin_api_key" not in openai.OpenAI.__init__.__kwdefaults__, reason="this SDK has no admin key")
def test_k_4_admin_key_of_the_variable_is_managed(face, provider, env_key, monkeypatch):
    """The second variable that the SDK reads."""
    admin = "sk-" + "admin-" + "Q1w2E3r4T5" * 4
    monkeypatch.setenv("OPENAI_ADMIN_KEY", admin)
    client = face.client(base_url=provider.base_url)
    face.ask(client)
    assert client.admin_api_key.startswith("safellm-managed-")
    assert sweep(admin, texts=[*shown(client), *provider.received]) == []


def test_p_1_managed_key_is_not_sent_to_an_address_given_later(face, provider, sink, env_key):
    """`with_options(base_url=…)` to an origin that the key isn't bound to: refused, nothing leaves."""
    client = face.client(base_url=provider.base_url)
    twin = client.with_options(base_url=sink.url)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        face.ask(twin)
    assert caught.value.reason == "key.unbound"


def test_p_1_managed_key_is_not_sent_by_an_absolute_url_or_a_header(face, provider, sink, env_key):
    """Every way to aim a request elsewhere."""
    client = face.client(base_url=provider.base_url)
    for path in (f"{sink.url}/x", f"http://localhost:{sink.port}/x", f"http://127.0.0.1@localhost:{sink.port}/x"):
        with pytest.raises(openai.APIStatusError):
            face.run(client.post(path, cast_to=object, body={}))
    with pytest.raises(openai.APIStatusError):
        face.ask(client, extra_headers={"Host": f"127.0.0.1:{sink.port}"})
    assert provider.requests == []
