"""What the SDK's own test suite found: toolsets, tools that messages add, copies with another credential, traces."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest

import anthropic
import safellm
from safellm._core import named
from safellm._core.bodies import read_body
from safellm._core.policy import Mode
from safellm.transports.http import guard_of
from safellm_anthropic.table import TABLE

USAGE = {"input_tokens": 1, "output_tokens": 1}
ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [], "usage": USAGE,
    "stop_reason": "end_turn", "stop_sequence": None,
}  # fmt: skip
BROWSER = {"type": "browser_toolset_20260801"}
WEATHER = {"name": "get_weather", "description": "Says it.", "input_schema": {"type": "object", "properties": {}}}
TAKES_CONFIG = "config" in inspect.signature(anthropic.Anthropic.copy).parameters


def call(name, family=None, **given):
    """Return a block in which the model calls a tool."""
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": given} | (
        {"toolset_name": family} if family else {}
    )


def streamed(block):
    """Return an answer's events for one call."""
    text = json.dumps(block["input"])
    events = (
        {"type": "message_start", "message": ANSWER},
        {"type": "content_block_start", "index": 0, "content_block": block | {"input": {}}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": text[:3]},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": text[3:]},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": USAGE},
        {"type": "message_stop"},
    )
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)


@pytest.fixture
def answering(sync):
    """Return a function: the HTTP client whose answers are one call, and a client over it."""

    def made(block, **options):
        def handle(request):
            if json.loads(request.content).get("stream"):
                return sync.native.Response(200, content=streamed(block), headers={"content-type": "text/event-stream"})
            return sync.native.Response(200, json=ANSWER | {"content": [block], "stop_reason": "tool_use"})

        return sync.client(api_key="given", http_client=sync.http(handle), **options)

    return made


@pytest.mark.parametrize("way", ["plain", "streamed"])
def test_a_1_a_member_of_a_declared_toolset_may_be_called(sync, answering, way):
    """The provider says which members its toolset has; the request names the toolset alone."""
    client = answering(call("navigate", "browser", url="https://a.example"))
    made = sync.message(client, way=way, tools=[BROWSER])
    assert made.content[0].input == {"url": "https://a.example"}
    assert (made.content[0].name, made.content[0].toolset_name) == ("navigate", "browser")


@pytest.mark.parametrize("way", ["plain", "streamed"])
@pytest.mark.parametrize("block", [call("navigate", "computer"), call("navigate")], ids=["other family", "no family"])
def test_a_1_a_call_that_no_declared_toolset_explains_is_refused(sync, answering, way, block):
    """A member of another toolset, and a bare name that only a toolset's member has."""
    with pytest.raises(safellm.Refused) as caught:
        sync.message(answering(block), way=way, tools=[BROWSER])
    assert caught.value.reason == "tool.unknown"


@pytest.mark.parametrize("way", ["plain", "streamed"])
@pytest.mark.parametrize("listed", ["delete", "browser.delete", "browser.*"])
def test_a_1_a_toolset_s_name_is_no_way_around_a_rule(sync, answering, way, listed):
    """Rules name a member with its family, and one for the bare name holds too: a program may look at that alone."""
    client = answering(call("delete", "browser"), safellm={"tools": {listed: {"action": "deny"}}})
    with pytest.raises(safellm.Refused) as caught:
        sync.message(client, way=way, tools=[BROWSER, WEATHER])
    assert caught.value.reason == "tool.denied"


def added(tool):
    """Return the messages of a conversation that gets another tool."""
    return [
        {"role": "user", "content": "hello"},
        {"role": "system", "content": [{"type": "tool_addition", "tool": tool}]},
    ]


INLINE = {"type": "tool_definition", "definition": WEATHER}


@pytest.mark.parametrize("way", ["plain", "streamed"])
def test_a_1_a_tool_that_a_message_defines_is_declared(sync, answering, way):
    """And one that no message defines isn't, once a message defines any; what the history repeats is one tool."""
    messages = added(INLINE) + added(INLINE)
    made = sync.message(answering(call("get_weather")), way=way, messages=messages)
    assert made.content[0].name == "get_weather"
    with pytest.raises(safellm.Refused) as caught:
        sync.message(answering(call("get_wether")), way=way, messages=messages)
    assert caught.value.reason == "tool.unknown"


def test_k_9_a_tool_that_a_message_defines_counts_for_a_grant():
    """A grant that names tools would be none if a message could bring others."""
    body = json.dumps({"messages": added(INLINE) + added({"type": "tool_definition", "definition": BROWSER})}).encode()
    assert named.tools(read_body(body, "application/json", TABLE, max_depth=64), TABLE) == (
        "get_weather",
        "browser_toolset_20260801",
    )


# -- copies, and clients over another one's HTTP client ---------------------------------------------------------------------


@pytest.mark.skipif(not TAKES_CONFIG, reason="this version of the SDK has no config=")
def test_a_copy_with_a_key_of_its_own_goes_to_the_sdk_s_own_address(face):
    """The SDK drops the address that came with the credential before, and so does the guard's bound."""
    seen = []

    def handle(request):
        seen.append(str(request.url))
        return face.native.Response(200, json=ANSWER)

    federation = {"type": "oidc_federation", "federation_rule_id": "fdrl_1"}
    config = {"organization_id": "org", "base_url": "https://first.example", "authentication": federation}
    client = face.client(config=config, http_client=face.http(handle))
    copied = face.keep(client.copy(api_key="its own"))
    face.message(copied)
    address = str(copied.base_url).rstrip("/")  # older versions of the SDK keep the first one
    assert seen == [f"{address}/v1/messages"]
    other = face.keep(client.copy(config=config | {"base_url": "https://second.example"}))
    assert other.base_url.host in {one.host for one in guard_of(other._client).bounds.origins}


def test_e_1_an_address_from_a_variable_doesn_t_count_over_a_guarded_http_client(face, provider, sink, monkeypatch):
    """A client with a key of its own over another client's transport goes where code or the SDK says, not a variable."""
    client = face.client(provider)
    elsewhere = "https://elsewhere.example"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", elsewhere)
    borrowing = face.pick()(api_key="its own", http_client=client._client, max_retries=0)
    assert str(borrowing.base_url).startswith(elsewhere)
    with pytest.raises(safellm.Refused) as caught:
        face.message(borrowing)
    assert caught.value.reason == "egress.origin"
    again = face.pick()(api_key="its own", base_url=provider.origin, http_client=client._client)
    assert face.ask(again) == 'You wrote: "hello"'


def test_a_strict_client_s_copy_takes_no_key_from_code(face, provider, monkeypatch):
    """As the client itself doesn't; what the copy takes over from it is fine."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-" + "ant-" + "A1b2" * 8)
    client = face.client(base_url=provider.origin)
    driver = guard_of(client._client)
    assert face.keep(client.copy(api_key="its own")).api_key == "its own"
    driver.tools = replace(driver.tools, policy=driver.tools.policy.model_copy(update={"mode": Mode.STRICT}))
    with pytest.raises(safellm.ConfigurationError, match="none from code"):
        client.copy(api_key="its own")
    with pytest.raises(safellm.ConfigurationError, match="none from code"):
        face.pick()(auth_token="its own", http_client=client._client)
    assert face.ask(client.with_options(timeout=5)) == 'You wrote: "hello"'


# -- traces ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "goes"),
    [("00-63ab6fb324644a6b6ee859f841d69717-f5e45403287590f9-01", True), ("00-sk-proj-" + "A1b2" * 10, False)],
)
def test_a_trace_context_goes_out_as_it_is(sync, provider, value, goes):
    """Its random numbers look like a secret, and a trace breaks when they change; anything else in the header is searched."""
    sync.message(sync.client(provider), extra_headers={"traceparent": value})
    assert (provider.requests[0].headers["traceparent"] == value) is goes


RESULTS = "/v1/messages/batches/msgbatch_1/results"


def test_results_of_a_batch_are_left_to_be_read_line_by_line(face):
    """What the SDK hands on unread, for the program to iterate, isn't marked as read; a file that it reads at once is."""

    def handle(request):
        if not request.url.path.endswith("/results"):
            batch = {"id": "msgbatch_1", "type": "message_batch", "results_url": RESULTS, "processing_status": "ended"}
            return face.native.Response(200, json=batch)
        lines = [json.dumps({"custom_id": one, "result": {"type": "expired"}}) for one in "ab"]
        return face.native.Response(200, content="\n".join(lines))

    client = face.client(api_key="given", http_client=face.http(handle))
    results = face.run(client.messages.batches.results("msgbatch_1"))
    assert not results.http_response.is_closed
    assert not results.http_response.is_stream_consumed
    assert [one.custom_id for one in face.all(results)] == ["a", "b"]
    assert results.http_response.is_stream_consumed


def test_ids_of_the_provider_s_own_filter_its_lists(sync):
    """They are random, and stand in the query: nothing but a secret stops the call there."""
    seen = []

    def handle(request):
        seen.append(request.url.params["rbac_group_ids"])
        return sync.native.Response(200, json={"data": []})

    client = sync.client(api_key="given", http_client=sync.http(handle))
    given = "rbac_group_" + "q7Zk3fQ9vLr0" + "Tm2XcWb8NyUa"
    client.get("/v1/organizations/analytics/cost", cast_to=object, options={"params": {"rbac_group_ids": given}})
    assert seen == [given]
