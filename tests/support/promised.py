"""What programs, policy files and readers of trails may rely on, as plain data, so that versions can be compared.

`tests/release/promised.v1.json` holds what was promised. `PYTHONPATH=tests/support python tests/support/promised.py` adds what is
new since then; it takes nothing out and changes nothing: that is done by hand, for a new major version (docs/compatibility.md).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "release" / "promised.v1.json"

# What a value may be, in JSON Schema's words. A description or a title may change at any time.
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EXACT = ("pattern", "format", "const")
_MOST_DEEP = 12


def settings() -> dict[str, Any]:
    """Return every setting of the policy by its path (`budget.limits[].usd`, `tools.*.action`), with what it may be."""
    from safellm._core.policy import Policy

    schema = Policy.model_json_schema()
    return dict(sorted(_walk(schema, schema, "", 0)))


def events() -> dict[str, Any]:
    """Return every event of the trail, with the fields that it always has and those that it may have."""
    from safellm._core.events_described import schema

    return {
        name: {"always": sorted(one["required"]), "fields": sorted(one["properties"])}
        for name, one in schema()["$defs"].items()
    }


def fields() -> dict[str, Any]:
    """Return every field of the trail with its form."""
    from safellm._core.events_described import FIELDS

    return {name: _form(form) for name, (_, form) in FIELDS.items()}


def names() -> dict[str, list[str]]:
    """Return names that programs and scripts write: of Python, of errors, of reasons, of commands and their options."""
    import typer.main

    import safellm
    from safellm import errors
    from safellm.cli.app import app
    from safellm.errors import Reason

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    return {
        "python": sorted(safellm.__all__),
        "errors": sorted(
            f"{kind.__name__}({base.__name__})"
            for kind in kinds
            for base in kind.__mro__[1:]
            if issubclass(kind, Exception) and base is not object
        ),
        "reasons": sorted(map(str, Reason)),
        "commands": sorted(_commands(typer.main.get_command(app), "safellm")),
    }


def everything() -> dict[str, Any]:
    """Return all of it."""
    return {"settings": settings(), "events": events(), "fields": fields(), "names": names()}


def broken(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what was promised and isn't so any more."""
    found = [f"setting {path}: {what}" for path, what in _settings_broken(before["settings"], now["settings"])]
    for name, event in before["events"].items():
        other = now["events"].get(name)
        if other is None:
            found.append(f"event {name} is gone")
            continue
        found += [f"event {name}: {one} is gone" for one in event["fields"] if one not in other["fields"]]
        if event["always"] != other["always"]:  # one more: older records don't fit; one less: readers miss it
            found.append(f"event {name}: other fields than before are always there")
    for name, form in before["fields"].items():
        if name not in now["fields"]:
            found.append(f"field {name} is gone")
        else:
            found += [f"field {name}: {what}" for what in _narrowed(form, now["fields"][name], may_widen=False)]
    for kind, listed in before["names"].items():
        found += [f"{kind}: {one} is gone" for one in listed if one not in now["names"][kind]]
    return found


def added(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was promised together with what is new."""
    made = json.loads(json.dumps(before))
    for part in ("settings", "fields"):
        for name, form in now[part].items():
            _grow(made[part].setdefault(name, form), form)
    for name, event in now["events"].items():
        known = made["events"].setdefault(name, event)
        known["fields"] = sorted({*known["fields"], *event["fields"]})
    for kind, listed in now["names"].items():
        made["names"][kind] = sorted({*made["names"].get(kind, ()), *listed})
    return made


def _walk(schema: Mapping[str, Any], node: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    assert depth < _MOST_DEEP, path
    node = _resolved(schema, node)
    for name, inner in node.get("properties", {}).items():
        yield from _value(schema, inner, f"{path}.{name}".lstrip("."), depth, needed=name in node.get("required", ()))


def _value(
    schema: Mapping[str, Any], node: Mapping[str, Any], path: str, depth: int, *, needed: bool = False
) -> Iterator[tuple[str, Any]]:
    options = [_resolved(schema, one) for one in node.get("anyOf", [node])]
    if any("properties" in one for one in options):
        form: dict[str, Any] = {"types": sorted({str(one.get("type")) for one in options})}
    else:
        form = _form({"anyOf": options})
    if "default" in node and not isinstance(node["default"], dict):  # what stands in a table has a line of its own
        form["default"] = node["default"]
    yield path, {**form, "needed": True} if needed else form
    for one in options:
        yield from _walk(schema, one, path, depth + 1)
        if isinstance(one.get("items"), dict):
            yield from _value(schema, one["items"], f"{path}[]", depth + 1)
        for inner in (one.get("additionalProperties"), *one.get("patternProperties", {}).values()):
            if isinstance(inner, dict):
                yield from _value(schema, inner, f"{path}.*", depth + 1)


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _form(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a value may be: types, values, bounds."""
    made: dict[str, Any] = {"types": [], "values": []}
    for one in node.get("anyOf", [node]):
        kind = one.get("type", [])
        made["types"] += [kind] if isinstance(kind, str) else kind
        made["values"] += map(str, one.get("enum", ()))
        for name in (*_LOWER, *_UPPER, *_EXACT):
            if name in one:
                made[name] = one[name]
    return {
        name: sorted(set(found)) if isinstance(found, list) else found for name, found in made.items() if found != []
    }


def _settings_broken(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, form in before.items():
        if path not in now:
            yield path, "is gone"
            continue
        for what in _narrowed(form, now[path], may_widen=True):
            yield path, what
        if form.get("default") != now[path].get("default"):
            yield path, "has another default"
    for path, form in now.items():
        holder = path.rpartition(".")[0]
        if form.get("needed") and not before.get(path, {}).get("needed") and (holder == "" or holder in before):
            yield path, "must be given now"


def _narrowed(before: Mapping[str, Any], now: Mapping[str, Any], *, may_widen: bool) -> Iterator[str]:
    """Say how a form takes less than before, or, where readers rely on it, anything else than before."""
    types, others = set(before.get("types", ())), set(now.get("types", ()))
    if not types <= others or (not may_widen and types != others):
        yield "has another type"
    values, known = set(before.get("values", ())), set(now.get("values", ()))
    if (values and known and not values <= known) or (known and not values) or (values and not known and not may_widen):
        yield "knows other values"
    for name in _EXACT:
        if before.get(name) != now.get(name):
            yield f"has another {name}"
    for bounds, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in bounds:
            if name not in now:
                continue
            if name not in before or sign * now[name] > sign * before[name]:
                yield f"takes less than before ({name})"


def _grow(known: dict[str, Any], form: Mapping[str, Any]) -> None:
    if "values" in known and "values" in form:
        known["values"] = sorted({*known["values"], *form["values"]})


def _commands(command: Any, path: str) -> Iterator[str]:
    for option in command.params:
        for name in option.opts + option.secondary_opts:
            if name.startswith("-"):
                yield f"{path} {name}"
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield f"{path} {name}"
            yield from _commands(inner, f"{path} {name}")


if __name__ == "__main__":
    kept = json.loads(FILE.read_text("utf-8")) if FILE.exists() else None
    current = json.loads(json.dumps(everything()))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(
        json.dumps(current if kept is None else added(kept, current), indent=1, sort_keys=True) + "\n", "utf-8"
    )
