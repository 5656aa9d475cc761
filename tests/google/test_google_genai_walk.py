"""Every public method of google-genai, sync and async, with a mail address in every place for a text: none reaches the wire,
but where it must; and what comes back, whole and streamed, is clean in every place for a text.

The methods are found by reflection, their arguments and answers made from their types. What may pass is a short list, with reasons.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import inspect
import io
import json
import re
import sys
import typing
import warnings
from collections import defaultdict
from operator import attrgetter
from pathlib import Path
from types import UnionType

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mediation"))
sys.path.insert(0, str(Path(__file__).parent))

from google_walk import Did, Marks, may_come, may_leave, sent_of
from mediation_fill import Filler
from mediation_sweep import MAIL, PLACEHOLDER, alternatives, judge, strings

from google.genai import _api_client, types
from safellm.google import genai

CLASSIC = ("models", "files", "caches", "tunings", "batches", "operations", "file_search_stores", "auth_tokens")
NEWER = ("interactions", "agents", "credentials", "environments", "environments.files", "triggers", "voices", "webhooks",
         "decisions")  # fmt: skip
# Methods that ask nobody, or whose arguments are objects of the SDK; each is tested by name elsewhere.
# Of arguments: what excludes another one, or asks for something else than an answer.
LEFT_OUT = frozenset(
    {"http_options", "parsed", "response_schema", "tools", "extra_headers", "extra_query", "timeout", "should_return_http_response",
     "source", "image_output_options"}
)  # fmt: skip
FIXED = {
    "model": "gemini-2.5-flash",
    "mime_type": "text/plain",
    "language": "PYTHON",
    "type": "text",
    "base_model": "models/g",
    "name": "batches/1",
    "output_uri_prefix": "gs://x",
}
SKIPPED = frozenset({"upload", "download", "upload_to_file_search_store", "download_media", "register_files"})


@pytest.fixture(scope="module", params=["sync", "async"])
def walked(request, tmp_path_factory):
    """What each method did, by its name: what passed on the way out, what was wrong on the way back, how much was tried."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("SAFELLM_HOME", str(tmp_path_factory.mktemp("walk")))
        patch.setenv("SAFELLM_KEYS_VAULT", "false")
        patch.setattr("time.sleep", lambda _: None)
        if importlib.util.find_spec("aiohttp"):  # the SDK prefers it for async calls, past any guard
            patch.setattr("aiohttp.ClientSession._request", lambda *_, **__: pytest.fail("a call went through aiohttp"))
        yield walk(is_async=request.param == "async")


class Wire:
    """Keeps what arrives, and answers each call with a hostile text in each place of what the method returns."""

    def __init__(self, family):
        self.family, self.seen, self.kind, self.places, self.streamed = family, [], None, [], 0
        self.kinds = []  # that were answered: the guard doesn't know which method asked

    def answer(self, request):
        self.seen.append(request)
        found = PLACEHOLDER.search(request.content.decode("utf-8", "replace"))
        streamed = "alt=sse" in str(request.url) or b'"stream":true' in request.content.replace(b" ", b"")
        made = self.made(found[0] if found else None, streamed=streamed)
        if streamed:
            self.streamed += 1
            body = "".join(f"data: {json.dumps(one)}\n\n" for one in made)
            return self.family.Response(200, text=body, headers={"content-type": "text/event-stream"}, request=request)
        return self.family.Response(200, json=made[0], request=request)

    def made(self, placeholder, *, streamed):
        kind, name = self.kind, getattr(typing.get_origin(self.kind), "__name__", "")
        if name.endswith("Pager"):
            (kind,) = typing.get_args(kind)
        elif typing.get_origin(kind) in (typing.Union, UnionType) and not streamed:
            kind = typing.get_args(kind)[0]  # an answer or a stream
        if kind is None or (kind, streamed) in self.kinds:
            return [{"name": "operations/x", "done": True}]
        self.kinds.append((kind, streamed))
        inner = typing.get_args(kind)[0] if name in ("Iterator", "AsyncIterator") else kind
        rows = [
            one for one in alternatives(inner, self.places, placeholder, fixed={"done": True}) if isinstance(one, dict)
        ]
        return [dict.fromkeys(LISTS, rows[:1])] if name.endswith("Pager") else rows or [{}]


LISTS = ("models", "publisherModels", "tunedModels", "files", "cachedContents", "tuningJobs", "batchPredictionJobs", "operations",
         "batches", "fileSearchStores")  # fmt: skip


def walk(*, is_async):
    choose = getattr(_api_client, "_get_http_client_backend", lambda _=None: "httpx")
    family = importlib.import_module(choose(types.HttpOptions()))
    wire = Wire(family)

    async def answer(request):
        return wire.answer(request)

    found = defaultdict(Did)
    with asyncio.Runner() as runner:
        for vertex in (False, True):
            client = genai.Client(
                api_key="k",
                vertexai=vertex,
                http_options={
                    "httpx_client": family.Client(transport=family.MockTransport(wire.answer)),
                    "httpx_async_client": family.AsyncClient(transport=family.MockTransport(answer)),
                },
                safellm={"audit.mode": "off", "tool_calls.undeclared": "allow", "tool_calls.look_alikes": "allow"},
            )
            owner = client.aio if is_async else client
            dropped: set[str] = (
                set()
            )  # what this backend doesn't know; what one method alone doesn't know is asked anew
            for name in (*CLASSIC, *NEWER):
                dropped -= {"mime_type", "title", "auto_truncate"}
                try:
                    resource = attrgetter(name)(owner)
                except AttributeError:  # an older SDK
                    continue
                for method_name, method in _methods(resource):
                    marks, did, calls = Marks(), found[f"{name}.{method_name}"], len(wire.seen)
                    if name == "interactions" and method_name == "create":
                        _interact(method, marks, wire, did, runner)
                    else:
                        _call(method, marks, dropped, wire, did, runner)
                    sent = "".join(sent_of(str(one.url), one.content, dict(one.headers)) for one in wire.seen[calls:])
                    did.leaks |= marks.found(sent)
                    did.requests += len(wire.seen) - calls
                    did.places += len(marks.places)
            client.close()
    found["streams"].requests = wire.streamed
    return found


def _methods(resource):
    for name, method in inspect.getmembers(resource, callable):
        if not name.startswith(("_", "do_request")) and inspect.ismethod(method) and name not in SKIPPED:
            yield name, method


def _call(method, marks, dropped, wire, did, runner):
    for _ in range(60):
        wrong = _attempt(method, marks, frozenset(dropped), wire, did, runner)
        if wrong is None or wrong in dropped:
            return
        dropped.add(wrong)


def _attempt(method, marks, dropped, wire, did, runner):
    """Call a method once for each alternative of its arguments; return the name of an argument that the backend doesn't know."""
    filler = Filler(
        text=marks,
        file=lambda place: [marks(place, "text").encode()],
        fixed=FIXED,
        skip=LEFT_OUT | dropped,
    )
    function = _written(method)
    hints = typing.get_type_hints(function)
    columns = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if (
            parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            or name in dropped
            or name in {*filler.skip, "self"}
        ):
            continue
        if name in filler.fixed:
            columns[name] = [filler.fixed[name]]
            continue
        kind = hints.get(name, parameter.annotation)
        # What stands in the URL's path is a plain name; the newer half's bodies are walked one by one below.
        is_name = name == "id" or (name.endswith("_id") and parameter.default is parameter.empty)
        values = ["item-1"] if is_name else filler.build(kind, name)
        if values:
            columns[name] = values
    rows = min(max((len(values) for values in columns.values()), default=1), 2)
    returned = hints.get("return")
    wire.kind = returned if returned not in (None, type(None), typing.Any, bytes) else None
    for row in range(rows):
        error = _try(method, {name: values[row % len(values)] for name, values in columns.items()}, wire, did, runner)
        unknown = re.search(r"(\w+) parameter is (?:only|not) supported", str(error))
        if unknown:
            return unknown[1]
    return None


def _written(method):
    """Return the function that names the parameters: the newer half's are `**options` around generated ones."""
    for owner in type(method.__self__).__mro__:
        found = vars(owner).get(method.__name__)
        if found is not None and all(
            one.kind is not one.VAR_KEYWORD for one in inspect.signature(found).parameters.values()
        ):
            return found
    return method.__func__


def _interact(method, marks, wire, did, runner):
    """Create interactions with every form of input, plain and streamed; its parameters are those of a body."""
    body = importlib.import_module("google.genai._gaos.types.interactions").CreateModelInteraction
    events = importlib.import_module("google.genai._gaos.types.interactions.interactionsseevent").InteractionSSEEvent
    whole = importlib.import_module("google.genai._gaos.types.interactions.interaction").Interaction
    # Who is charged doesn't matter here; a background answer is asked for again and again.
    skip = LEFT_OUT - {"tools"} | {"stream", "background", "webhook_config"}
    filler = Filler(
        text=marks, file=lambda _: [], fixed={"model": "m", "mime_type": "text/plain"}, skip=skip, wire=True
    )
    for kind, more in ((whole, {}), (events, {"stream": True})):
        wire.kind = kind
        for row in filler.build(body, "")[:3]:
            _try(method, {**json.loads(json.dumps(row, default=str)), **more}, wire, did, runner)


def _try(method, arguments, wire, did, runner):
    wire.places = []
    try:
        got = _read(method(**arguments), runner)
    except Exception as error:
        return error
    did.answered += len(wire.places)
    for text in strings(got):
        did.restored += MAIL in text
        did.wrong |= {(what, wire.places[number]) for number, what in judge(text)}
    return None


def _read(made, runner):
    """Return everything that a program can read of a result."""

    async def consume(value):
        value = await value if inspect.isawaitable(value) else value
        return [one async for one in value] if hasattr(value, "__aiter__") else value

    if inspect.isawaitable(made) or hasattr(made, "__aiter__"):
        return runner.run(consume(made))
    return list(made) if hasattr(made, "__next__") or type(made).__name__ in ("Pager", "EventStream") else made


def test_e_10_no_text_of_any_method_reaches_the_wire(walked):
    """Only names, addresses, words and credentials of the provider's own may pass."""
    wrong = {
        method: sorted(leaks)
        for method, did in walked.items()
        if (leaks := [place for place in did.leaks if not may_leave(place)])
    }
    assert wrong == {}


def test_e_10_no_text_of_any_answer_comes_unguarded(walked):
    """Controls and hidden characters are gone, values stand in no address, and placeholders are the program's values again."""
    wrong = {
        method: sorted(left)
        for method, did in walked.items()
        if (left := [one for one in did.wrong if not may_come(*one)])
    }
    assert wrong == {}


def test_walk_is_no_empty_one(walked):
    """The methods that matter were called, with many texts each; answers had many, whole and streamed, and were restored."""
    asked = {name for name, did in walked.items() if did.requests and did.places}
    expected = {"models.generate_content", "models.generate_content_stream", "models.count_tokens", "models.embed_content",
                "models.generate_images", "models.generate_videos", "caches.create", "batches.create"}  # fmt: skip
    assert expected <= asked
    assert len(asked) > 20
    for name in ("models.generate_content", "models.generate_content_stream"):
        did = walked[name]
        assert (did.places > 100, did.answered > 50, did.restored > 20) == (True, True, True), did
    assert walked["streams"].requests > 1
    silent = sorted(name for name, did in walked.items() if not did.requests)
    assert len(silent) <= len(walked) // 2, silent


BODIES = (
    "interactions.CreateModelInteraction", "interactions.CreateAgentInteraction", "agents.Agent", "triggers.TriggerCreateParams",
    "voices.VoiceInput", "webhooks.Webhook", "decisions.CreateDecisionRequest", "environments.Environment",
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_bodies_of_the_newer_half_are_searched(sync, provider, body):
    """Interactions and what belongs to them: every alternative of their types, as they stand on the wire."""
    collection, _, name = body.partition(".")
    try:
        module = importlib.import_module(f"google.genai._gaos.types.{collection}")
    except ImportError:
        pytest.skip("this SDK has none")
    if not hasattr(module, name):
        pytest.skip("this SDK has none")
    marks = Marks()
    filler = Filler(
        text=marks, file=lambda place: [base64.b64encode(marks(place, "text").encode()).decode()], wire=True
    )
    filler.fixed = {"model": "gemini-2.5-flash", "mime_type": "text/plain", "stream": False}
    http = sync.client(provider)._api_client._httpx_client
    rows = filler.build(getattr(module, name), "")
    for row in rows:
        data = json.loads(json.dumps(row, default=str))
        http.post(f"{provider.origin}/v1beta/{collection}", json=data, headers={"x-goog-api-key": "k"})
    passed = marks.found("".join(sent_of(one.path, one.body, {}) for one in provider.requests))
    wrong = sorted(place for place in passed if not may_leave(place))
    assert not wrong, wrong
    assert len(provider.requests) == len(rows) > 0


def test_tools_are_searched(sync, provider):
    """Declarations, their schemas, and the settings of the provider's own tools."""
    marks = Marks()
    schema = {
        "type": "object",
        "description": marks("a", "text"),
        "properties": {marks("b", "text"): {"type": "string", "enum": [marks("c", "text")]}},
    }
    tool = types.Tool(
        function_declarations=[{"name": "f", "description": marks("d", "text"), "parameters_json_schema": schema}]
    )
    config = types.GenerateContentConfig(
        tools=[tool], response_json_schema=schema, response_mime_type="application/json", labels=None
    )
    sync.ask(sync.client(provider), marks("e", "text"), config=config)
    assert marks.found(provider.requests[-1].body.decode()) == set()


def test_files_of_every_door_are_searched(sync, provider):
    """The stores for file search take uploads of their own."""
    client = sync.client(provider)
    marks = Marks()
    if not hasattr(client, "file_search_stores"):
        pytest.skip("this SDK has no file search stores")
    content = io.BytesIO(marks("file", "text").encode())
    config = {
        "mime_type": "text/plain",
        "display_name": marks("name", "text"),
        "custom_metadata": [{"key": "k", "string_value": marks("value", "text")}],
    }
    client.file_search_stores.upload_to_file_search_store(
        file_search_store_name="fileSearchStores/x", file=content, config=config
    )
    assert marks.found("".join((one.head + one.body).decode() for one in provider.requests)) == set()
    assert len(provider.requests) == 2
