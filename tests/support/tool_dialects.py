"""Answers with tool calls in every dialect, whole and streamed, and an exchange that takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from exchanges import KEY, Prices, WordScanner, World

from safellm._core.call import Bounds, Tools
from safellm._core.exchange import Exchange
from safellm._core.origin import Origin
from safellm._core.policy import Policy
from safellm.stores.tools import ProcessToolbox
from safellm.testing import anthropic_wire, google_wire, wire
from safellm.testing.replies import Reply, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "count": {"type": "integer"}, "deep": {"type": "object"}},
    "required": ["to"],
}


def adapters() -> dict[str, Any]:
    """Return the adapters of the SDKs that are installed, by dialect."""
    from safellm_anthropic.adapter import ADAPTER as ANTHROPIC
    from safellm_google_genai.adapter import ADAPTER as GOOGLE
    from safellm_openai.adapter import ADAPTER as OPENAI

    return {"chat": OPENAI, "responses": OPENAI, "anthropic": ANTHROPIC, "gemini": GOOGLE}


DIALECTS = ("chat", "responses", "anthropic", "gemini")
_PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini-2.5-flash:generateContent",
}


def declared(dialect: str, *names: str, schema: Any = None, description: str = "Does it.") -> list[Any]:
    """Return definitions of functions."""
    schema = SCHEMA if schema is None else schema
    plain = [{"name": name, "description": description} for name in names]
    if dialect == "chat":
        return [{"type": "function", "function": {**one, "parameters": schema}} for one in plain]
    if dialect == "responses":
        return [{"type": "function", **one, "parameters": schema} for one in plain]
    if dialect == "anthropic":
        return [{**one, "input_schema": schema} for one in plain]
    return [{"functionDeclarations": [{**one, "parametersJsonSchema": schema} for one in plain]}]


def request(
    dialect: str, tools: list[Any], *, stream: bool = False, past: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return a request's body; `past` are calls that were made, and what came back."""
    messages: list[Any] = [{"role": "user", "content": "Do it."}]
    if dialect == "chat":
        for number, (name, result) in enumerate(past):
            call = {"id": f"p{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"p{number}", "content": result},
            ]
        return {"model": "m", "messages": messages, "tools": tools, **({"stream": True} if stream else {})}
    if dialect == "responses":
        for number, (name, result) in enumerate(past):
            messages += [
                {"type": "function_call", "call_id": f"p{number}", "name": name, "arguments": "{}"},
                {"type": "function_call_output", "call_id": f"p{number}", "output": result},
            ]
        return {"model": "m", "input": messages, "tools": tools, **({"stream": True} if stream else {})}
    if dialect == "anthropic":
        for number, (name, result) in enumerate(past):
            messages += [
                {"role": "assistant", "content": [{"type": "tool_use", "id": f"p{number}", "name": name, "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"p{number}", "content": result}]},
            ]
        return {
            "model": "m",
            "max_tokens": 9,
            "messages": messages,
            "tools": tools,
            **({"stream": True} if stream else {}),
        }
    contents: list[Any] = [{"role": "user", "parts": [{"text": "Do it."}]}]
    for name, result in past:
        contents += [
            {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"result": result}}}]},
        ]
    return {"contents": contents, "tools": tools}


def whole(dialect: str, reply: Reply) -> bytes:
    """Return an answer that isn't streamed."""
    made: Any
    if dialect == "chat":
        made = wire.chat_completion(_call(reply))
    elif dialect == "responses":
        made = wire.response_object(_call(reply))
    elif dialect == "anthropic":
        made = anthropic_wire.message(_call(reply))
    else:
        made = google_wire.whole(google_wire.Call(tag="0" * 24, model="m", body={}, reply=reply))
    return json.dumps(made).encode()


def events(dialect: str, reply: Reply) -> list[bytes]:
    """Return the events of a streamed answer."""
    made: Iterator[bytes]
    if dialect == "chat":
        made = wire.chat_stream(_call(reply))
    elif dialect == "responses":
        made = wire.response_stream(_call(reply))
    elif dialect == "anthropic":
        made = anthropic_wire.message_stream(_call(reply))
    else:
        made = google_wire.as_events(
            google_wire.chunks(google_wire.Call(tag="0" * 24, model="m", body={}, reply=reply))
        )
    return list(made)


def _call(reply: Reply) -> Any:
    return wire.Call(tag="0" * 32, created=1, body={"model": "m"}, reply=reply)


def exchange(
    dialect: str,
    settings: Any = None,
    *,
    toolbox: Any = None,
    body: Any = None,
    tools: Iterable[str] = ("send",),
    stream: bool = False,
    past: Iterable[tuple[str, str]] = (),
) -> tuple[World, Exchange, Any]:
    """Return a world, an exchange that has decided about a request, and its decision."""
    adapter = adapters()[dialect]
    world = World(settings or {})
    origin = Origin("https", "provider.example", 443)
    made = Exchange(
        tools=Tools(
            policy=Policy.model_validate(settings or {}), adapter=adapter, scanner=WordScanner("never"), registered=None, key=KEY,
            prices=Prices(), policy_digest="0" * 64, sdk="test",
        ),
        bounds=Bounds(origins=frozenset({origin})),
        conversation=lambda *_: world.values,
        remember=lambda *_: None,
        call_id="call-1",
        toolbox=toolbox or ProcessToolbox(),
    )  # fmt: skip
    body = request(dialect, declared(dialect, *tools), stream=stream, past=past) if body is None else body
    path = _PATHS[dialect]
    query = ""
    if stream and dialect == "gemini":
        path, query = path.replace(":generateContent", ":streamGenerateContent"), "alt=sse"
    _, decision = world.begin(body, path, made, origin=origin, query=query)
    return world, made, decision


def fed(made: Exchange, pieces: Iterable[bytes], *, stream: bool) -> tuple[bytes, Exception | None]:
    """Return what the program gets of an answer, and the error that ends it."""
    made.response(200, (("content-type", "text/event-stream" if stream else "application/json"),))
    out: list[bytes] = []
    try:
        for piece in pieces:
            out.append(made.feed(piece))
            if made.cut_off:
                break
        out.append(made.end())
    except Exception as error:
        return b"".join(out), error
    return b"".join(out), None


def answered(dialect: str, reply: Reply, *, stream: bool, **options: Any) -> tuple[bytes, Exception | None]:
    """Return what the program gets of a reply to a request with tools."""
    _, made, _ = exchange(dialect, stream=stream, **options)
    return fed(made, events(dialect, reply) if stream else [whole(dialect, reply)], stream=stream)


def calls(*made: tuple[str, Any]) -> Reply:
    """Return a reply with a text and calls."""
    return Reply(text="Well then.", tool_calls=tuple(ToolCall(name=name, arguments=given) for name, given in made))
