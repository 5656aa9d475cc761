"""Every public callable of google-generativeai, and every method of the clients under it, with a mail address in every place for a
text: none reaches the wire, but where it must; what comes back is clean; nothing goes around the guarded sessions.

The methods are found by reflection; requests and answers of the clients are made from the descriptors of their messages. A callable
that is neither called nor on a list of local ones fails.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import inspect
import io
import json
import pkgutil
import re
import socket
import sys
import types
import typing
import warnings
from collections import defaultdict
from contextlib import contextmanager
from copy import copy
from functools import cache, partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mediation"))
sys.path.insert(0, str(Path(__file__).parent))

from google_messages import Messages
from google_walk import Did, Marks, may_come, may_leave, sent_of
from mediation_sweep import MAIL, PLACEHOLDER, answer_text, judge, strings

import safellm

genai = pytest.importorskip("safellm.google.generativeai", exc_type=safellm.ConfigurationError)
requests = pytest.importorskip("requests")
urllib3 = pytest.importorskip("urllib3")

glm = importlib.import_module("google.ai.generativelanguage")
json_format = importlib.import_module("google.protobuf.json_format")
Operation = importlib.import_module("google.api_core.operation").Operation
MANAGER = importlib.import_module("safellm_google_generativeai.manager").MANAGER

PAGE = Path(__file__).parents[2] / "docs" / "mediation-google-older.md"
SERVICES = ("cache", "discuss", "file", "generative", "model", "permission", "prediction", "retriever", "text")
UPLOAD = "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=1"
PREFIX = "google.generativeai"


# In answers: what the SDK goes on with, asks again for, or raises for.
FIXED = {"next_page_token": "", "done": True, "custom_metadata": [], "block_reason": 0, "finish_reason": 1}

NOT_GIVEN = {
    "training_data": None,
    "learning_rate_multiplier": None,
}  # the provider doesn't send it back, and functions of the SDK stumble over it


class Endpoint(typing.NamedTuple):
    """One method of a client as it is on the wire."""

    service: str
    method: str
    verb: str
    uri: str
    asked: typing.Any  # type of the request
    answered: typing.Any  # type of the answer; None where there is none
    kind: str  # "", "stream", "pager" or "operation"

    @property
    def pattern(self):
        parts = re.split(r"\{[\w.]+=(.+?)\}", self.uri)
        return re.compile("".join(re.escape(one).replace(r"\*", "[^/:]+") for one in parts) + "$")


@cache
def endpoints():
    """Return every method of every client, by reflection, each with all the addresses that it knows."""
    found = []
    for service in SERVICES:
        client = getattr(glm, f"{service.title()}ServiceClient")
        transport = client.get_transport_class("rest")
        for name, function in inspect.getmembers(client, inspect.isfunction):
            if name.startswith("_") or isinstance(inspect.getattr_static(client, name), (staticmethod, classmethod)):
                continue
            hints = typing.get_type_hints(function)
            asked = next(one for one in typing.get_args(hints["request"]) if one is not dict)
            returned, kind = hints["return"], ""
            if typing.get_origin(returned) is not None:
                (returned,), kind = typing.get_args(returned), "stream"
            elif returned.__name__.endswith("Pager"):
                returned, kind = typing.get_type_hints(returned.__init__)["response"], "pager"
            elif returned is Operation:
                returned, kind = glm.TunedModel, "operation"
            base = getattr(transport, "_Base" + "".join(part.title() for part in name.split("_")))
            for option in base._get_http_options():
                answered = None if returned is type(None) else returned
                found.append(Endpoint(service, name, option["method"].upper(), option["uri"], asked, answered, kind))
    return tuple(found)


def descriptor(kind):
    return (kind.pb(kind()) if hasattr(kind, "pb") else kind).DESCRIPTOR


class Wire:
    """Takes the place of the network under every session: keeps what arrives, answers hostile texts in each place."""

    def __init__(self):
        self.seen, self.places, self.at, self.around, self.names = [], [], set(), [], False

    def send(self, adapter, request, **_):
        if not getattr(request, "safellm_passed", False):
            self.around.append(f"{request.method} {request.url}")
        self.seen.append(request)
        text = sent_of(request.url, request.body or b"", {})
        found = PLACEHOLDER.search(text)
        body, headers = self.answer(request, found[0] if found else None)
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url
        response.headers.update(headers | {"content-type": "application/json"})
        raw = io.BytesIO(json.dumps(body).encode())
        response.raw = urllib3.HTTPResponse(body=raw, headers=response.headers, status=200, preload_content=False)
        return response

    def answer(self, request, placeholder):
        path = request.url.partition("?")[0].partition(".com")[2]
        if path.startswith("/upload/"):
            self.at.add("POST /upload/v1beta/files")
            return {"file": {"name": "files/item-1"}}, {"x-goog-upload-url": UPLOAD}
        at = [one for one in endpoints() if one.verb == request.method and one.pattern.match(path)]
        assert at, f"{request.method} {path} is no endpoint of the SDK"
        self.at.add(f"{at[0].verb} {at[0].uri}")
        if at[0].answered is None:
            return {}, {}
        messages = Messages(answer_text(self.places, placeholder), FIXED | (NOT_GIVEN if self.names else {}))
        rows = messages.rows(descriptor(at[0].answered))
        if at[0].kind == "stream":
            return rows[:3], {}
        if at[0].kind == "operation" or at[0].method == "get_operation":
            kind = "type.googleapis.com/google.ai.generativelanguage.v1beta."
            tuned = {**messages.rows(descriptor(glm.TunedModel))[0], "name": "tunedModels/item-1"}
            progress = messages.rows(descriptor(glm.CreateTunedModelMetadata))[0]
            return {
                "name": "tunedModels/item-1/operations/item-1",
                "done": at[0].kind != "operation",
                "metadata": {"@type": f"{kind}CreateTunedModelMetadata", **progress},
                **({"response": {"@type": f"{kind}TunedModel", **tuned}} if at[0].kind != "operation" else {}),
            }, {}
        return {**rows[0], **self.named(at[0])}, {}

    def named(self, at):
        """Return the name of what an answer describes: functions of the SDK go on with it, methods of clients don't."""
        names = {
            glm.CachedContent: "cachedContents/item-1", glm.File: "files/item-1", glm.Corpus: CORPUS, glm.Document: DOCUMENT,
            glm.Chunk: CHUNK, glm.Permission: PERMISSION, glm.TunedModel: "tunedModels/item-1", glm.Model: "models/item-1",
        }  # fmt: skip
        return {"name": names[at.answered]} if self.names and at.answered in names else {}


@contextmanager
def wired(home):
    """A configured SDK whose every HTTP connection ends here; no other socket can be opened."""
    found = Wire()

    def no_socket(*_):
        raise AssertionError("a connection that is no session of `requests`")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("SAFELLM_HOME", str(home))
        patch.setenv("SAFELLM_KEYS_VAULT", "false")
        patch.setattr(
            "requests.adapters.HTTPAdapter.send", lambda adapter, request, **o: found.send(adapter, request, **o)
        )
        patch.setattr(socket.socket, "connect", no_socket)
        genai.configure(
            api_key="k",
            safellm={"audit.mode": "off", "tool_calls.undeclared": "allow", "tool_calls.look_alikes": "allow"},
        )
        yield found
        for client in MANAGER.clients.values():
            transport = getattr(client, "_client", client)._transport
            transport._session.close()
        MANAGER.client_config, MANAGER.clients = {}, {}


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    with wired(tmp_path_factory.mktemp("walk")) as made:
        yield made


class Call:
    """One call of something: what it sent, and what came back."""

    def __init__(self, wire, did, marks=None):
        self.wire, self.did, self.marks = wire, did, marks or Marks()

    def __enter__(self):
        self.before, self.wire.places, self.wire.at = len(self.wire.seen), [], set()
        return self

    def __exit__(self, *_):
        sent = self.wire.seen[self.before :]
        self.did.requests += len(sent)
        self.did.places += len(self.marks.places)
        texts = (sent_of(one.url, one.body or b"", dict(one.headers)) for one in sent)
        self.did.leaks |= self.marks.found("".join(texts))
        self.did.answered += len(self.wire.places)
        self.did.routes |= self.wire.at

    def got(self, value):
        """Judge what came back."""
        for text in strings(value):
            self.did.restored += MAIL in text
            self.did.wrong |= {(what, self.wire.places[number]) for number, what in judge(text)}


def read(value):
    """Return all that a program can read of what the SDK returned, as plain values."""
    if value is None or isinstance(value, (str, bytes, int, float, dt.datetime, dt.timedelta)):
        return value
    if isinstance(value, Operation):
        return [read(value.operation), read(value.metadata), read(value.result()) if value.done() else None]
    if hasattr(type(value), "pb"):
        return type(value).to_dict(value)
    if hasattr(value, "DESCRIPTOR"):
        return json_format.MessageToDict(value)
    if isinstance(value, dict):
        return {key: read(one) for key, one in value.items()}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "__iter__"):
        return [read(one) for one in value]
    return {key: read(one) for key, one in vars(value).items()} if hasattr(value, "__dict__") else value


async def awaited(value):
    """Return what an async callable gave, iterated to its end."""
    value = await value if inspect.isawaitable(value) else value
    return [one async for one in value] if hasattr(value, "__aiter__") else value


# -- the clients -------------------------------------------------------------------------------------------------------


def parts_of_path(uri):
    """Return what stands in an address, as (field, value) pairs."""
    return [(name, value.replace("*", "item-1")) for name, value in re.findall(r"\{([\w.]+)=(.+?)\}", uri)]


def asked(at, row, marks):
    """Return a request of an endpoint, or None where the alternatives are used up."""
    rows = Messages(marks, {"page_token": "", "page_size": 1, "mime_type": "text/plain"}).rows(descriptor(at.asked))
    if row >= len(rows):
        return None
    value = rows[row]
    for name, part in parts_of_path(at.uri):
        *outer, last = (re.sub(r"_(\w)", lambda m: m[1].upper(), step) for step in name.split("."))
        inner = value
        for step in outer:
            inner = inner.setdefault(step, {})
        inner[last] = part
    made = at.asked()
    json_format.ParseDict(value, at.asked.pb(made) if hasattr(at.asked, "pb") else made)
    return made


@pytest.fixture(scope="module", params=["sync", "async"])
def clients(request, wire):
    return call_clients(wire, is_async=request.param == "async")


def call_clients(wire, *, is_async):
    """Return what each method of each client did."""
    found = defaultdict(Did)
    made = {}
    with asyncio.Runner() as runner:
        for at in endpoints():
            if at.method == "create_file":
                continue  # takes a file, not a message: called below
            client = made.setdefault(at.service, MANAGER.make_client(at.service + ("_async" if is_async else "")))
            for row in range(3):
                marks = Marks()
                message = asked(at, row, marks)
                if message is None:
                    break
                with Call(wire, found[f"{at.service}.{at.method}"], marks) as call:
                    got = getattr(client, at.method)(message)
                    call.got(read(runner.run(awaited(got)) if is_async else got))
    for client in made.values():
        getattr(client, "_client", client)._transport._session.close()
    return found


# -- the functions and classes -----------------------------------------------------------------------------------------

# Names in the code of what has to do with the network; everything else turns values into others.
REACHES = re.compile(
    r"client$|^get_default|refresh|^url|^read_csv|^send|^generate_content|^http|^google|^requests|discovery|^done$|^genai$"
    r"|^get_(permission|model|tuned_model|base_model|operation)"
)
# Of those, what sends nothing itself, and why.
LOCAL = {
    r"CachedContent\.__init__": "the same as `CachedContent.get`",
    r"__init__|start_chat|from_proto|from_core_operation|from_gapic|get_default_\w+": "makes an object",
    r"client\.configure": "sets what clients are made of",
    r"FileServiceClient\.create_file": "replaced by a guarded upload: `files.upload_file`",
    r"FileServiceAsyncClient\.create_file": "the SDK has none",
    r"operations\.(list_operations|delete_operation)": "the SDK has no address for it over REST, and says so",
    r"encode_tuning_data": "reads a table from a file or an address that the program names; carries no key and no prompt",
}


class Public(typing.NamedTuple):
    path: str
    function: typing.Any
    owner: typing.Any  # class, or None

    @property
    def reason(self):
        """Why it sends nothing; empty if it does."""
        why = next((why for pattern, why in LOCAL.items() if re.search(rf"(^|\.)({pattern})$", self.path)), "")
        reaches = any(map(REACHES.search, names_in(self.function.__code__)))
        return why or ("" if reaches else "turns values into others")


def names_in(code):
    """Yield every name that code uses, that of functions within it too; what is only said of it doesn't count."""
    yield from code.co_names + code.co_varnames + code.co_freevars
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from names_in(one)


@cache
def callables():
    """Return every public callable of the package by reflection, but the notebook's, which calls these."""
    package, found = importlib.import_module(PREFIX), []
    for info in pkgutil.walk_packages(package.__path__, f"{PREFIX}."):
        if info.name.startswith(f"{PREFIX}.notebook"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            path = f"{info.name}.{name}".removeprefix(f"{PREFIX}.")
            if inspect.isfunction(value):
                found.append(Public(path, value, None))
            elif inspect.isclass(value):
                found += [Public(f"{path}.{key}", one, value) for key, one in methods(value)]
    return tuple(found)


def methods(owner):
    for name, value in vars(owner).items():
        function = getattr(value, "__func__", getattr(value, "fget", None) or value)
        public = not name.startswith("_") or name in ("__call__", "__init__", "__iter__", "__aiter__")
        if public and inspect.isfunction(function) and not function.__code__.co_filename.startswith("<"):
            yield name, function


CORPUS, DOCUMENT = "corpora/item-1", "corpora/item-1/documents/item-1"
CHUNK, PERMISSION = f"{DOCUMENT}/chunks/item-1", f"{CORPUS}/permissions/item1"
TIME = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
# What stands in addresses, and what must have a form, by the callable's name.
GIVEN = {
    r"get_model|get_base_model": {"name": "models/item-1"},
    r"get_tuned_model": {"name": "tunedModels/item-1"},
    r"get_base_model_name": {"model": "tunedModels/item-1"},
    r"create_tuned_model": {"source_model": "models/item-1", "id": "item-1"},
    r"(update|delete)_tuned_model": {"tuned_model": "tunedModels/item-1"},
    r"get_operation": {"name": "tunedModels/item-1/operations/item-1"},
    r"get_permission(_async)?|Permission\.get(_async)?": {"name": PERMISSION},
    r"Permission\.update(_async)?": {"updates": {"role": "READER"}},
    r"wait_bar": {"kwargs": {"disable": True}},
    r"files\.\w+|CachedContent\.get|\w+_(corpus|document|chunk)(_async)?": {"name": "item-1"},
    r"CachedContent\.create": {"model": "models/item-1"},
    r"CachedContent\.update": {"ttl": dt.timedelta(minutes=5)},
    r"embed_content(_async)?": {"model": "models/item-1"},
    r"batch_delete_chunks(_async)?": {"chunks": [CHUNK]},
    r"(create|create_permission)(_async)?": {"role": "reader", "grantee_type": "user"},
}


def arguments(one, marks, *, stream):
    """Return the arguments of a call: all that is known by its name; what is needed and unknown fails."""
    known = texts(marks, one.path) | {"stream": lambda: stream}
    for pattern, values in GIVEN.items():
        if re.search(rf"(^|\.)({pattern})$", one.path):
            known |= {name: partial(copy, value) for name, value in values.items()}
    made = {}
    for name, parameter in inspect.signature(one.function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            made |= known[name]() if name in known else {}
        elif name in known:
            made[name] = known[name]()
        else:
            assert name in ("self", "cls") or parameter.default is not parameter.empty, f"{one.path}: what is {name}?"
    return made


def texts(marks, path):
    """Return what makes the arguments, by parameter, for every callable alike."""
    metadata = importlib.import_module(f"{PREFIX}.types.retriever_types").CustomMetadata

    def text(place):
        return marks(place, "text")

    def updates():
        new = text("update")
        return {"data": {"string_value": new}} if re.search("[Cc]hunk", path) else {"display_name": new}

    named = ("content", "title", "query", "display_name", "description", "data", "email_address", "system_instruction")
    return {name: partial(text, name) for name in named} | {
        "contents": lambda: [
            {"role": "user", "parts": [text("part"), {"mime_type": "text/plain", "data": text("file").encode()}]},
            {"role": "model", "parts": [{"text": text("answer")}]},
            {"role": "user", "parts": [{"text": text("text")}]},
        ],
        "custom_metadata": lambda: [metadata(key=text("key_"), value=text("value_"))],
        "inline_passages": lambda: [text("passage")],
        "training_data": lambda: [(text("input"), text("output"))],
        "chunks": lambda: {"item-1": updates()} if "update" in path else [{"name": "item-1", "data": text("chunk")}],
        "task_type": lambda: "retrieval_document",
        "mime_type": lambda: "text/plain",
        "path": lambda: io.BytesIO(text("upload").encode()),
        "page_size": lambda: 1,
        "updates": updates,
        "force": lambda: True,
    }


def owner_of(one, marks):
    """Return an object that a method is called on, its texts marked."""
    permission, retriever = (
        importlib.import_module(f"{PREFIX}.types.{name}_types") for name in ("permission", "retriever")
    )

    def text(place):
        return marks(place, "text")

    def model():
        return genai.GenerativeModel("gemini-1.5-flash", system_instruction=text("system"))

    times = {"create_time": TIME, "update_time": TIME}
    made = {
        "Corpus": lambda: retriever.Corpus(name=CORPUS, display_name=text("corpus"), **times),
        "Document": lambda: retriever.Document(
            name=DOCUMENT, display_name=text("document"), custom_metadata=[], **times
        ),
        "Chunk": lambda: retriever.Chunk(name=CHUNK, data=text("chunk"), custom_metadata=[], state=1, **times),
        "Permission": lambda: permission.Permission(name=PERMISSION, role="writer"),
        # A corpus has no owner that could be another.
        "Permissions": lambda: permission.Permissions(
            types.SimpleNamespace(name="tunedModels/item-1" if "transfer" in one.path else CORPUS)
        ),
        "GenerativeModel": model,
        "ChatSession": lambda: model().start_chat(history=[{"role": "user", "parts": [text("history")]}]),
        "CachedContent": lambda: genai.caching.CachedContent("cachedContents/item-1"),
        "File": lambda: genai.types.File({"name": "files/item-1"}),
        "CreateTunedModelOperation": lambda: genai.create_tuned_model("models/item-1", [("a", "b")], id="item-1"),
    }
    return made[one.owner.__name__]()


@pytest.fixture(scope="module")
def called(wire):
    return call_all(wire)


def call_all(wire):
    """Return what each public callable did."""
    found = {}
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's way with protobuf
        patch.setattr(wire, "names", True)
        for one in callables():
            if one.reason:
                continue
            did = found[one.path] = Did()
            for stream in (False, True) if "stream" in inspect.signature(one.function).parameters else (False,):
                marks = Marks()
                owner = None if one.owner is None else owner_of(one, marks)
                function = one.function if owner is None else getattr(owner, one.path.rpartition(".")[2])
                with Call(wire, did, marks) as call:
                    call.got(read(runner.run(awaited(function(**arguments(one, marks, stream=stream))))))
    return found


# -- what holds --------------------------------------------------------------------------------------------------------


# With whom something is shared, and to whom it is given: the service can't act on a placeholder.
ACCOUNTS = {
    "permission.create_permission": "permission.email_address",
    "permission.update_permission": "permission.email_address",
    "permission.transfer_ownership": "email_address",
    **{
        f"types.permission_types.Permissions.{name}{way}": "email_address"
        for name in ("create", "transfer_ownership")
        for way in ("", "_async")
    },
}


def wrong_of(found):
    left = {
        name: sorted(one for one in did.leaks if not may_leave(one) and one != ACCOUNTS.get(name))
        for name, did in found.items()
    }
    came = {name: sorted(one for one in did.wrong if not may_come(*one)) for name, did in found.items()}
    return {name: one for name, one in left.items() if one}, {name: one for name, one in came.items() if one}


def test_e_10_no_text_of_any_method_of_the_clients_passes(clients, wire):
    """Plain, streamed, paged, long-running; both ways."""
    assert wrong_of(clients) == ({}, {})
    assert set(clients) == {f"{at.service}.{at.method}" for at in endpoints() if at.method != "create_file"}
    assert all(did.requests for did in clients.values())
    assert sum(did.places for did in clients.values()) > 300
    assert sum(did.answered for did in clients.values()) > 300
    assert sum(did.restored for did in clients.values()) > 50


def test_e_10_no_text_of_any_public_callable_passes(called):
    """Each is called, or sends nothing; a new one that can't be placed fails."""
    assert wrong_of(called) == ({}, {})
    silent = [name for name, did in called.items() if not did.requests]
    assert silent == []
    assert len(called) > 80


def test_whom_something_is_shared_with_is_sent_as_it_is(called, clients):
    """The address of a permission, and of a new owner, in every method that takes one: a placeholder would be nobody."""
    found = called | clients
    assert {name: place in found[name].leaks for name, place in ACCOUNTS.items()} == dict.fromkeys(ACCOUNTS, True)


def test_e_10_nothing_goes_around_the_guard(called, clients, wire):
    """Every connection was a session's, and every request of a session had passed the guard."""
    assert wire.around == []
    assert len(wire.seen) > 200


# -- the page ----------------------------------------------------------------------------------------------------------

HEAD = """# Complete mediation: `google-generativeai`

Every public callable of `google-generativeai` {version}, and every method of the clients that it makes, called through the guard
with a mail address in every place that takes a text, and answered with a terminal control, a hidden character and a placeholder in
every text. Connections other than those of the guarded sessions were forbidden meanwhile. This page is written by
`python tests/google/test_google_generativeai_walk.py` from what really passed, and a test compares the two.

* **sent**: places for texts that were filled and searched, then those of them where an address may pass by design: names and
  filters in the URL, identifiers, addresses, words of the provider's own, and whom something is shared with or given to.
* **back**: texts of the answers that were searched.

"""


def page(called, clients):
    """Return the page."""
    lines = [f"{len(called)} callables that send something, {len(clients)} methods of clients.\n"]
    for title, found in (("Functions and classes", called), ("Methods of the clients", clients)):
        lines += [f"## {title}\n", "| Name | Endpoints | sent | back |", "|---|---|---|---|"]
        for name, did in sorted(found.items()):
            sent = f"{did.places} ({len(did.leaks)})" if did.leaks else str(did.places or "")
            lines.append(f"| `{name}` | {', '.join(sorted(did.routes))} | {sent} | {did.answered or ''} |")
        lines.append("")
    silent = defaultdict(list)
    for one in callables():
        if one.reason:
            silent[one.reason].append(f"`{one.path}`")
    lines.append("## Without a request of their own\n")
    lines += [f"* {why}: {', '.join(sorted(names))}." for why, names in sorted(silent.items())]
    return HEAD.format(version=genai.__version__) + "\n".join(lines) + "\n"


def test_page_says_what_the_walk_found(called, wire):
    """`python tests/google/test_google_generativeai_walk.py` writes it."""
    assert PAGE.read_text("utf-8") == page(called, call_clients(wire, is_async=False))


if __name__ == "__main__":
    import tempfile

    with wired(tempfile.mkdtemp()) as own:
        PAGE.write_text(page(call_all(own), call_clients(own, is_async=False)), "utf-8")
