"""One call of one SDK method through the guard, with marked texts in every place, both ways.

* On the way out every string holds a secret and a mail address that say where they stood.
* On the way back every string holds a terminal control, a hidden character, and a placeholder of this conversation, once in
  text and once in a URL.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import dataclasses
import inspect
import json
import random
import re
import string
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pydantic
from mediation_fill import Filler, bare
from mediation_sdk import SDK
from mediation_surface import Method

from safellm.errors import Refused

_RANDOM = random.Random(20261123)
# Consonants and digits: no word arises by chance that a detector would take for a sample ("dummy", "xxxx").
_ALNUM = "".join(sorted(set(string.ascii_letters) - set("aeiouxyAEIOUXY"))) + string.digits


def _letters(count: int, alphabet: str = _ALNUM) -> str:
    return "".join(_RANDOM.choice(alphabet) for _ in range(count))


SECRET = _letters(14)  # the part that all secrets share; letters and digits, so that no escaping hides it
MAIL = _letters(12, "bcdfghjklmnpqrstvwz")
ESCAPE, HIDDEN = "\x1b[31m", "\U000e0041"
PLACEHOLDER = re.compile(r"X-EMAIL-[0-9A-Z]{16}")
_WAYS = ("extra_headers", "extra_query", "extra_body", "timeout", "stream")
_HARMLESS = "item-1"
_MOST_REQUESTS = 20  # of one call; more is a loop that waits for an answer that never comes
_ANSWER_KEYS = ("note", "id", "url", "signature", "access_token", "md5")


@dataclass(slots=True)
class Marks:
    """Marked texts and where they stand."""

    places: list[tuple[str, str]] = field(default_factory=list)
    secrets: bool = True

    def request(self, place: str, form: str) -> str:
        """Return a text for a request."""
        number = len(self.places)
        self.places.append((place, form))
        secret = "sk-" + "proj-" + SECRET + f"{number:06d}" + _letters(24)
        mail = f"{MAIL}{number:06d}@example.com"
        return f"see {secret} or {mail} now" if self.secrets else f"ask {mail} now"

    def found(self, data: bytes) -> set[tuple[str, str, str]]:
        """Return (what, place, form) for every marked value that data holds, plain or encoded."""
        leaks = set()
        for what, core in (("secret", SECRET), ("mail", MAIL)):
            for number in re.findall(core.encode() + rb"(\d{6})", data):
                leaks.add((what, *self.places[int(number)]))
            if any(form in data for form in _encoded(core)):
                leaks.add((what, "<encoded>", "text"))
        return leaks


def _encoded(core: str) -> list[bytes]:
    raw = core.encode()
    shifted = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw.hex().encode(), raw.hex().upper().encode(), *shifted]


@dataclass(slots=True)
class Wire:
    """The inner transport: keeps what arrives, answers what `answer` says."""

    answer: Callable[[Any], tuple[str, bytes]]
    native: Any  # httpx or httpx2
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def take(self, request: Any, body: bytes) -> Any:
        headers = {name.lower(): value for name, value in request.headers.multi_items()}
        self.requests.append((request.method, str(request.url), headers, body))
        kind, data = self.answer(request)
        return self.native.Response(200, headers={"content-type": kind}, content=data)

    def transport(self) -> Any:
        def sync(request: Any) -> Any:
            return self.take(request, request.read())

        return self.native.MockTransport(sync)

    def async_transport(self) -> Any:
        async def handler(request: Any) -> Any:
            return self.take(request, await request.aread())

        return self.native.MockTransport(handler)


# -- what is sent ------------------------------------------------------------------------------------------------------


def files(marks: Marks, no_files: str = "$^") -> Callable[[str], list[Any]]:
    """Return the forms of a file whose text is marked, also as JSON and as JSON lines, and its name."""

    def make(place: str) -> list[Any]:
        if re.search(f"(?:{no_files})$", place):
            return [marks.request(place, "text")]

        def text(part: str) -> str:
            return marks.request(f"{place}!{part}", "text")

        row = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
               "body": {"model": "m", "messages": [{"role": "user", "content": text("line")}]}}  # fmt: skip
        own = {
            "authorization": text("authorization"),
            "signature": text("signature"),
            "deep": {"embedding": text("embedding")},
        }
        return [
            ("notes.txt", text("text").encode(), "text/plain"),
            ("batch.jsonl", b"\n".join([json.dumps(row).encode()] * 2) + b"\n", "application/jsonl"),
            ("own.json", json.dumps(own, indent=1).encode(), "application/json"),
            ("rows.csv", f"name,mail\nx,{text('csv')}\n".encode(), "text/csv"),
            (f"{text('name')}.txt", b"plain", "text/plain"),
            text("bare").encode(),
        ]

    return make


def arguments(
    method: Method, marks: Marks, given: dict[str, Any], *, lean: bool = True, no_files: str = "$^"
) -> list[dict[str, Any]]:
    """Return argument sets that reach every alternative of every parameter.

    Args:
        method: What will be called.
        marks: Makes the texts.
        given: Values that are given instead; None leaves a parameter out.
        lean: Leave out of later sets what the first ones reached already.
        no_files: Places where no file is tried.
    """
    filler = Filler(text=marks.request, file=files(marks, no_files), fixed={"stream": False, "has_more": False})
    columns: dict[str, list[Any]] = {}
    required: set[str] = set()
    for name, parameter in method.parameters.items():
        if name in _WAYS or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in given:
            value = given[name](marks) if callable(given[name]) else given[name]
            values = [value] if value is not None else []
        elif name in method.in_path:
            values = [_HARMLESS]
        else:
            values = filler.build(method.hints.get(name, str), name)
        if values:
            columns[name] = values
        if parameter.default is parameter.empty:
            required.add(name)
    rows = max((len(values) for values in columns.values()), default=1)
    return [
        {
            name: values[row % len(values)]
            for name, values in columns.items()
            if row < len(values) or name in required or not lean
        }
        for row in range(rows)
    ]


# -- what comes back ---------------------------------------------------------------------------------------------------


def answer_text(places: list[str], placeholder: str | None) -> Callable[[str, str], str]:
    """Return a maker of hostile answer texts; the place of an open enum ends in a question mark."""

    def text(place: str, form: str) -> str:
        number = len(places)
        places.append(place + "?" if form == "open" else place)
        shown = placeholder or "nothing"
        return f"<<{number}|{ESCAPE}{HIDDEN}{shown} and https://x.example/?q={shown} >>"

    return text


def build_answer(kind: Any, places: list[str], placeholder: str | None, *, fixed: dict[str, Any], row: int = 0) -> Any:
    """Return a JSON value of a model type, hostile in every text."""
    made = alternatives(kind, places, placeholder, fixed=fixed)
    return made[row % len(made)] if made else {}


def _name(kind: Any) -> str:
    for field_name in ("type", "event", "object"):
        one = getattr(bare(kind), "model_fields", {}).get(field_name)
        if one is not None and typing.get_origin(one.annotation) is typing.Literal:
            return str(typing.get_args(one.annotation)[0]).replace(".", "/")
    return ""


def alternatives(
    kind: Any, places: list[str], placeholder: str | None, *, fixed: dict[str, Any], root: str = ""
) -> list[Any]:
    """Return every alternative of an answer's type."""
    fixed = {"has_more": False, "error": None, "in_progress": 0, "index": 0, **fixed}
    filler = Filler(
        text=answer_text(places, placeholder), file=lambda place: [], fixed=fixed, wire=True, free_keys=_ANSWER_KEYS
    )
    return filler.build(kind, root)


def event_values(kind: Any, places: list[str], placeholder: str | None, fixed: dict[str, Any]) -> list[Any]:
    """Return one event of each type of a stream; what they can hold within is in the plain answers."""
    kind = bare(kind)
    members = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return [
        made for one in members for made in alternatives(one, places, placeholder, fixed=fixed, root=_name(one))[:1]
    ]


def strings(value: Any) -> Iterator[str]:
    """Yield every string that a program can read from a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, bytearray)):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, pydantic.BaseModel):
        for name in [*type(value).model_fields, *(value.model_extra or {})]:
            yield from strings(getattr(value, name, None))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from strings(getattr(value, one.name))


_SEEN = re.compile(r"<<(\d+)\|(.*?)>>", re.DOTALL)


def judge(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the place, what is wrong) for every marked text in a text that the program got."""
    for number, inner in _SEEN.findall(text):
        if "\x1b" in inner or HIDDEN in inner:
            yield int(number), "raw"
        shown, _, url = inner.partition(" and ")
        if "?q=" + MAIL in url or f"?q=ask {MAIL}" in url or (MAIL in url):
            yield int(number), "in url"
        if PLACEHOLDER.search(shown):
            yield int(number), "not restored"


# -- a call ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What one method did, over all its argument sets."""

    path: str
    calls: int = 0
    refused: int = 0
    routes: set[tuple[str, str]] = field(default_factory=set)
    leaks: set[tuple[str, str, str]] = field(default_factory=set)  # (what, where on the wire, place)
    wrong: set[tuple[str, str]] = field(default_factory=set)  # (what, place in the answer)
    sent_places: set[str] = field(default_factory=set)
    answer_places: set[str] = field(default_factory=set)
    restored: int = 0
    heard: int = 0  # marked texts that the program got
    errors: list[str] = field(default_factory=list)
    stumbled: list[str] = field(default_factory=list)
    streams: bool = False
    casts: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Sweep:
    """Calls methods of one guarded client over one wire."""

    sdk: SDK
    client: Any
    wire: Wire
    is_async: bool = False
    cast: Any = None
    stream_cls: Any = None
    row: int = 0
    places: list[str] = field(default_factory=list)
    plain_ids: bool = False
    runner: asyncio.Runner | None = None

    def attach(self) -> None:
        """Watch which type the SDK wants each answer to be."""
        original = self.client.request

        def request(cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            self.cast, self.stream_cls = cast_to, kwargs.get("stream_cls") if kwargs.get("stream") else None
            return original(cast_to, options, *args, **kwargs)

        self.client.request = request
        self.wire.answer = self.answer

    def answer(self, request: Any) -> tuple[str, bytes]:
        if len(self.wire.requests) > _MOST_REQUESTS:
            raise RuntimeError(f"asks for ever: {request.method} {request.url}")
        body = self.wire.requests[-1][3]
        found = PLACEHOLDER.search(body.decode("utf-8", "replace"))
        placeholder = found[0] if found else None
        self.report.casts.add(getattr(self.cast, "__name__", str(self.cast)))
        if self.stream_cls is not None:
            self.report.streams = True
            (kind,) = typing.get_args(self.stream_cls)[:1] or (object,)
            return "text/event-stream", events(event_values(kind, self.places, placeholder, self._fixed(plain=False)))
        if getattr(typing.get_origin(self.cast), "__name__", "") == "JSONLDecoder":
            made = alternatives(typing.get_args(self.cast)[0], self.places, placeholder, fixed=self._fixed())
            return "application/x-jsonl", b"".join(json.dumps(one).encode() + b"\n" for one in made)
        if self.cast in (type(None), bytes) or "Binary" in getattr(self.cast, "__name__", ""):
            return "application/octet-stream", b"\x00\x01"
        if self.cast is str:
            return "text/plain", answer_text(self.places, placeholder)("<text>", "text").encode()
        made = build_answer(self.cast, self.places, placeholder, fixed=self._fixed(), row=self.row)
        return "application/json", json.dumps(made).encode()

    def _fixed(self, *, plain: bool = True) -> dict[str, Any]:
        known = dict(self.sdk.fixed)
        ids = known.pop("plain", {})
        return known | ids if plain and self.plain_ids else known

    report: Report = field(default_factory=lambda: Report(""))

    def run(self, method: Method, given: dict[str, Any], *, rows: int | None = None, stream: bool = False) -> Report:
        """Call a method with every argument set."""
        self.report = report = Report(method.path)
        self.plain_ids = self.sdk.polls(method.name) or "ids" in given
        given = {name: value for name, value in given.items() if name != "ids"}
        sets = len(arguments(method, Marks(), given, no_files=self.sdk.no_files))
        for row in range(min(sets, rows or sets)):
            self._row(method, dict(given), row, stream)
        return report

    def _row(self, method: Method, given: dict[str, Any], row: int, stream: bool) -> None:
        report = self.report
        self.row = row
        lean = not hasattr(method.call, "__wrapped__") and method.name != "stream"

        def attempt(secrets: bool, values: dict[str, Any]) -> bool:
            marks = Marks(secrets=secrets)
            sets = arguments(method, marks, values, lean=lean, no_files=self.sdk.no_files)
            return self._call(method, sets[min(row, len(sets) - 1)], marks, stream)

        if attempt(True, given):
            return
        # Refused. That is right when a secret stood in the URL: find out what goes there, and try the rest without it.
        if not attempt(False, given):
            report.errors.append(f"row {row}: refused without a secret")
            return
        rest = {**given}
        for name in self.url_names & set(method.parameters):
            rest[name] = _HARMLESS if method.parameters[name].default is inspect.Parameter.empty else None
        if not attempt(True, rest):
            report.errors.append(f"row {row}: refused for something else than {sorted(self.url_names)}")

    url_names: set[str] = field(default_factory=set)

    def _call(self, method: Method, options: dict[str, Any], marks: Marks, stream: bool) -> bool:
        """Make one call; return False if it was refused and nothing left."""
        report = self.report
        if stream:
            options = {**options, "stream": True}
        self.places = []
        self.wire.requests.clear()
        report.calls += 1
        got: list[Any] = []
        refused = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's word on assistants and others
                self._finish(self._invoke(method, options), got)
        except Refused:
            refused = True
            report.refused += 1
        except self.sdk.error as error:
            got.append(str(error))
            got.append(getattr(error, "body", None))
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:300]}"
            # The SDK's helpers put stream events together and stumble over made-up ones: the request is what counts then.
            (report.stumbled if self.wire.requests else report.errors).append(problem)
        self.url_names = set()
        for verb, url, headers, body in self.wire.requests:
            self._sent(verb, url, headers, body, marks)
        report.sent_places |= {place for place, _ in marks.places}
        for text in strings(got):
            for number, what in judge(text):
                report.wrong.add((what, self.places[number]))
            report.restored += text.count(MAIL)
            report.heard += text.count("<<")
        report.answer_places |= set(self.places)
        if not refused and not self.wire.requests and not report.errors:
            report.errors.append("no request and no refusal")
        return not (refused and not self.wire.requests)

    def _sent(self, verb: str, url: str, headers: dict[str, str], body: bytes, marks: Marks) -> None:
        report = self.report
        report.routes.add((verb, self.sdk.native.URL(url).path))
        for what, place, _ in marks.found(url.encode()):
            report.leaks.add((what, "url", place))
            self.url_names.add(re.split(r"[.\[]", place)[0])
        for what, place, _ in marks.found(json.dumps(headers).encode()):
            report.leaks.add((what, "header", place))
            self.url_names.add(re.split(r"[.\[]", place)[0])
        for what, place, form in marks.found(body):
            report.leaks.add((what, f"body:{form}", place))

    def _invoke(self, method: Method, options: dict[str, Any]) -> Any:
        made = method.call(**options)
        if inspect.isawaitable(made):
            made = self.runner.run(_await(made))
        return made

    def _finish(self, made: Any, got: list[Any]) -> None:
        """Read everything that a program can read of a result."""
        if self.is_async:
            self.runner.run(_consume(made, got))
            return
        if isinstance(made, pydantic.BaseModel) and not hasattr(made, "get_next_page"):
            got.append(made)
        elif hasattr(made, "http_response") and not hasattr(made, "__next__"):  # a raw response
            got.append(_raw(made))
        elif hasattr(made, "__enter__"):
            with made as inner:
                got.extend([_raw(inner, inner.read())] if hasattr(inner, "http_response") else inner)
        elif hasattr(made, "__iter__") and not isinstance(made, (str, bytes, dict, list)):
            got.extend(made)
        else:
            got.append(made)


def _raw(made: Any, data: bytes | None = None) -> Any:
    data = made.http_response.content if data is None else data
    if "json" in made.headers.get("content-type", ""):
        return json.loads(data)
    return data


async def _await(value: Any) -> Any:
    return await value


async def _consume(made: Any, got: list[Any]) -> None:
    if isinstance(made, pydantic.BaseModel) and not hasattr(made, "get_next_page"):
        got.append(made)
    elif hasattr(made, "http_response") and not hasattr(made, "__anext__"):  # a raw response
        got.append(_raw(made))
    elif hasattr(made, "__aenter__"):
        async with made as inner:
            raw = hasattr(inner, "http_response")
            got.extend([_raw(inner, await inner.read())] if raw else [one async for one in inner])
    elif hasattr(made, "__aiter__"):
        got.extend([one async for one in made])
    else:
        got.append(made)


def events(made: list[Any]) -> bytes:
    """Return server-sent events, one for each value."""
    out = []
    for one in made:
        if isinstance(one, dict) and isinstance(one.get("event"), str) and "data" in one:
            out.append(f"event: {one['event']}\ndata: {json.dumps(one['data'])}\n\n")
        else:
            name = f"event: {one['type']}\n" if isinstance(one, dict) and isinstance(one.get("type"), str) else ""
            out.append(f"{name}data: {json.dumps(one)}\n\n")
    return "".join([*out, "data: [DONE]\n\n"]).encode()
