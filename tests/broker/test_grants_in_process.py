"""Grants in place of keys, in the process itself: each SDK, both HTTP families, sync and async (THREATS K.7-K.10)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

import pytest

import openai
import safellm
from safellm.errors import ConfigurationError, Reason, Refused

HELLO = [{"role": "user", "content": "hello"}]


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": HELLO, **options})


def client(server: Any, text: str | None = None, **options: Any) -> Any:
    given = {} if text is None else {"api_key": text}
    return safellm.OpenAI(base_url=server.base_url, max_retries=0, **given, **options)


def refused(call: Any, reason: Reason) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason is reason, caught.value
    return caught.value


@pytest.mark.parametrize("way", ["argument", "variable", "grant variable"])
def test_a_grant_is_used_in_place_of_a_key(keyed, grant, records, monkeypatch, way):
    """The provider gets the key that the grant names, never the grant; records name the grant."""
    made = grant(operation=["chat"], model=["gpt-4o*"])
    if way != "argument":
        monkeypatch.setenv("OPENAI_API_KEY" if way == "variable" else "SAFELLM_GRANT", made.text())
    with client(keyed, made.text() if way == "argument" else None) as one:
        assert ask(one).choices[0].message.content
        assert "slm_" not in repr(vars(one)), "the SDK holds a placeholder"
    assert all("slm_" not in repr(seen.raw_headers) for seen in keyed.requests)
    intent, outcome = records("call.intent")[0], records("call.outcome")[0]
    assert intent["safellm.grant.id"] == outcome["safellm.grant.id"] == made.id
    assert intent["safellm.key.ref"].startswith("file:")


def test_an_explicit_grant_comes_before_the_variable_s(keyed, grant, monkeypatch):
    """What the program says counts."""
    monkeypatch.setenv("OPENAI_API_KEY", grant(model=["other"]).text())
    with client(keyed, grant(model=["gpt-4o"]).text()) as one:
        assert ask(one)


@pytest.mark.parametrize("spoilt", ["edited", "unreadable", "another", "revoked", "no key", "own key"])
def test_k_7_a_grant_that_does_not_hold_makes_no_client(keyed, grant, grants, monkeypatch, spoilt, tmp_path):
    """The error comes where the client is made, and holds nothing of the grant."""
    made = grant(**({"key": "team"} if spoilt == "no key" else {}))
    text = made.text()
    if spoilt == "edited":
        text = text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBB")
    elif spoilt == "unreadable":
        text = "slm_x"
    elif spoilt == "another":
        monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "elsewhere"))
    elif spoilt == "revoked":
        grants.revoke(made.id, now_s=1)
    elif spoilt == "own key":
        monkeypatch.setenv("SAFELLM_GRANT", text)
        text = "a-key-of-my-own"
    with pytest.raises(ConfigurationError) as caught:
        client(keyed, text)
    assert text[4:24] not in str(caught.value) or spoilt == "unreadable"
    assert keyed.requests == []


def test_a_grant_never_leaves_as_a_key(keyed, grant):
    """Not from a function that gives keys, and not from a header of the program's."""
    text = grant().text()
    with client(keyed, "own-key") as one:
        error = refused(lambda: ask(one, extra_headers={"Authorization": f"Bearer {text}"}), Reason.GRANT_INVALID)
        assert isinstance(error, openai.PermissionDeniedError)
    assert keyed.requests == []


MATRIX = [
    ({"operation": ["chat"]}, {}, True),
    ({"operation": ["embeddings"]}, {}, False),
    ({"model": ["gpt-4o"]}, {}, True),
    ({"model": ["gpt-4o"]}, {"model": "gpt-5"}, False),
    ({"model": ["gpt-4o"]}, {"extra_body": {"models": ["gpt-4o", "gpt-5"]}}, False),
    ({"model": ["gpt-4o"]}, {"extra_body": {"fallbacks": [{"model": "gpt-5"}]}}, False),
    ({"model": ["gpt-4o"]}, {"extra_body": {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]}}, False),
    ({"model": ["gpt-4o"]}, {"metadata": {"model": "T-Ford"}}, True),
    ({"origin": ["https://api.openai.com"]}, {}, False),
    ({"max_output_tokens": 100}, {"max_tokens": 100}, True),
    ({"max_output_tokens": 100}, {"max_tokens": 101}, False),
    ({"max_output_tokens": 100}, {"max_tokens": 1, "max_completion_tokens": 101}, False),
    ({"max_output_tokens": 100}, {"max_tokens": 60, "n": 2}, False),
    ({"max_output_tokens": 100}, {"extra_body": {"max_completion_tokens": "5"}}, False),
    ({"tool": []}, {}, True),
    ({"tool": []}, {"tools": [{"type": "function", "function": {"name": "search"}}]}, False),
    ({"tool": ["sea*"]}, {"tools": [{"type": "function", "function": {"name": "search"}}]}, True),
    ({"tool": ["sea*"]}, {"functions": [{"name": "send"}]}, False),
    (
        {"tool": ["sea*"]},
        {"extra_body": {"tools": [{"type": "mcp", "server_url": "https://x.test", "name": "search"}]}},
        False,
    ),
    ({"tool": []}, {"extra_body": {"web_search_options": {}}}, False),
    ({"stream": True}, {}, False),
    ({"without": ["EMAIL"]}, {"messages": [{"role": "user", "content": "I am ann.lee@mail.example.com"}]}, False),
    ({"without": ["EMAIL"]}, {}, True),
    ({"uid": 4_000_000}, {}, False),
]


@pytest.mark.parametrize("mode", ["guard", "observe"])
@pytest.mark.parametrize(("caveats", "options", "allowed"), MATRIX)
def test_k_9_each_caveat_holds_for_a_chat(keyed, grant, caveats, options, allowed, mode):
    """In every mode, on the body as it is sent, before a byte leaves."""
    with client(keyed, grant(**caveats).text(), safellm={"mode": mode}) as one:
        if allowed:
            assert ask(one, **options)
            return
        error = refused(lambda: ask(one, **options), Reason.GRANT_DENIED)
        assert repr(next(iter(caveats))) in str(error)
    assert keyed.requests == []


def test_k_9_a_missing_ceiling_is_put_in(keyed, grant):
    """The provider is asked for no more than the grant allows."""
    with client(keyed, grant(max_output_tokens=77).text()) as one:
        ask(one)
        ask(one, n=2)
    assert [seen.json["max_tokens"] for seen in keyed.requests] == [77, 38]


def test_k_9_a_ceiling_is_lowered_where_the_policy_says_so(keyed, grant):
    """`budget.clamp_output`."""
    with client(keyed, grant(max_output_tokens=77).text(), safellm={"budget.clamp_output": True}) as one:
        ask(one, max_tokens=500)
    assert keyed.requests[0].json["max_tokens"] == 77


def test_k_9_doubled_keys_are_refused(keyed, grant):
    """Two readers could read two models; also in observe mode."""
    with client(keyed, grant(model=["gpt-4o"]).text(), safellm={"mode": "observe"}) as one:
        body = b'{"model":"gpt-4o","model":"gpt-5","messages":[]}'
        with pytest.raises(Refused, match="twice|shape"):
            one.post(
                "/chat/completions",
                content=body,
                cast_to=object,
                options={"headers": {"content-type": "application/json"}},
            )
    assert keyed.requests == []


def test_k_9_every_line_of_a_batch_counts(keyed, grant):
    """An uploaded file may name models too, and a batch by itself names none."""
    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o", "messages": []},
    }
    other = {**line, "body": {**line["body"], "model": "gpt-5"}}
    files = [b"\n".join(json.dumps(one).encode() for one in lines) for lines in ([line], [line, other])]
    with client(keyed, grant(model=["gpt-4o"]).text()) as one:
        assert one.files.create(file=("b.jsonl", files[0]), purpose="batch")
        refused(lambda: one.files.create(file=("b.jsonl", files[1]), purpose="batch"), Reason.GRANT_DENIED)
        refused(
            lambda: one.batches.create(input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h"),
            Reason.GRANT_DENIED,
        )
        refused(lambda: one.models.list(), Reason.GRANT_DENIED)
    assert len(keyed.requests) == 1


@pytest.mark.parametrize("mode", ["guard", "observe"])
def test_k_9_calls_are_counted(keyed, grant, mode):
    """By the ledger, over all grants that were narrowed from one."""
    made = grant(calls=2)
    settings = {"mode": mode}
    with (
        client(keyed, made.text(), safellm=settings) as one,
        client(keyed, made.narrow(model="gpt*").text(), safellm=settings) as two,
    ):
        ask(one)
        ask(two)
        for again in (one, two):
            assert refused(lambda again=again: ask(again), Reason.BUDGET_EXCEEDED).status == 429
    assert len(keyed.requests) == 2


def test_k_9_a_budget_bounds_output_and_what_has_no_price(keyed, grant):
    """A ceiling is put in; what can't be bounded is refused."""
    with client(keyed, grant(budget={"micro_usd": 200_000}).text()) as one:
        ask(one)
        assert keyed.requests[0].json["max_tokens"] == 4096
        refused(lambda: ask(one, model="nobody-knows-it"), Reason.BUDGET_UNPRICED)
        refused(lambda: one.images.generate(prompt="x", model="gpt-image-1"), Reason.BUDGET_UNBOUNDED)
        refused(lambda: ask(one, max_tokens=10_000_000), Reason.BUDGET_EXCEEDED)


def test_a_grant_ends(keyed, grant):
    """At its time, on the clock of the call."""
    from safellm.transports.http import guard_of

    made = grant()
    with client(keyed, made.text()) as one:
        guard_of(one._client).now_ns = lambda: (made.expires_s - 1) * 10**9
        ask(one)
        guard_of(one._client).now_ns = lambda: made.expires_s * 10**9
        assert "ended" in str(refused(lambda: ask(one), Reason.GRANT_DENIED))


def test_k_10_a_revoked_grant_holds_no_more(keyed, grant, grants, records):
    """From the next attempt on."""
    made = grant()
    with client(keyed, made.text()) as one:
        ask(one)
        grants.revoke(made.id, now_s=1)
        refused(lambda: ask(one), Reason.GRANT_INVALID)
    assert len(keyed.requests) == 1
    assert records("policy.deny")[0]["safellm.grant.id"] == made.id


@pytest.mark.parametrize("family", ["httpx", "httpx2"])
@pytest.mark.parametrize("is_async", [False, True])
def test_k_10_revoking_cuts_an_open_stream(keyed, grant, grants, records, family, is_async):
    """At the next chunk; what was sent is charged, and the record says why it ended."""
    from safellm.testing.replies import Reply

    made = grant()
    module = importlib.import_module(family)
    keyed.write_chunks = lambda body: [body[at : at + 64] for at in range(0, len(body), 64)]
    keyed.reply_with(Reply(text="word " * 400))

    async def run() -> int:
        async with (
            module.AsyncClient() as http,
            safellm.AsyncOpenAI(base_url=keyed.base_url, api_key=made.text(), http_client=http) as one,
        ):
            count = 0
            with pytest.raises(Refused, match="revoked"):
                async for _ in await ask(one, stream=True):
                    count += 1
                    if count == 3:
                        grants.revoke(made.id, now_s=1)
            return count

    if is_async:
        count = asyncio.run(run())
    else:
        count = 0
        with module.Client() as http, client(keyed, made.text(), http_client=http) as one:
            with pytest.raises(openai.PermissionDeniedError, match="revoked"):
                for _ in ask(one, stream=True):
                    count += 1
                    if count == 3:
                        grants.revoke(made.id, now_s=1)
    assert 3 <= count < 380
    outcome = records("call.outcome")[0]
    assert outcome["reason"] == "grant.invalid"
    assert outcome["decision"] == "deny"


def test_anthropic_takes_grants(keyed, grant, monkeypatch):
    """The same for the other SDK."""
    anthropic = pytest.importorskip("anthropic")
    made = grant(key="anthropic", model=["claude-*"], max_output_tokens=50)
    monkeypatch.setenv("ANTHROPIC_API_KEY", made.text())
    call = {"max_tokens": 50, "messages": HELLO, "model": "claude-opus-4-8"}
    with safellm.Anthropic(base_url=keyed.origin, max_retries=0) as one:
        assert one.messages.create(**call)
        for change in ({"model": "gpt-4o"}, {"max_tokens": 51}, {"extra_body": {"fallback_model": "opus"}}):
            with pytest.raises(anthropic.PermissionDeniedError) as caught:
                one.messages.create(**{**call, **change})
            assert caught.value.reason is Reason.GRANT_DENIED
    assert len(keyed.requests) == 1
    assert "slm_" not in repr(keyed.requests[0].raw_headers)


def test_google_takes_grants(keyed, grant):
    """The model stands in the path there."""
    pytest.importorskip("google.genai")
    from google.genai import types
    from safellm.google import genai

    made = grant(key="google", model=["gemini-2.5-flash*"], max_output_tokens=60, tool=[])
    with genai.Client(api_key=made.text(), http_options=types.HttpOptions(base_url=keyed.origin)) as one:
        assert one.models.generate_content(model="gemini-2.5-flash", contents="hello").text
        assert keyed.requests[0].json["generationConfig"]["maxOutputTokens"] == 60
        with pytest.raises(Refused, match="model"):
            one.models.generate_content(model="gemini-2.5-pro", contents="hello")
        with pytest.raises(Refused, match="tool"):
            config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
            one.models.generate_content(model="gemini-2.5-flash", contents="hello", config=config)
    assert len(keyed.requests) == 1


def test_google_generativeai_takes_grants(keyed, grant):
    """The older SDK too."""
    pytest.importorskip("google.generativeai")
    import safellm.google.generativeai as genai

    made = grant(key="google", model=["gemini-2.5-flash"])
    genai.configure(api_key=made.text(), client_options={"api_endpoint": keyed.origin})
    assert genai.GenerativeModel("gemini-2.5-flash").generate_content("hello").text
    with pytest.raises(Refused, match="model"):
        genai.GenerativeModel("gemini-2.5-pro").generate_content("hello")
    assert len(keyed.requests) == 1


def test_a_plain_sdk_s_grant_is_replaced_too(keyed, grant, monkeypatch):
    """Under `safellm.install()`, where the plain SDK itself holds the grant."""
    monkeypatch.setenv("OPENAI_API_KEY", grant(model=["gpt-4o"]).text())
    safellm.install()
    try:
        with openai.OpenAI(base_url=keyed.base_url, max_retries=0) as plain:
            assert ask(plain)
            with pytest.raises(openai.PermissionDeniedError, match="model"):
                ask(plain, model="gpt-5")
    finally:
        safellm.uninstall()
    assert len(keyed.requests) == 1
    assert "slm_" not in repr(keyed.requests[0].raw_headers)
