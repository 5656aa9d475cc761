"""Stage 4: with `retention = "none"` a provider is told to keep nothing, and isn't told who somebody is (THREATS K.9).

What an endpoint keeps stands in its adapter's table (`Retention`). An endpoint that isn't there, or isn't known, keeps something:
what would bring something to it is refused, while reading, cancelling and deleting what was kept before is not.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safellm._core import jsontext
from safellm._core.adapter import Retention
from safellm._core.bodies import JsonBody, MultipartBody, TextBody
from safellm._core.call import Call, Tools
from safellm._core.tools.shapes import backend_of
from safellm._core.who import pseudonym
from safellm.errors import Reason, Refused

NAME = "retention"
_BRINGS_NOTHING = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_ENDS = ("/cancel", ":cancel")
_HEADER = "anthropic-user-profile-id"
_REMEDY = "Leave it out, or set retention = 'provider' in the policy."


def may_act(tools: Tools) -> bool:
    """Return whether nothing is to be kept."""
    return tools.policy.retention == "none"


def guard(call: Call) -> None:
    """Have nothing kept.

    Raises:
        Refused: `retention.denied`, when the call is there to have something kept.
    """
    route = call.route
    rules = call.tools.adapter.retention(route) if route.known else None
    if rules is None:
        if route.method in _BRINGS_NOTHING or route.template.endswith(_ENDS):
            return
        raise _refused(
            f"The endpoint {route.method} {route.template if route.known else call.head.path} keeps what it is sent, or may"
        )
    if call.head.header(_HEADER):
        raise _refused(f"The header {_HEADER} names somebody whom the provider keeps a profile of")
    body = call.body.value
    if isinstance(body, dict):
        _refuse_keeping(body, rules)
        if not call.policy.observes:
            _change(call, body, rules)
    elif isinstance(call.body, MultipartBody) and not call.policy.observes:
        _change_form(call, call.body, rules)


def _refuse_keeping(body: dict[str, Any], rules: Retention) -> None:
    for path, values in rules.keeping.items():
        for holder, key in _places(body, path):
            value = holder[key]
            if value not in (None, False, "", []) and (values is None or value in values):
                raise _refused(f"With {path!a} the provider keeps something of the call, or hands it on to others")
    for tool in _tools(body):
        kept = next((name for name in rules.tools if _is_tool(tool, name)), None)
        if kept is not None:
            raise _refused(f"The provider's tool {kept!a} keeps what it works on, or hands it on to others")


def _tools(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the tools that a body declares: in its list, in what a connection is set up with, in the middle of a conversation."""
    session = body.get("session")
    inner = (body.get("setup"), session, body.get("response"), backend_of(session))
    items = (one for name in ("input", "messages") for one in _objects(body.get(name)))
    for holder in (body, *(one for one in inner if isinstance(one, dict)), *items):
        yield from _objects(holder.get("tools"))
        for block in _objects(holder.get("content")):
            added = block.get("tool")
            if isinstance(added, dict):
                yield added
                yield from _objects([added.get("definition")])


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in (value if isinstance(value, list) else ()) if isinstance(one, dict))


def _is_tool(tool: dict[str, Any], name: str) -> bool:
    kind = tool.get("type")
    # Types may end in a version: code_execution_20250522.
    return name in tool or (isinstance(kind, str) and (kind == name or kind.startswith(f"{name}_20")))


def _change(call: Call, body: dict[str, Any], rules: Retention) -> None:
    for path in rules.drop:
        for holder, key in _places(body, path):
            del holder[key]
            _forget(call, path)
            _note(call, path)
    for path in rules.pseudonyms:
        for holder, key in _places(body, path):
            if holder[key] not in (None, ""):
                named = holder[key] if isinstance(holder[key], str) else str(holder[key])
                call.grown += len(new := pseudonym(call.tools.key, named))
                holder[key] = new
                _forget(call, path)
                _note(call, path)
    for path, value in rules.force.items():
        if body.get(path, _MISSING) is not value:
            body[path] = value
            call.grown += len(jsontext.dumps({path: value}))
            _note(call, path)


_MISSING = object()


def _change_form(call: Call, form: MultipartBody, rules: Retention) -> None:
    """Replace the names of people in a form's parts; its other parts are the endpoint's own."""
    for part, text in form.texts:
        if part.name in rules.pseudonyms and part.file_name is None and isinstance(text, TextBody):
            named = text.encode().decode("utf-8", "replace")
            if named:
                call.fields[:] = [one for one in call.fields if one.container is not text.lines]
                text.lines[:] = [pseudonym(call.tools.key, named)]
                _note(call, part.name)


def _places(body: dict[str, Any], path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the object and the key that a dotted path leads to, if it is there."""
    *around, last = path.split(".")
    holder: Any = body
    for name in around:
        holder = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and last in holder:
        yield holder, last


def _forget(call: Call, path: str) -> None:
    """Take the texts below a key out of what the next guards look at: they aren't sent, or hold a pseudonym."""
    if isinstance(call.body, JsonBody):
        # Not by the paths of the call's texts: those of a tool's arguments begin anew.
        parts = tuple(path.split("."))
        gone = {id(one) for one in call.body.document.fields if one.path[: len(parts)] == parts}
        call.fields[:] = [one for one in call.fields if id(one) not in gone]


def _note(call: Call, path: str) -> None:
    call.changed = True
    call.retention_changes.append(path)


def _refused(what: str) -> Refused:
    return Refused(what, guard=NAME, reason=Reason.RETENTION_DENIED, remedy=_REMEDY)
