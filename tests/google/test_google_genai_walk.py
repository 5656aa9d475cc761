"""Every public method of google-genai with a mail address in every place for a text: none reaches the wire, but where it must.

The methods are found by reflection, their arguments made from their types. What may pass is a short list, with reasons.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import importlib
import inspect
import io
import json
import re
import sys
import typing
import warnings
from pathlib import Path
from urllib.parse import unquote

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mediation"))

from mediation_fill import Filler

from google.genai import _api_client, types
from safellm.google import genai

CLASSIC = ("models", "files", "caches", "tunings", "batches", "operations", "file_search_stores", "auth_tokens")
NEWER = ("interactions", "agents", "credentials", "environments", "triggers", "voices", "webhooks", "decisions")
# Where a mail address may pass, and why.
ALLOWED = (
    (r"(^|\.|_)(name|model|id|parent|resource_name|operation|operation_name)$",
     "names a thing in the URL: the provider has to know it"),
    (r"(uri|uris|url|endpoint|domain|domains|exclude_domains|pubsub_topic|gcs\w*|bigquery\w*|dest|src)(\[\])?$", "an address"),
    (r"(type|role|status|state|mode|format|language\w*|mime_type|voice|voice_name|speech_config|image_size|person_generation|response_modalities|ttl|time|offset|duration|resolution|aspect_ratio)(\[\])?$",
     "a word of the provider's own"),
    (r"(signature|handle|continuation_token|page_token|token|tokens)$", "signed or made by the provider"),
    (r"(api_key\w*|access_token|id_token|api_key_string|secret\w*|credential\w*|value)$", "what a credential store keeps"),
    (r"(_id|_ids|ids|enum|required|property_ordering|model_name|cached_content|agent|source|filter|fields|base_model|kms_key_name)(\[\])?$",
     "an identifier"),
    (r"(page_size|order_by|previous_interaction_id|path|version|etag)$", "a part of the URL"),
    (r"json_path$", "an identifier"),
    (r"(headers|transform(\[\])?)\.\*\w+$", "headers of remote tools, where credentials stand"),
    (r"^(created|updated)$", "a time"),
)  # fmt: skip
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


class Marks:
    """A text for each place, and the places again from what was sent."""

    def __init__(self):
        self.places: list[str] = []

    def __call__(self, place, form):
        self.places.append(place)
        text = f"who{len(self.places) - 1:05d}@example.org"
        return text if form != "key" else f"k {text}"

    def found(self, sent):
        return {self.places[int(number)] for number in re.findall(r"who(\d{5})@example\.org", sent)}


def sent_of(request):
    body = request.content.decode("utf-8", "replace")
    hidden = []
    for encoded in re.findall(r'"data": ?"([A-Za-z0-9+/_=-]+)"', body):
        try:
            hidden.append(
                base64.b64decode(encoded.replace("-", "+").replace("_", "/") + "==").decode("utf-8", "replace")
            )
        except ValueError:
            continue
    return unquote(str(request.url)) + body + "".join(hidden) + json.dumps(dict(request.headers))


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What each method sent: by method, the places that passed and the number of requests."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("SAFELLM_HOME", str(tmp_path_factory.mktemp("walk")))
        patch.setenv("SAFELLM_KEYS_VAULT", "false")
        patch.setattr("time.sleep", lambda _: None)
        yield walk()


def walk():
    seen: list[typing.Any] = []
    choose = getattr(_api_client, "_get_http_client_backend", lambda _=None: "httpx")
    family = importlib.import_module(choose(types.HttpOptions()))

    def answer(request):
        seen.append(request)
        return family.Response(200, json={"name": "operations/x", "done": True}, request=request)

    found = {}
    for vertex in (False, True):
        client = genai.Client(
            api_key="k",
            vertexai=vertex,
            http_options={
                "httpx_client": family.Client(transport=family.MockTransport(answer)),
                "httpx_async_client": family.AsyncClient(transport=family.MockTransport(answer)),
            },
            safellm={"audit.mode": "off"},
        )
        dropped: set[str] = set()  # what this backend doesn't know; what one method alone doesn't know is asked anew
        for name in (*CLASSIC, *NEWER):
            dropped -= {"mime_type", "title", "auto_truncate"}
            resource = getattr(client, name, None)
            for method_name, method in _methods(resource) if resource is not None else ():
                marks, calls = Marks(), len(seen)
                _call(method, marks, dropped)
                sent = "".join(sent_of(one) for one in seen[calls:])
                key = f"{name}.{method_name}"
                leaks, requests, places = found.get(key, (set(), 0, 0))
                found[key] = (leaks | marks.found(sent), requests + len(seen) - calls, places + len(marks.places))
        client.close()
    return found


def _methods(resource):
    for name, method in inspect.getmembers(resource, callable):
        if not name.startswith("_") and inspect.ismethod(method) and name not in SKIPPED | {"do_request"}:
            yield name, method


def _call(method, marks, dropped):
    for _ in range(60):
        wrong = _attempt(method, marks, frozenset(dropped))
        if wrong is None or wrong in dropped:
            return
        dropped.add(wrong)


def _attempt(method, marks, dropped):
    """Call a method once for each alternative of its arguments; return the name of an argument that the backend doesn't know."""
    filler = Filler(
        text=marks,
        file=lambda place: [marks(place, "text").encode()],
        fixed=FIXED,
        skip=LEFT_OUT | dropped,
    )
    try:
        hints = typing.get_type_hints(method)
    except Exception:
        hints = {}
    columns = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if (
            parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            or name in dropped
            or name in filler.skip
        ):
            continue
        if name in filler.fixed:
            columns[name] = [filler.fixed[name]]
            continue
        kind = hints.get(name, parameter.annotation)
        # The newer half names its types as text, for type checkers only; its bodies are walked one by one below.
        values = ["item-1"] if isinstance(kind, str) else filler.build(kind, name)
        if values:
            columns[name] = values
    rows = min(max((len(values) for values in columns.values()), default=1), 2)
    for row in range(rows):
        arguments = {name: values[row % len(values)] for name, values in columns.items()}
        try:
            made = method(**arguments)
            if inspect.isgenerator(made):
                list(made)
        except Exception as error:
            unknown = re.search(r"(\w+) parameter is (?:only|not) supported", str(error))
            if unknown:
                return unknown[1]
    return None


def test_e_10_no_text_of_any_method_reaches_the_wire(walked):
    """Only names, addresses, words and credentials of the provider's own may pass."""
    wrong = {
        method: sorted(leaks)
        for method, (places, _, _) in walked.items()
        if (leaks := [place for place in places if not any(re.search(pattern, place) for pattern, _ in ALLOWED)])
    }
    assert wrong == {}


def test_walk_is_no_empty_one(walked):
    """The methods that matter were called, with many texts each."""
    asked = {name for name, (_, requests, places) in walked.items() if requests and places}
    expected = {"models.generate_content", "models.generate_content_stream", "models.count_tokens", "models.embed_content",
                "models.generate_images", "models.generate_videos", "caches.create", "batches.create"}  # fmt: skip
    assert expected <= asked
    assert len(asked) > 20
    assert walked["models.generate_content"][2] > 100
    silent = sorted(name for name, (_, requests, _) in walked.items() if not requests)
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
    passed = marks.found("".join(sent_of(_Sent(one)) for one in provider.requests))
    wrong = sorted(place for place in passed if not any(re.search(pattern, place) for pattern, _ in ALLOWED))
    assert not wrong, wrong
    assert len(provider.requests) == len(rows) > 0


class _Sent:
    def __init__(self, seen):
        self.content, self.url, self.headers = seen.body, seen.path, {}


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
