"""Which texts of a request neither the program nor the user wrote: results of tools, retrieved documents, files, marked texts.

The shapes are those of Chat Completions, Responses, Anthropic and Gemini. They don't collide, so one table serves all, and a
compatible server that mixes them is read as well.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safellm._core.bodies import JsonBody, MultipartBody, TextBody
from safellm._core.call import Call
from safellm._core.fields import Field, Kind
from safellm._core.injection import marks
from safellm._core.injection.marks import marked_sources
from safellm._core.textfiles import FileBody

DOCUMENT, FILE, MARKED, TOOL = "document", "file", "marked", "tool"
_TOOL_ROLES = frozenset({"tool", "function"})
_PLAIN = frozenset({"role", "content"})  # all that most messages have
# Types of items and blocks that carry what a tool gave; by `name` or by the id of the call that asked for it.
_RESULTS = frozenset(
    {"function_call_output", "custom_tool_call_output", "computer_call_output", "local_shell_call_output", "shell_call_output",
     "apply_patch_call_output", "mcp_call", "code_interpreter_call", "tool_result", "mcp_tool_result", "web_fetch_tool_result",
     "code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result"}
)  # fmt: skip
_DOCUMENTS = frozenset(
    {"document", "search_result", "web_search_tool_result", "web_search_result", "file_search_call", "web_search_call"}
)  # fmt: skip
# Of these, only what came back counts: the rest is what the model asked for.
_ANSWERS = {"mcp_call": ("output", "error"), "code_interpreter_call": ("outputs",), "file_search_call": ("results",)}
_GEMINI = {
    "functionResponse": TOOL, "function_response": TOOL, "codeExecutionResult": DOCUMENT, "code_execution_result": DOCUMENT,
    "toolResponse": DOCUMENT, "tool_response": DOCUMENT,
}  # fmt: skip
# In the bytes of every body that holds any of these, or a mark, plain or escaped.
_SIGNS = (
    b'"tool"', b'"function"', b"_output", b"_result", b"_call", b'"document"', b"unctionResponse", b"function_response", b"base64",
    b"odeExecutionResult", b"toolResponse", b"tool_response", b"multipart", marks.OPEN.encode(), rb"\u27e6", rb"\u27E6",
    b"filename=",
)  # fmt: skip
_READ = frozenset({Kind.TEXT, Kind.TOOL_INPUT, Kind.NAME})


def untrusted_sources(call: Call) -> tuple[str, ...]:
    """Return what a request holds that neither the program nor the user wrote, each source once, in order of appearance.

    "tool:NAME" ("tool:" where the name isn't known), "document", "file", "marked:SOURCE".
    """
    found = [source for source, _ in untrusted_fields(call)]
    found += [f"{MARKED}:{source}" for one in call.fields if one.kind in _READ for source in marked_sources(one.text)]
    return tuple(dict.fromkeys([*found, *call.untrusted_sources]))  # the guard has taken the marks out


def may_hold(body: bytes) -> bool:
    """Return whether a body could hold text of others: a quick look at its bytes, which may say yes too often."""
    return any(sign in body for sign in _SIGNS)


def untrusted_fields(call: Call) -> Iterator[tuple[str, Field]]:
    """Yield (source, field) for each text that came from somewhere else; marked parts of other texts aren't among them."""
    body = call.body
    if isinstance(body, JsonBody):
        places = _places(body.value)
        if places:
            yield from _of_document(places, body.document.fields)
        for one in body.inline:
            yield from ((FILE, each) for each in one.text.fields())
    elif isinstance(body, (TextBody, FileBody)):
        yield from ((FILE, one) for one in body.fields()) if isinstance(body, FileBody) else ()
    elif isinstance(body, MultipartBody):
        yield from ((FILE, one) for part, text in body.texts if part.file_name is not None for one in text.fields())


def _of_document(places: dict[int, str], fields: list[Field]) -> Iterator[tuple[str, Field]]:
    for one in fields:
        if one.kind in _READ and not one.is_key and id(one.container) in places:
            yield places[id(one.container)], one


def _places(value: Any) -> dict[int, str]:
    """Return the source of every object and list that stands in untrusted text, by identity: the body outlives the guards."""
    places: dict[int, str] = {}
    if isinstance(value, dict):
        names: dict[str, str] = {}
        for key in ("messages", "input", "contents"):
            rows = value.get(key)
            if isinstance(rows, list):
                for row in rows:
                    if _is_plain(row):
                        continue  # nearly every message
                    _note_names(row, names)
                    _find(row, places, names)
    return places


def _is_plain(row: Any) -> bool:
    """Return whether a message is a role with a text, and no tool's."""
    return (
        type(row) is dict
        and row.keys() == _PLAIN
        and type(row["content"]) is str
        and type(row["role"]) is str
        and row["role"] not in _TOOL_ROLES
    )


def _note_names(row: Any, names: dict[str, str]) -> None:
    """Note the tool of each call by the call's id."""
    if not isinstance(row, dict):
        return
    calls = [row, *_list(row.get("tool_calls")), *_list(row.get("content"))]
    for one in calls:
        if isinstance(one, dict):
            inner = one.get("function")
            name = inner.get("name") if isinstance(inner, dict) else one.get("name")
            for key in ("call_id", "id"):
                if isinstance(name, str) and isinstance(one.get(key), str):
                    names[one[key]] = name


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _find(value: Any, places: dict[int, str], names: dict[str, str]) -> None:
    if isinstance(value, list):
        for one in value:
            _find(one, places, names)
        return
    if not isinstance(value, dict):
        return
    form, role = value.get("type"), value.get("role")
    if isinstance(role, str) and role in _TOOL_ROLES and "parts" not in value:
        _take(value, f"{TOOL}:{_name(value, names)}", places, ("content",))
        return
    if isinstance(form, str) and form in _RESULTS:
        _take(value, f"{TOOL}:{_name(value, names)}", places, _ANSWERS.get(form, ("output", "content", "error")))
        return
    if isinstance(form, str) and form in _DOCUMENTS:
        _take(value, DOCUMENT, places, _ANSWERS.get(form, ()))
        return
    for key, child in value.items():
        kind = _GEMINI.get(key)
        if kind is not None and isinstance(child, dict):
            _take(child, f"{TOOL}:{_name(child, names)}" if kind is TOOL else kind, places, ())
        elif isinstance(child, (dict, list)):
            _find(child, places, names)


def _name(value: dict[str, Any], names: dict[str, str]) -> str:
    named = value.get("name")
    if isinstance(named, str):
        return named
    known = (
        names.get(value[key]) for key in ("tool_call_id", "call_id", "tool_use_id") if isinstance(value.get(key), str)
    )
    return next((one for one in known if one), "")


def _take(value: Any, source: str, places: dict[int, str], keys: tuple[str, ...]) -> None:
    """Note an object, and everything below it or below the given keys of it."""
    places[id(value)] = source
    children = [value.get(key) for key in keys] if keys else list(value.values() if isinstance(value, dict) else value)
    for child in children:
        if isinstance(child, (dict, list)):
            _take(child, source, places, ())
