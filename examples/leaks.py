"""Where a key and a prompt go when somebody else says where: the plain SDKs and safellm beside each other.

Everything runs on this machine. `collector.example` stands for a stranger's server; one variable in a repository's `.env`, or one
redirect of a server on the way, is all that it takes.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import tempfile
from typing import Any

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


def ask_openai(kind: Any, url: str | None) -> None:
    """Ask OpenAI's SDK."""
    with kind(max_retries=0, **({"base_url": f"{url}/v1"} if url else {})) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": PROMPT}])


def ask_anthropic(kind: Any, url: str | None) -> None:
    """Ask Anthropic's."""
    with kind(max_retries=0, **({"base_url": url} if url else {})) as client:
        client.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": PROMPT}])


def ask_google(kind: Any, url: str | None) -> None:
    """Ask Google's."""
    with kind(**({"http_options": {"base_url": url}} if url else {})) as client:
        client.models.generate_content(model="gemini-2.5-flash", contents=PROMPT)


# Name, module and class of the plain SDK, module of safellm, variables of key and address, how to ask.
SDKS = (
    ("openai", "openai", "OpenAI", "safellm.openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", ask_openai),
    ("anthropic", "anthropic", "Anthropic", "safellm.anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", ask_anthropic),
    ("google-genai", "google.genai", "Client", "safellm.google.genai", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", ask_google),
)  # fmt: skip


def is_installed(module: str) -> bool:
    """Return whether an SDK is there."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def failure(ask: Any, module: str, kind: str, url: str | None) -> str:
    """Ask, and return the error: the stranger's refusal, or that of safellm."""
    try:
        ask(getattr(importlib.import_module(module), kind), url)
    except safellm.SafeLLMError as error:
        return f"refused: {getattr(error, 'reason', None) or error.problem}"
    except Exception as error:  # noqa: BLE001 - each SDK has its own
        return type(error).__name__
    return "answered"


def main() -> None:
    """Lead each SDK to the stranger, in both ways, plain and guarded."""
    os.environ.update(SAFELLM_HOME=tempfile.mkdtemp(), SAFELLM_KEYS_VAULT="false")
    os.environ.pop("GOOGLE_API_KEY", None)
    socket.getaddrinfo = look_up
    with Collector() as collector, Redirecting(f"http://{STRANGER}:{collector.port}") as server:
        for name, plain, kind, guarded, key, address, ask in SDKS:
            if not is_installed(plain):
                print(f"{name} is not installed")
                continue
            clients = [(f"plain {name}", plain), (f"{name} with safellm", guarded)]
            os.environ.update({key: KEY, address: server.target})
            for title, module in clients:
                error = failure(ask, module, kind, None)
                print(f"by a variable, {title}: the stranger got {arrived(collector)} ({error})")
            del os.environ[address]
            for title, module in clients:
                error = failure(ask, module, kind, server.origin)
                print(f"by a redirect, {title}: the stranger got {arrived(collector)} ({error})")


if __name__ == "__main__":
    main()
