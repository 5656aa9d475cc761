"""A provider made from an SDK's own types: each endpoint answers a small value of the type that its method returns.

It takes the place of a mock server that is made from an API description, where there is none: what the SDK asks is not checked,
what it gets has the right form. One text stands in all answers, and no tool is called.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import inspect
import json
import re
import sys
import threading
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydantic

sys.path.insert(0, str(Path(__file__).parents[1] / "mediation"))

from mediation_fill import bare
from mediation_surface import Method, methods

_ASKED = re.compile(
    r"""self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:path_template\(\s*)?f?["']/?([^"']+)(.*)""", re.DOTALL
)
_PLAIN: dict[Any, Any] = {
    str: "text",
    int: 1,
    float: 0.5,
    bool: True,
    dt.datetime: "2026-01-01T00:00:00Z",
    dt.date: "2026-01-01",
}
_STREAM = re.compile(rb'"stream":\s*true')
_EVENT = ("text/event-stream", b'event: ping\ndata: {"type": "ping"}\n\n')
_CALLS = frozenset({"tool_calls", "function_call", "required_action"})
_MISSING = object()


def small(kind: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return a small JSON value of a type: of alternatives the first, of lists one item; what nests itself is left out."""
    kind = bare(kind)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is None or kind is type(None):
        return None
    if origin in (typing.Union, types.UnionType):
        made = (small(one, within) for one in args if one is not type(None))
        return next((one for one in made if one is not _MISSING), None if type(None) in args else _MISSING)
    if origin is typing.Literal:
        return args[0]
    if origin is list:
        return [] if (item := small(args[0], within)) is _MISSING else [item]
    if not (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)):
        return {}
    if kind in within:
        return _MISSING
    fields = {
        one.alias or name: small(one.annotation, (*within, kind))
        for name, one in kind.model_fields.items()
        if name not in _CALLS or one.is_required()
    }
    return {name: value for name, value in fields.items() if value is not _MISSING}


class Endpoint(typing.NamedTuple):
    """One of an SDK's endpoints; in a template its path has names in braces."""

    verb: str
    path: tuple[str, ...]
    is_beta: bool  # the same path may have two types of answers

    def fits(self, asked: Endpoint) -> bool:
        """Return whether this template stands for what is asked."""
        same = (self.verb, self.is_beta, len(self.path)) == (asked.verb, asked.is_beta, len(asked.path))
        return same and all("{" in want or want == have for want, have in zip(self.path, asked.path, strict=True))


def endpoint(verb: str, target: str) -> Endpoint:
    """Return the endpoint of a request's method and target, or of a template."""
    path, _, query = target.partition("?")
    return Endpoint(verb.upper(), tuple(path.strip("/").split("/")), "beta=true" in query)


def endpoints(client: Any) -> dict[Endpoint, tuple[Any, ...]]:
    """Return what each endpoint answers, as alternatives, from the methods of a plain client."""
    found: dict[Endpoint, tuple[Any, ...]] = {}
    for one in methods(client):
        asked = _ASKED.search(inspect.getsource(one.function))
        if asked is None:
            continue
        verb, template, rest = asked.groups()
        own = re.search(r"""method=["'](\w+)["']""", rest) if verb == "get_api_list" else None
        verb = own[1] if own else "get" if verb == "get_api_list" else verb
        at = endpoint(verb, template)
        found.setdefault(at._replace(is_beta=at.is_beta or one.path.startswith("beta.")), _returned(one))
    return found


def _returned(method: Method) -> tuple[Any, ...]:
    kind = bare(method.hints["return"])
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def answer(kinds: tuple[Any, ...], body: bytes) -> tuple[str, bytes]:
    """Return content type and bytes of an answer."""
    whole = [one for one in kinds if not _name(one).endswith("Stream")]
    if not whole or (len(whole) < len(kinds) and _STREAM.search(body)):
        return _EVENT
    (kind,) = whole[:1]
    if "Binary" in _name(kind):
        return "application/octet-stream", b"\x00\x01"
    if _name(kind).endswith("JSONLDecoder"):
        return "application/x-jsonl", json.dumps(small(typing.get_args(kind)[0])).encode() + b"\n"
    return "application/json", json.dumps(small(kind)).encode()


def _name(kind: Any) -> str:
    return str(getattr(typing.get_origin(kind) or kind, "__name__", kind))


@contextmanager
def serving(client: Any) -> Iterator[str]:
    """Serve the endpoints of an SDK on this machine; gives the address."""
    known = endpoints(client)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            kinds = find(known, endpoint(self.command, self.path))
            kind, data = ("text/plain", b"no such endpoint") if kinds is None else answer(kinds, body)
            self.send_response(404 if kinds is None else 200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815 - the names that `http.server` calls

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that went away."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def find(known: Mapping[Endpoint, tuple[Any, ...]], asked: Endpoint) -> tuple[Any, ...] | None:
    """Return what an endpoint answers; None where it is none."""
    for one in (asked, asked._replace(is_beta=not asked.is_beta)):
        # Words before names: `work/stats` is no work of that name.
        fitting = sorted(
            (template for template in known if template.fits(one)), key=lambda at: "".join(at.path).count("{")
        )
        if fitting:
            return known[fitting[0]]
    return None
