"""Policy `retention = "none"`: what is forced, replaced, left out and refused, for each provider."""

from __future__ import annotations

import json
from typing import Any

import exchanges
import pytest
from exchanges import KEY, World, chat, sent

from safellm._core.effects import Forward, Refuse
from safellm._core.who import pseudonym
from safellm.errors import Reason
from safellm_anthropic.adapter import ADAPTER as ANTHROPIC
from safellm_google_genai.adapter import ADAPTER as GOOGLE
from safellm_openai.adapter import ADAPTER as OPENAI

ADAPTERS = {"openai": OPENAI, "anthropic": ANTHROPIC, "google": GOOGLE}
NONE = {"retention": "none"}
DEFINED = {"type": "tool_definition", "definition": {"type": "code_execution_20260521", "name": "code_execution"}}
ADDED = {"role": "user", "content": [{"type": "tool_addition", "tool": DEFINED}]}


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return how to put a provider's dialect under an exchange."""
    return lambda name: monkeypatch.setattr(exchanges, "ADAPTER", ADAPTERS[name])


def test_stored_names_and_metadata_stay_here_when_nothing_may_be_kept() -> None:
    """A chat is sent with store=false, pseudonyms for people and no metadata; the record says which keys."""
    world = World(NONE)
    body = chat(
        "hello", store=True, user="alice", safety_identifier="alice@corp.example", metadata={"customer": "Alice"}
    )
    _, decision = world.begin(body)
    out = sent(decision, body)
    assert out["store"] is False
    assert "metadata" not in out
    assert out["user"] == pseudonym(KEY, "alice")
    assert out["safety_identifier"] == pseudonym(KEY, "alice@corp.example")
    assert "Alice" not in json.dumps(out)
    assert "alice" not in json.dumps(out)
    changed = world.record("call.intent")["safellm.retention.changes"]
    assert set(changed) == {"store", "metadata", "user", "safety_identifier"}


def test_body_stays_when_provider_may_keep() -> None:
    """Without the setting nothing changes, and not a byte of the request."""
    body = chat("hello", store=True, user="alice", metadata={"a": "b"})
    _, decision = World().begin(body)
    assert isinstance(decision, Forward)
    assert decision.body is None


def test_store_is_forced_when_the_program_says_nothing_or_something_else() -> None:
    """What counts is the final body: absent, null, true and a text all become false."""
    for more in ({}, {"store": None}, {"store": True}, {"store": "true"}):
        body = chat("hello", **more)
        assert sent(World(NONE).begin(body)[1], body)["store"] is False
    body = chat("hello", store=False)
    decision = World(NONE).begin(body)[1]
    assert isinstance(decision, Forward)
    assert decision.body is None


def test_arguments_of_tools_are_still_searched_when_they_have_such_keys() -> None:
    """A key `user` inside a tool's arguments is the program's own: it stays, and is searched like all text."""
    arguments = json.dumps({"user": "alice@example.com", "metadata": {"a": "alice@example.com"}})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = {**chat("hello", user="bob"), "metadata": {"x": "y"}}
    body["messages"].append({"role": "assistant", "content": None, "tool_calls": [call]})
    out = sent(World(NONE).begin(body)[1], body)
    held = json.loads(out["messages"][1]["tool_calls"][0]["function"]["arguments"])
    assert held["user"].startswith("X-EMAIL-")
    assert held["metadata"]["a"].startswith("X-EMAIL-")


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("openai", "POST", "/v1/files"),
        ("openai", "POST", "/v1/uploads"),
        ("openai", "POST", "/v1/batches"),
        ("openai", "POST", "/v1/vector_stores"),
        ("openai", "POST", "/v1/vector_stores/vs_1/files"),
        ("openai", "POST", "/v1/assistants"),
        ("openai", "POST", "/v1/threads"),
        ("openai", "POST", "/v1/threads/t_1/messages"),
        ("openai", "POST", "/v1/threads/t_1/runs"),
        ("openai", "POST", "/v1/conversations"),
        ("openai", "POST", "/v1/conversations/c_1/items"),
        ("openai", "POST", "/v1/fine_tuning/jobs"),
        ("openai", "POST", "/v1/evals"),
        ("openai", "POST", "/v1/containers"),
        ("openai", "POST", "/v1/videos"),
        ("openai", "POST", "/v1/chat/completions/c_1"),
        ("openai", "POST", "/v1/something/new"),
        ("openai", "PUT", "/v1/chat/completions"),
        ("anthropic", "POST", "/v1/files"),
        ("anthropic", "POST", "/v1/messages/batches"),
        ("anthropic", "POST", "/v1/sessions"),
        ("anthropic", "POST", "/v1/memory_stores/m/memories"),
        ("google", "POST", "/v1beta/cachedContents"),
        ("google", "POST", "/upload/v1beta/files"),
        ("google", "POST", "/v1beta/models/gemini:batchGenerateContent"),
        ("google", "POST", "/v1beta/tunedModels"),
        ("google", "POST", "/v1beta/fileSearchStores"),
    ],
)  # fmt: skip
def test_k_9_retention_endpoint_is_refused_when_it_keeps(provider: str, method: str, path: str, of: Any) -> None:
    """Whatever is there to keep something, or isn't known, gets nothing; and the refusal names the setting."""
    of(provider)
    _, decision = World(NONE).begin({"name": "x"}, path, method=method)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.RETENTION_DENIED
    assert "retention" in str(decision.error)
    _, decision = World().begin({"name": "x"}, path, method=method)
    assert isinstance(decision, Forward)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_kept_things_can_be_read_and_deleted_when_nothing_may_be_kept(method: str) -> None:
    """Whoever turns the setting on can clean up what is there."""
    _, decision = World(NONE).begin(b"", "/v1/files/file-1", method=method)
    assert isinstance(decision, Forward)
    _, decision = World(NONE).begin(b"", "/v1/batches/b/cancel")
    assert isinstance(decision, Forward)


@pytest.mark.parametrize(
    ("provider", "path", "more"),
    [
        ("openai", "/v1/responses", {"background": True}),
        ("openai", "/v1/responses", {"conversation": "conv_1"}),
        ("openai", "/v1/responses", {"conversation": {"id": "conv_1"}}),
        ("openai", "/v1/responses", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
        ("anthropic", "/v1/messages", {"container": "c"}),
        ("anthropic", "/v1/messages", {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}),
        ("openai", "/v1/responses", {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://s.example"}]}),
        ("openai", "/v1/responses", {"tools": [{"type": "web_search_preview_2025_03_11"}]}),
        ("openai", "/v1/responses", {"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}),
        ("openai", "/v1/chat/completions", {"web_search_options": {}}),
        ("openai", "/v1/realtime/client_secrets", {"session": {"tools": [{"type": "mcp", "server_label": "s"}]}}),
        ("anthropic", "/v1/messages", {"mcp_servers": [{"type": "url", "name": "s", "url": "https://s.example"}]}),
        ("anthropic", "/v1/messages", {"thread": {"type": "create"}}),
        ("anthropic", "/v1/messages", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]}),
        ("anthropic", "/v1/messages", {"tools": [{"type": "web_fetch_20260318", "name": "web_fetch"}]}),
        ("anthropic", "/v1/messages", {"messages": [ADDED]}),
        ("google", "/v1beta/models/gemini:generateContent", {"tools": [{"googleSearch": {}}]}),
        ("google", "/v1beta/models/gemini:generateContent", {"tools": [{"url_context": {}}]}),
        ("google", "/v1/projects/p/locations/l/publishers/google/models/g:generateContent", {"tools": [{"exaAiSearch": {}}]}),
        ("google", "/v1beta/interactions", {"background": True}),
        ("google", "/v1beta/interactions", {"environment": {"type": "new"}}),
        ("google", "/v1beta/interactions", {"webhook_config": {"uris": ["https://hook.example"]}}),
        ("google", "/v1beta/interactions", {"tools": [{"type": "mcp_server", "url": "https://s.example"}]}),
    ],
)  # fmt: skip
def test_call_is_refused_when_a_key_of_it_has_something_kept(
    provider: str, path: str, more: dict[str, Any], of: Any
) -> None:
    """Conversations at the provider, background answers, containers, servers of others keep something whatever `store` says."""
    of(provider)
    plain = {"model": "m", "input": "hi"}
    _, decision = World(NONE).begin({**plain, **more}, path)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.RETENTION_DENIED
    _, decision = World(NONE).begin({**plain, **dict.fromkeys(more)}, path)
    assert isinstance(decision, Forward)


def test_equivalents_of_other_providers_when_nothing_may_be_kept(of: Any) -> None:
    """Anthropic's user id becomes a pseudonym; Google's interactions aren't stored, labels aren't sent."""
    of("anthropic")
    body = {"model": "m", "messages": [], "metadata": {"user_id": "alice"}}
    assert sent(World(NONE).begin(body, "/v1/messages")[1], body)["metadata"] == {"user_id": pseudonym(KEY, "alice")}
    headers = (("content-type", "application/json"), ("anthropic-user-profile-id", "p"))
    assert isinstance(World(NONE).begin(body, "/v1/messages", headers=headers)[1], Refuse)
    of("google")
    body = {"model": "m", "input": "x", "labels": {"who": "alice"}}
    assert sent(World(NONE).begin(body, "/v1beta/interactions")[1], body) == {
        "model": "m",
        "input": "x",
        "store": False,
    }
    body = {"contents": [], "labels": {"who": "alice"}}
    kept = {"contents": [], "store": False}
    assert sent(World(NONE).begin(body, "/v1beta/models/g:generateContent")[1], body) == kept
    vertex = "/v1/projects/p/locations/l/publishers/google/models/g:generateContent"
    assert sent(World(NONE).begin(body, vertex)[1], body) == {"contents": []}  # which doesn't know the word


def test_what_keeps_a_fingerprint_is_left_out_and_an_empty_list_of_servers_passes(of: Any) -> None:
    """Anthropic's `diagnostics` compares a request with an earlier one; a program that names no server means none."""
    of("anthropic")
    body = {"model": "m", "messages": [], "mcp_servers": [], "diagnostics": {"previous_message_id": None}}
    out = sent(World(NONE).begin(body, "/v1/messages")[1], body)
    assert out == {"model": "m", "messages": [], "mcp_servers": []}


def test_form_names_nobody_when_nothing_may_be_kept() -> None:
    """The user's name in a form with an image is a pseudonym as well."""
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = (part.format("prompt", "a cat") + part.format("user", "alice") + "--b--\r\n").encode()
    headers = (("content-type", "multipart/form-data; boundary=b"),)
    _, decision = World(NONE).begin(body, "/v1/images/edits", headers=headers)
    assert isinstance(decision, Forward)
    assert decision.body is not None
    assert b"alice" not in decision.body
    assert pseudonym(KEY, "alice").encode() in decision.body
    assert b"a cat" in decision.body


def test_nothing_changes_when_the_policy_only_observes() -> None:
    """In observe mode the refusal is noted, and no byte changes."""
    world = World({**NONE, "mode": "observe"})
    _, decision = world.begin(chat("x", user="alice"))
    assert isinstance(decision, Forward)
    assert decision.body is None
    _, decision = world.begin({"name": "x"}, "/v1/vector_stores")
    assert isinstance(decision, Forward)
    assert any(
        Reason.RETENTION_DENIED in one.fields.get("safellm.would_refuse", ())
        for one in world.effects
        if hasattr(one, "fields")
    )
