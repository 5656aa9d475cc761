"""How tools stand in requests and their calls in answers, whole and streamed, in all dialects.

A call is recognised by its shape wherever it stands, not by the endpoint that it comes from: a server that speaks one dialect may
pass on another's, and what isn't recognised isn't guarded. What the provider runs itself (its search, its interpreter) is no call
for the program; it is noted, as its results are text of others.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

# Tools of the provider that the program runs: the item in an answer, and the tool's name.
CLIENT_RUN: Final = {
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "apply_patch_call": "apply_patch",
    "computer_call": "computer",
}
# What shows that the provider ran a tool itself, and so brought in text of others.
_PROVIDER_RUN: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "server_tool_use", "mcp_tool_use",
     "web_search_tool_result", "web_fetch_tool_result", "mcp_tool_result", "code_execution_tool_result", "google_search_call",
     "google_search_result", "url_context_call", "url_context_result", "mcp_server_tool_call", "mcp_server_tool_result"}
)  # fmt: skip
_FREE: Final = frozenset(
    {"tools", "functions", "metadata", "response_format", "tool_choice", "parameters", "input_schema"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One tool that a request declares.

    Attributes:
        name: As a call names it; of a tool of the provider, its type.
        description: What the model is told of it.
        schema: Of its arguments, JSON Schema; None where it has none of ours.
        hosted: It is the provider's own, or a server's that the provider asks.
    """

    name: str
    description: str = ""
    schema: Any = None
    hosted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCall:
    """One call in an answer. `arguments`: JSON text, the text of a custom tool, or what was parsed already."""

    name: str
    arguments: Any
    id: str = ""
    free_form: bool = False  # a custom tool's text, which is no JSON


@dataclass(slots=True)
class Declared:
    """Tools that a connection has declared by now; who holds it sees those that come.

    Attributes:
        functions: Those that the program runs, by name; the newest definition counts.
        hosted: Names of the provider's.
    """

    functions: dict[str, Definition] = field(default_factory=dict)
    hosted: set[str] = field(default_factory=set)

    def add(self, value: Any) -> None:
        """Add what a request's body, or an event, declares."""
        for one in definitions(value):
            if one.hosted:
                self.hosted.add(one.name)
            else:
                self.functions[one.name] = one


def definitions(value: Any) -> list[Definition]:
    """Return every tool that a request's body declares."""
    if not isinstance(value, dict):
        return []
    found: list[Definition] = []
    for place in _places(value):
        for key in ("tools", "functions"):
            listed = place.get(key)
            for one in listed if isinstance(listed, list) else ():
                found += read_definition(one)
    servers = value.get("mcp_servers")
    for one in servers if isinstance(servers, list) else ():
        if isinstance(one, dict):
            found.append(Definition(name=f"mcp:{one.get('url', '')}", hosted=True))
    for tool in _added(value):
        # What the history tells again in the same words is no second tool.
        found += [one for one in read_definition(tool) if one not in found]
    return found


def declares_any(value: Any) -> bool:
    """Return whether a request's body declares any tool."""
    if not isinstance(value, dict):
        return False
    for place in _places(value):
        for key in _LISTS:
            if place.get(key):
                return True
    return any(True for _ in _added(value))


def _added(value: dict[str, Any]) -> Iterator[Any]:
    """Yield the tools that messages define in the course of a conversation (Anthropic's `tool_addition` blocks)."""
    messages = value.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_addition":
                tool = block.get("tool")
                if isinstance(tool, dict) and "definition" in tool:
                    yield tool["definition"]


def _places(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a body that may list tools.

    Itself; in a realtime or live session the answer or session that it is about, and the model that works for it; items of the
    input that bring tools found by a search.
    """
    items = value.get("input")
    session = value.get("session")
    about = (value.get("response"), session, backend_of(session), value.get("setup"))
    inner = [*about, *items] if isinstance(items, list) else about
    return [value, *[one for one in inner if isinstance(one, dict)]]


def backend_of(session: Any) -> Any:
    """Return the settings of the model that a live session hands its work on to, or None."""
    work = session.get("delegation") if isinstance(session, dict) else None
    return work.get("responses") if isinstance(work, dict) else None


_LISTS: Final = ("tools", "functions", "mcp_servers")


def read_definition(tool: Any) -> list[Definition]:  # noqa: PLR0911 - one for each shape
    """Return the tools of one entry of a list of tools, in whatever dialect, that of MCP included."""
    if not isinstance(tool, dict):
        return []
    listed = tool.get("functionDeclarations", tool.get("function_declarations"))
    if isinstance(listed, list):
        own = [one for entry in listed for one in read_definition(entry)]
        names = [name for name in tool if name not in ("functionDeclarations", "function_declarations")]
        return own + [Definition(name=name, hosted=True) for name in names]
    kind = tool.get("type")
    if kind == "namespace" and isinstance(tool.get("tools"), list):
        return [one for entry in tool["tools"] for one in read_definition(entry)]
    inner = next((tool[name] for name in ("function", "custom") if isinstance(tool.get(name), dict)), tool)
    name = inner.get("name")
    if (kind is None or kind in ("function", "custom")) and isinstance(name, str):
        return [Definition(name=name, description=str(inner.get("description") or ""), schema=_schema_of(inner))]
    if kind in ("mcp", "mcp_toolset"):
        where = tool.get("server_url") or tool.get("connector_id") or tool.get("mcp_server_name") or ""
        return [Definition(name=f"mcp:{where}", hosted=True)]
    if isinstance(kind, str):
        own = [Definition(name=name, hosted=True)] if isinstance(name, str) and name != kind else []
        return [Definition(name=kind, hosted=True), *own]
    return [Definition(name=one, hosted=True) for one in tool if isinstance(tool[one], dict)]


def _schema_of(tool: dict[str, Any]) -> Any:
    for key in ("parameters", "parametersJsonSchema", "parameters_json_schema", "input_schema", "inputSchema"):
        if isinstance(tool.get(key), dict):
            return tool[key]
    return None


def walk(value: Any) -> Iterator[SeenCall | None]:
    """Yield every call in an answer, or in what an answer is made of, in its order; None where the provider ran a tool itself."""
    if isinstance(value, list):
        for one in value:
            if isinstance(one, (dict, list)):
                yield from walk(one)
    elif isinstance(value, dict):
        kind = value.get("type")
        if (
            (isinstance(kind, str) and kind in _PROVIDER_RUN)
            or "groundingMetadata" in value
            or "urlContextMetadata" in value
        ):
            yield None
        found = call_of(value)
        if found is not None:
            yield found
        for key, one in value.items():
            if isinstance(one, (dict, list)) and key not in _FREE and not (found is not None and key in _OF_A_CALL):
                yield from walk(one)


def calls_in(value: Any) -> list[SeenCall]:
    """Return every call in an answer, or in what an answer is made of, in its order."""
    return [call for call in walk(value) if call is not None]


def brings_text_of_others(value: Any) -> bool:
    """Return whether a part of an answer shows that the provider ran a tool itself."""
    return any(call is None for call in walk(value))


_DEFINES: Final = frozenset({"description", "parameters", "format", "strict"})
_OF_A_CALL: Final = frozenset(
    {"function", "custom", "functionCall", "function_call", "arguments", "args", "input", "action", "operation"}
)


def call_of(value: dict[str, Any]) -> SeenCall | None:  # noqa: PLR0911 - one for each shape
    """Return the call that an object is, or None."""
    kind = value.get("type")
    name = str(value.get("id") or value.get("call_id") or "")
    if kind in ("function_call", "tool_use"):
        arguments = value.get("input" if kind == "tool_use" else "arguments")
        return SeenCall(name=name_of(value), arguments=arguments, id=str(value.get("call_id") or name))
    if kind == "custom_tool_call":
        return SeenCall(
            name=name_of(value), arguments=value.get("input"), id=str(value.get("call_id") or name), free_form=True
        )
    if isinstance(kind, str) and kind in CLIENT_RUN:
        arguments = value.get("action", value.get("operation", value.get("actions")))
        return SeenCall(name=CLIENT_RUN[kind], arguments={"action": arguments}, id=str(value.get("call_id") or name))
    inner = value.get("custom")
    if isinstance(inner, dict) and _is_call(inner, "input") and (kind == "custom" or "function" not in value):
        return SeenCall(name=name_of(inner), arguments=inner.get("input"), id=name, free_form=True)
    inner = value.get("function")
    if isinstance(inner, dict) and _is_call(inner, "arguments"):
        return SeenCall(name=name_of(inner), arguments=inner.get("arguments"), id=name)
    inner = value.get("functionCall", value.get("function_call"))
    if isinstance(inner, dict) and ("name" in inner or "args" in inner):
        arguments = inner.get("args", inner.get("arguments"))
        if "partialArgs" in inner or "partial_args" in inner:
            arguments = assembled(inner.get("partialArgs") or inner.get("partial_args"))
        return SeenCall(name=name_of(inner), arguments=arguments, id=str(inner.get("id") or ""))
    return None


def _is_call(inner: dict[str, Any], given: str) -> bool:
    """Return whether an object calls a function, and doesn't define it; some servers leave out arguments where there are none."""
    return given in inner or ("name" in inner and _DEFINES.isdisjoint(inner))


def name_of(value: dict[str, Any]) -> str:
    """Return the name of a call; of a member of one of the provider's toolsets, `browser.navigate`.

    A member's bare name (`key`, `open`) may be that of a function of the program too, which it must not be taken for.
    """
    name, family = value.get("name"), value.get("toolset_name")
    if not isinstance(name, str):
        return ""
    return f"{family}.{name}" if isinstance(family, str) and family else name


def past_calls(value: Any) -> list[str]:
    """Return the names of the calls that a request's body tells of."""
    if not isinstance(value, dict):
        return []
    return [call.name for key in ("messages", "input", "contents") for call in calls_in(value.get(key))]


def assembled(pieces: Any) -> Any:
    """Return the arguments that come as texts by JSON path (Vertex AI), or None where a path is no plain one."""
    made: dict[str, Any] = {}
    for piece in pieces if isinstance(pieces, list) else ():
        path = piece.get("jsonPath", piece.get("json_path")) if isinstance(piece, dict) else None
        if not isinstance(path, str) or not path.startswith("$.") or not path[2:].isidentifier():
            return None
        name = path[2:]
        if "stringValue" in piece or "string_value" in piece:
            text = piece.get("stringValue", piece.get("string_value"))
            before = made.get(name, "")
            if not isinstance(text, str) or not isinstance(before, str):
                return None
            made[name] = before + text
            continue
        for key in ("numberValue", "boolValue", "number_value", "bool_value"):
            if key in piece:
                made[name] = piece[key]
                break
        else:
            made[name] = None
    return made
