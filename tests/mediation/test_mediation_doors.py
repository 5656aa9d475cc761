"""The other ways to make a request: the client's own verbs, raw and streamed responses, copies, pages, extras, the module."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mediation_openai import OPENAI
from mediation_surface import Method
from mediation_sweep import ESCAPE, HIDDEN, PLACEHOLDER, Marks, Wire, arguments, judge, strings
from mediation_walk import Walk, installed, method_of, surface

import safellm
from safellm.errors import Refused

NATIVE = OPENAI.native
SDKS = installed()
BODY_VERBS = ("post", "put", "patch", "delete")
# One method of each resource; that all of them are guarded alike is the other file's matter.
FIRST = {
    (name, one.resource): one
    for name in SDKS
    for one in reversed(surface(name))
    if one.name in ("create", "list", "retrieve", "update", "delete") and one.path not in SDKS[name].local
}


@pytest.fixture
def open_wire(home: Path) -> Iterator[tuple[Any, Wire]]:
    """A guarded client whose wire answers with what it was sent, placeholders included, made hostile."""

    def answer(request: Any) -> tuple[str, bytes]:
        found = PLACEHOLDER.search(wire.requests[-1][3].decode("utf-8", "replace"))
        shown = found[0] if found else "nothing"
        text = f"<<0|{ESCAPE}{HIDDEN}{shown} and https://x.example/?q={shown} >>"
        return "application/json", json.dumps({"text": text, "deep": [{"any": text}]}).encode()

    wire = Wire(answer=answer, native=NATIVE)
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
@pytest.mark.parametrize("name", SDKS)
def test_a_copy_is_guarded(walks: Callable[[str], Walk], name: str, make: str) -> None:
    """A client with other options has the same guard."""
    walk, marks = walks(name), Marks()
    walk.sweep.cast, walk.sweep.stream_cls = object, None  # the copy isn't watched
    walk.wire.requests.clear()
    twin = getattr(walk.client, make)(timeout=5)
    twin.post(
        "/v1/messages" if name == "anthropic" else "/chat/completions",
        cast_to=object,
        body={"note": marks.request("note", "text")},
    )
    assert len(walk.wire.requests) == 1
    assert not left(walk.wire, marks)


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


RAW_WAYS = ("with_raw_response", "with_streaming_response")
# What the SDKs' wrappers do is the same for all methods of a side, so each resource is called in two of the four forms, by turns;
# those that carry conversations in all.
EVERY_FORM = {"chat.completions", "responses", "messages", "beta.messages"}
RAW_FORMS = [
    (name, resource, is_async, way)
    for number, (name, resource) in enumerate(sorted(FIRST))
    for is_async in (False, True)
    for place, way in enumerate(RAW_WAYS)
    if resource in EVERY_FORM or (number + is_async + place) % 2 == 0
]


@pytest.mark.parametrize(("name", "resource", "is_async", "way"), RAW_FORMS)
def test_raw_responses_are_guarded(
    request: pytest.FixtureRequest, name: str, resource: str, is_async: bool, way: str
) -> None:
    """Headers and bytes on demand: the bytes are the guarded ones."""
    walks: Callable[[str], Walk] = request.getfixturevalue("async_walks" if is_async else "walks")
    sdk, method, walk = SDKS[name], FIRST[name, resource], walks(name)
    owner = walk.client
    for step in [*resource.split("."), way]:
        owner = getattr(owner, step)

    class Raw(Method):
        """The raw twin: called instead, described by the plain one."""

        @property
        def function(self) -> Any:
            return method.function

    given = {**sdk.given.get(method.path, {}), **sdk.lean.get(method.path, {})}
    report = walk.sweep.run(Raw(path=method.path, call=getattr(owner, method.name)), given, rows=1)
    assert not report.errors
    assert not report.stumbled
    assert not [one for one in report.leaks if not sdk.may_leave(*one)]
    assert not [one for one in report.wrong if not sdk.may_come(*one)]
    assert report.routes
    assert report.heard or not report.answer_places


IN_PATH = [
    (sdk, one)
    for sdk in SDKS
    for one in surface(sdk)
    if one.in_path and one.name != "connect" and one.path not in SDKS[sdk].local
]


@pytest.mark.parametrize(("sdk", "resource"), sorted({(sdk, one.resource) for sdk, one in IN_PATH}))
def test_a_secret_in_the_path_is_refused(walks: Callable[[str], Walk], sdk: str, resource: str) -> None:
    """Each parameter that goes into the URL's path: a secret there stops the call."""
    walk = walks(sdk)
    for method in (one for of, one in IN_PATH if (of, one.resource) == (sdk, resource)):
        for name in sorted(method.in_path):
            marks = Marks()
            secret = marks.request(name, "text").split(" ")[1]
            # Where the SDK knows several sets of arguments, all are given.
            every = hasattr(method.call, "__wrapped__")
            needed = {key for key, one in method.parameters.items() if one.default is one.empty}
            options = {
                **arguments(method, Marks(secrets=False), {}, no_files=SDKS[sdk].no_files)[0],
                **dict.fromkeys(method.in_path, "item-1"),
                name: secret,
            }
            walk.wire.requests.clear()
            with pytest.raises(Refused), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                call = method_of(walk.client, method.path).call
                call(**{key: value for key, value in options.items() if every or key in needed | method.in_path})
            assert not walk.wire.requests, f"{method.path} {name}"


def test_every_page_is_guarded(home: Path) -> None:
    """Looping over a list asks for the next page; that one is cleaned too."""
    item = {"id": "file-1", "object": "file", "filename": f"<<0|{ESCAPE}{HIDDEN} and >>", "bytes": 1, "created_at": 1,
            "purpose": "batch", "status": "processed"}  # fmt: skip

    def answer(request: Any) -> tuple[str, bytes]:
        return "application/json", json.dumps(
            {"object": "list", "data": [item], "has_more": len(wire.requests) < 3}
        ).encode()

    wire = Wire(answer=answer, native=NATIVE)
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
        native=NATIVE,
        answer=lambda request: ("application/json", json.dumps({"data": [{"x": f"<<0|{ESCAPE} and >>"}]}).encode()),
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


def test_a_key_that_has_the_form_of_a_name_is_searched(open_wire: Any) -> None:
    """A token of letters and underscores as a JSON key is hidden like any text."""
    client, wire = open_wire
    token = "ghp" + "_" + Marks().request("x", "key").split("-")[2][:36]
    client.post("/responses", cast_to=object, body={"metadata": {token: "x"}})
    assert token.encode() not in wire.requests[0][3]


@pytest.mark.parametrize("key", ["file_data", "b64_json", "embedding"])
def test_what_is_called_data_but_is_no_base64_is_searched(open_wire: Any, key: str) -> None:
    """The name alone hides nothing; real base64 passes byte for byte."""
    client, wire = open_wire
    marks = Marks()
    content = base64.b64encode(bytes(range(256)) * 4).decode()
    client.post("/responses", cast_to=object, body={"input": [{key: marks.request(key, "text")}, {key: content}]})
    assert not left(wire, marks)
    assert content.encode() in wire.requests[0][3]


def test_a_data_url_is_searched_unless_it_is_base64(open_wire: Any) -> None:
    """`data:text/plain,…` is text."""
    client, wire = open_wire
    marks = Marks()
    marked = marks.request("url", "text")
    client.post("/responses", cast_to=object, body={"input": [{"image_url": f"data:text/plain,{marked}"}]})
    assert not {what for what, _, _ in left(wire, marks)} & {"secret"}


def test_a_form_in_an_encoding_that_no_guard_reads_is_refused(open_wire: Any) -> None:
    """URL-encoded bodies would hide a secret from the search."""
    client, wire = open_wire
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client._client.post("https://api.openai.com/v1/anything", content=b"a=b", headers=headers)
    assert answer.headers["x-safellm-reason"] == "shape.malformed"
    assert not wire.requests


def test_a_connection_offer_is_not_changed(open_wire: Any) -> None:
    """SDP holds addresses that look like personal data; a changed one connects nowhere."""
    client, wire = open_wire
    if not hasattr(client.realtime, "calls"):
        pytest.skip("this SDK has no calls")
    offer = "v=0\r\no=- 1 1 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\n"
    session: Any = {"type": "realtime", "instructions": "mail alice@example.com"}
    client.realtime.calls.create(sdp=offer, session=session)
    assert offer.encode() in wire.requests[0][3]
    assert b"alice@example.com" not in wire.requests[0][3]
