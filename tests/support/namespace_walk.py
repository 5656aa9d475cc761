"""Run by a test in a network namespace of its own: call every public method of each SDK on its default HTTP client, and say on
standard output which addresses this process tried to connect to, and which names it asked for.

Nothing but 127.0.0.1 can be reached here: what goes past Python's own sockets, as gRPC's core does, gets nowhere either.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.util
import inspect
import json
import os
import socket
import struct
import sys
import tempfile
import time
import typing
import warnings
from pathlib import Path
from typing import Any

_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # netdevice(7)
_SKIPPED = frozenset({"close", "aclose", "do_request"})
_CLASSIC = (
    "models",
    "files",
    "caches",
    "batches",
    "chats",
    "tunings",
    "operations",
    "file_search_stores",
    "auth_tokens",
)
_NEWER = ("interactions", "agents", "triggers", "webhooks", "environments", "live")


class _Waits(Exception):
    """A method polls for something that never comes."""


def _watch() -> tuple[set[str], set[str]]:
    """Return what fills with the addresses and names that this process goes to, whoever asks."""
    connected: set[str] = set()
    asked: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            connected.add(str(arguments[1][:2] if isinstance(arguments[1], tuple) else arguments[1]))
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            asked.add(str(arguments[0]))

    sys.addaudithook(hook)
    return connected, asked


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


def _is_cut_off() -> bool:
    """Return whether the world outside can't be reached (192.0.2.1 is nobody's: RFC 5737)."""
    with socket.socket() as one:
        one.settimeout(2)
        try:
            one.connect(("192.0.2.1", 443))
        except OSError as error:
            return not isinstance(error, TimeoutError)
    return False


def _arguments(call: Any, path: str, given: dict[str, Any]) -> dict[str, Any]:
    from mediation_fill import Filler

    filler = Filler(text=lambda place, form: "item-1", file=lambda place: [b"text"])
    function = inspect.unwrap(getattr(call, "__func__", call))
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names for type checkers only
        hints = {}
    made = dict(given)
    for name, parameter in inspect.signature(call).parameters.items():
        required = parameter.default is inspect.Parameter.empty or "NOT_GIVEN" in repr(parameter.default)
        if name in made or not required or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        kind = hints.get(name, parameter.annotation)
        values = (
            ["item-1"] if isinstance(kind, str) or kind is parameter.empty else filler.build(kind, f"{path}.{name}")
        )
        made[name] = values[0] if values else "item-1"
    return made


def _call(call: Any, path: str, given: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):  # the answers are empty, and many methods dislike that
        made = call(**_arguments(call, path, given))
        if inspect.isgenerator(made) or hasattr(made, "__next__"):
            list(made)
        elif hasattr(made, "__enter__"):
            with made as entered, contextlib.suppress(TypeError):
                list(entered)


def _clients(origin: str) -> typing.Iterator[tuple[str, Any, list[tuple[str, Any, dict[str, Any]]]]]:
    """Yield each SDK's name, its guarded client on the SDK's own HTTP client, and its methods."""
    from mediation_surface import methods
    from mediation_walk import installed

    makers = {
        "openai": ("safellm.openai", "OpenAI", f"{origin}/v1"),
        "anthropic": ("safellm.anthropic", "Anthropic", origin),
    }
    for name, sdk in installed().items():
        module, kind, url = makers[name]
        client = getattr(importlib.import_module(module), kind)(api_key="k", base_url=url, max_retries=0, timeout=5)
        found = [
            (one.path, one.call, dict(sdk.given.get(one.path, {})))
            for one in methods(client)
            if one.path not in sdk.local
        ]
        yield name, client, found
    if importlib.util.find_spec("google.genai") is not None:
        from safellm.google import genai

        client = genai.Client(api_key="k", http_options={"base_url": origin, "timeout": 5000})
        yield (
            "google",
            client,
            [
                (f"{name}.{one}", call, {})
                for name in (*_CLASSIC, *_NEWER)
                for one, call in inspect.getmembers(getattr(client, name, None), inspect.ismethod)
                if not one.startswith("_") and one not in _SKIPPED
            ],
        )


def main() -> None:
    """Walk, and print what was seen."""
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests / "mediation"), str(tests / "support")]
    warnings.simplefilter("ignore")
    with contextlib.suppress(OSError):
        _loopback_up()
    cut_off = _is_cut_off()
    os.environ["SAFELLM_HOME"] = tempfile.mkdtemp()
    os.environ["SAFELLM_KEYS_VAULT"] = "false"

    def no_sleep(_: float) -> None:
        raise _Waits

    from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest

    class Anything(LoopbackServer):
        def serve(self, request: SeenRequest, connection: Connection) -> bool:
            head = (("content-type", "application/json"), ("content-length", "2"))
            connection.send_answer(Answer(status=200, headers=head, body=b"{}"))
            return True

    found: dict[str, Any] = {"cut_off": cut_off, "called": {}, "sent": {}}
    with Anything() as server:
        connected, asked = _watch()
        time.sleep = no_sleep
        for name, client, methods in _clients(server.origin):
            before = len(server.requests)
            for path, call, given in methods:
                _call(call, path, given)
            found["called"][name] = len(methods)
            found["sent"][name] = len(server.requests) - before
            client.close()
        found["connected"], found["asked"], found["server"] = (
            sorted(connected),
            sorted(asked),
            ["127.0.0.1", server.port],
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
