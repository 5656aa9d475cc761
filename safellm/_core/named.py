"""What a request names: every model and every tool, wherever it stands in the body (THREATS K.9).

A provider reads more places than the obvious one: a list of models to fall back to, a model inside a tool, a batch of requests,
the parts of a form. So all of a body is walked, but for what the adapter's table calls the program's own: schemas, metadata,
arguments. What looks like a name and can't be read counts as the empty name, which only the pattern `*` fits.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from safellm._core.bodies import Body, MultipartBody, TextBody
from safellm._core.fields import Document, Kind, Table

_MODEL_KEY = re.compile(r"(?:\w*_)?models?(?:_?[iI]d)?|[a-z]\w*Models?(?:Id)?|fallbacks")
_TOOL_LISTS = frozenset(
    {"tools", "functions", "functionDeclarations", "function_declarations", "mcp_servers", "plugins"}
)
_GOOGLE_FUNCTIONS = frozenset({"functionDeclarations", "function_declarations"})
# Stored at the provider, with tools that nobody sees here; and the hosted search of chat completions.
_STORED = {"prompt": "prompt", "assistant_id": "assistant", "agent_id": "agent", "agent": "agent"}
_SEARCH = "web_search_options"
_UNREADABLE = ""


def models(body: Body, path_model: str, table: Table) -> tuple[str, ...]:
    """Return every model that a request names, each once.

    Args:
        body: Of the request.
        path_model: The model that the path names, or an empty text.
        table: The adapter's, for what is the program's own.
    """
    found = [path_model] if path_model else []
    for value in _documents(body):
        own = list(_models(value, table, ""))
        # Each line of a batch is a request: one without a model could get any.
        found += own or ([_UNREADABLE] if isinstance(body, TextBody) else [])
    if isinstance(body, MultipartBody):
        for part in body.parts:
            if part.file_name is None and _MODEL_KEY.fullmatch(part.name.partition("[")[0]):
                found.append(part.content.decode("utf-8", "replace").strip())
    return tuple(dict.fromkeys(name.removeprefix("models/") for name in found))


def tools(body: Body, table: Table) -> tuple[str, ...]:
    """Return every tool that a request declares, each once.

    A function has its name, a tool of the provider its type (`web_search`), a remote one `mcp:` and its address, what is stored
    at the provider `prompt:`, `assistant:` or `agent:` and its id.
    """
    found = [name for value in _documents(body) for name in _tools(value, table, "")]
    if isinstance(body, MultipartBody):
        found += [_UNREADABLE for part in body.parts if part.name.partition("[")[0] in _TOOL_LISTS]
    return tuple(dict.fromkeys(found))


def _documents(body: Body) -> Iterator[Any]:
    if isinstance(body, TextBody):
        yield from (line.value for line in body.lines if isinstance(line, Document))
    elif isinstance(body, MultipartBody):
        for _, text in body.texts:
            if isinstance(text, TextBody):
                yield from (line.value for line in text.lines if isinstance(line, Document))
    elif body.value is not None:
        yield body.value


def _children(value: Any, table: Table, key: str) -> Iterator[tuple[str, Any]]:
    """Yield what stands below a value, with the name it has, without what is the program's own."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                yield key, item
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, (dict, list)) and not table.is_free(name, key):
                if isinstance(item, dict) and table.kind_of(name, key) is Kind.ARGUMENTS:
                    continue
                yield name, item


def _models(value: Any, table: Table, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if _MODEL_KEY.fullmatch(name) and not table.is_free(name, key):
                yield from _names_in(item)
    for name, item in _children(value, table, key):
        yield from _models(item, table, name)


def _names_in(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, list):
        for one in item:
            yield from _names_in(one)
    elif isinstance(item, dict):
        named = [item[name] for name in ("id", "name") if isinstance(item.get(name), str)]
        yield from named
        if not named and not any(_MODEL_KEY.fullmatch(name) for name in item):
            yield _UNREADABLE
    elif item is not None:
        yield _UNREADABLE


def _tools(value: Any, table: Table, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _TOOL_LISTS and not table.is_free(name, key):
                for one in item if isinstance(item, list) else [item]:
                    yield from _tool_names(name, one)
        if value.get("type") == "tool_definition" and not table.is_free("definition", key):
            yield from _tool_names("tools", value.get("definition"))  # one that a message adds to a conversation
        if not key:
            if value.get(_SEARCH) is not None:
                yield "web_search"
            for name, kind in _STORED.items():
                yield from _stored(kind, value.get(name))
    for name, item in _children(value, table, key):
        yield from _tools(item, table, name)


def _stored(kind: str, value: Any) -> Iterator[str]:
    named = value.get("id") if isinstance(value, dict) else value
    is_text = kind == "prompt" and not isinstance(value, dict)  # one to complete
    if not is_text and (isinstance(named, str) or (isinstance(value, dict) and named is not None)):
        yield f"{kind}:{named}"


def _tool_names(place: str, tool: Any) -> Iterator[str]:
    if tool is None:
        return
    if isinstance(tool, str):
        yield tool
        return
    if not isinstance(tool, dict):
        yield _UNREADABLE
        return
    kind = tool.get("type")
    if place == "mcp_servers" or kind in ("mcp", "mcp_toolset"):
        yield f"mcp:{tool.get('server_url') or tool.get('url') or tool.get('connector_id') or tool.get('mcp_server_name') or ''}"
        return
    inner = next((tool[name] for name in ("function", "custom") if isinstance(tool.get(name), dict)), tool)
    named = inner.get("name")
    if kind is not None and kind not in ("function", "custom", "namespace") and isinstance(kind, str):
        yield kind  # a hosted tool is what its type says, whatever it calls itself
        if isinstance(named, str):
            yield named
        return
    if isinstance(named, str):
        yield named
        return
    # Google: functions are walked by themselves; every other key is a tool of the provider's.
    others = [name for name in tool if name not in _GOOGLE_FUNCTIONS]
    yield from others or ([] if any(name in tool for name in _GOOGLE_FUNCTIONS) else [_UNREADABLE])
