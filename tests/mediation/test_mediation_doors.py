"""The other ways to make a request: the client's own verbs, raw and streamed responses, copies, pages, extras, the module."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mediation_sweep import ESCAPE, HIDDEN, NATIVE, PLACEHOLDER, Marks, Wire, judge, strings
from mediation_walk import Walk, surface

import safellm
from safellm.errors import Refused

BODY_VERBS = ("post", "put", "patch", "delete")
# One method of each resource; that all of them are guarded alike is the other file's matter.
FIRST = {
    one.resource: one for one in reversed(surface()) if one.name in ("create", "list", "retrieve", "update", "delete")
}


@pytest.fixture
def open_wire(home: Path) -> Iterator[tuple[Any, Wire]]:
    """A guarded client whose wire answers with what it was sent, placeholders included, made hostile."""

    def answer(request: Any) -> tuple[str, bytes]:
        found = PLACEHOLDER.search(wire.requests[-1][3].decode("utf-8", "replace"))
        shown = found[0] if found else "nothing"
        text = f"<<0|{ESCAPE}{HIDDEN}{shown} and https://x.example/?q={shown} >>"
        return "application/json", json.dumps({"text": text, "deep": [{"any": text}]}).encode()

    wire = Wire(answer=answer)
    http = NATIVE.Client(transport=wire.transport())
    yield safellm.OpenAI(api_key="given", max_retries=0, http_client=http), wire
    http.close()


def left(wire: Wire, marks: Marks) -> set[Any]:
    """Return what of the marked texts arrived at the wire, anywhere."""
    found = set()
    for _, url, headers, body in wire.requests:
        found |= marks.found(url.encode()) | marks.found(json.dumps(headers).encode()) | marks.found(body)
    return found


def came(value: Any) -> list[Any]:
    """Return what is wrong with the texts that the program got."""
    texts = list(strings(value))
    assert any("<<0|" in text for text in texts)
    return [wrong for text in texts for wrong in judge(text)]


@pytest.mark.parametrize("path", ["/chat/completions", "/something/new", "https://api.openai.com/v1/responses"])
@pytest.mark.parametrize("verb", BODY_VERBS)
def test_a_verb_of_the_client_is_guarded(open_wire: Any, verb: str, path: str) -> None:
    """`client.post` and its kin take any path and any body: known or not, the texts are searched."""
    client, wire = open_wire
    marks = Marks()
    body = {"note": marks.request("note", "text"), "list": [{"signature": marks.request("signature", "text")}]}
    got = getattr(client, verb)(path, cast_to=object, body=body)
    assert len(wire.requests) == 1
    assert not left(wire, marks)
    assert not came(got)


def test_get_and_request_are_guarded(open_wire: Any) -> None:
    """A secret in the query is refused; what comes back is cleaned."""
    client, wire = open_wire
    assert not came(client.get("/anything", cast_to=object))
    with pytest.raises(Refused):
        client.get("/anything", cast_to=object, options={"params": {"q": Marks().request("q", "text")}})
    assert len(wire.requests) == 1


@pytest.mark.parametrize("make", ["copy", "with_options"])
def test_a_copy_is_guarded(open_wire: Any, make: str) -> None:
    """A client with other options has the same guard."""
    client, wire = open_wire
    marks = Marks()
    twin = getattr(client, make)(timeout=5)
    twin.post("/chat/completions", cast_to=object, body={"note": marks.request("note", "text")})
    assert len(wire.requests) == 1
    assert not left(wire, marks)


def test_extras_are_guarded(open_wire: Any) -> None:
    """`extra_body` is searched like the body, a secret in `extra_query` is refused."""
    client, wire = open_wire
    marks = Marks()
    messages = [{"role": "user", "content": "hi"}]
    extra = {
        "new": {"field": marks.request("field", "text"), marks.request("key", "key"): 1},
        "extra_list": [marks.request("l", "text")],
    }
    client.chat.completions.create(model="m", messages=messages, extra_body=extra)
    assert len(wire.requests) == 1
    assert not left(wire, marks)
    with pytest.raises(Refused):
        client.chat.completions.create(model="m", messages=messages, extra_query={"q": marks.request("q", "text")})
    assert len(wire.requests) == 1


@pytest.mark.parametrize("way", ["with_raw_response", "with_streaming_response"])
@pytest.mark.parametrize("resource", sorted(FIRST))
def test_raw_responses_are_guarded(walk: Walk, resource: str, way: str) -> None:
    """Headers and bytes on demand: the bytes are the guarded ones."""
    method = FIRST[resource]
    owner = walk.client
    for name in [*resource.split("."), way]:
        owner = getattr(owner, name)
    from mediation_rules import GIVEN, may_come, may_leave
    from mediation_surface import Method

    class Raw(Method):
        """The raw twin: called instead, described by the plain one."""

        @property
        def function(self) -> Any:
            return method.function

    report = walk.sweep.run(Raw(path=method.path, call=getattr(owner, method.name)), GIVEN.get(method.path, {}), rows=1)
    assert not report.errors
    assert not report.stumbled
    assert not [one for one in report.leaks if not may_leave(*one)]
    assert not [one for one in report.wrong if not may_come(*one)]
    assert report.routes


def test_every_page_is_guarded(home: Path) -> None:
    """Looping over a list asks for the next page; that one is cleaned too."""
    item = {"id": "file-1", "object": "file", "filename": f"<<0|{ESCAPE}{HIDDEN} and >>", "bytes": 1, "created_at": 1,
            "purpose": "batch", "status": "processed"}  # fmt: skip

    def answer(request: Any) -> tuple[str, bytes]:
        return "application/json", json.dumps(
            {"object": "list", "data": [item], "has_more": len(wire.requests) < 3}
        ).encode()

    wire = Wire(answer=answer)
    with NATIVE.Client(transport=wire.transport()) as http:
        client = safellm.OpenAI(api_key="given", max_retries=0, http_client=http)
        got = list(client.files.list())
    assert len(got) == len(wire.requests) == 3
    assert not came(got)


def test_the_module_is_guarded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`import safellm.openai as openai; openai.chat…` goes through the same guard."""
    import openai as plain
    import safellm.openai as guarded

    wire = Wire(
        answer=lambda request: ("application/json", json.dumps({"data": [{"x": f"<<0|{ESCAPE} and >>"}]}).encode())
    )
    for module in (guarded, plain):
        monkeypatch.setattr(module, "api_key", "given", raising=False)
    with NATIVE.Client(transport=wire.transport()) as http:
        guarded.http_client = http
        marks = Marks()
        try:
            messages: Any = [{"role": "user", "content": marks.request("content", "text")}]
            guarded.chat.completions.create(model="m", messages=messages)
            guarded.responses.create(model="m", input=marks.request("input", "text"))
            guarded.embeddings.create(model="m", input=[marks.request("input", "text")], encoding_format="float")
        finally:
            guarded.http_client = None
            getattr(guarded, "_reset_client", plain._reset_client)()
    assert len(wire.requests) == 3
    assert not left(wire, marks)
