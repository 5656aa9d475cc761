"""Frameworks on a guarded client: what leaves the machine and what the framework gets. Each file needs its framework.

A file whose framework isn't installed is not collected, unless it is named on the command line: the sessions `frameworks`
and `frameworks_httpx` name theirs, so there a missing framework is an error.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm.testing.provider import LoopbackProvider

MAIL = "alice@example.com"
CARD = "4111 1111 1111 1111"
SAID = f"Write to {MAIL} that card {CARD} expired."
ONE_REQUEST = {"budget": {"limits": [{"requests": 1}]}}

_PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def _is_missing(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return True
    return False


collect_ignore = [
    file
    for file, distribution in {
        "test_frameworks_agents.py": "openai-agents",
        "test_frameworks_instructor.py": "instructor",
        "test_frameworks_langchain.py": "langchain-openai",
        "test_frameworks_llama_index.py": "llama-index-llms-openai",
        "test_frameworks_pydantic_ai.py": "pydantic-ai-slim",
    }.items()
    if _is_missing(distribution)
]


class Watch:
    """Stops every look-up and connection that leaves this machine, and remembers it: a framework may swallow the error."""

    def __init__(self) -> None:
        self.on = False
        self.stopped: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
            return
        host = arguments[0]
        if event in {"socket.connect", "socket.sendto"}:
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else "localhost"  # else a socket in the file system
        host = host.decode() if isinstance(host, bytes) else host
        if host is not None and host not in _LOOPBACK:
            self.stopped.append(str(host))
            message = f"the test allows no connection to {host}"
            raise OSError(message)


_watch = Watch()
sys.addaudithook(_watch)  # can't be taken out again, so there is one for the process


@pytest.fixture
def watch(home: Path) -> Iterator[Watch]:
    """What tried to leave this machine during the test."""
    _watch.stopped.clear()
    _watch.on = True
    yield _watch
    _watch.on = False


@pytest.fixture(autouse=True)
def _stays_here(request: pytest.FixtureRequest, watch: Watch) -> Iterator[None]:
    """Fail a test in which anything but this machine was contacted, unless the test is about just that."""
    yield
    if request.node.get_closest_marker("leaves") is None:
        assert watch.stopped == []


@pytest.fixture
def guarded(provider: LoopbackProvider) -> Callable[..., Any]:
    """Return a guarded client for the provider, with the SDK's own retries; `kind` is `OpenAI` or `AsyncOpenAI`."""

    def make(kind: str = "OpenAI", **settings: Any) -> Any:
        return getattr(safellm, kind)(base_url=provider.base_url, api_key="given-in-code", safellm=settings)

    return make


@pytest.fixture
def nothing_in_clear(provider: LoopbackProvider) -> Callable[..., None]:
    """Check what arrived: so many requests, placeholders in them, and no value."""

    def check(requests: int, *more: str) -> None:
        assert len(provider.requests) == requests
        for seen in provider.requests:
            wire = (seen.path + seen.query).encode() + seen.head + seen.body
            assert b"X-EMAIL-" in seen.body
            assert b"X-CREDIT_CARD-" in seen.body
            for value in (MAIL, CARD, CARD.replace(" ", ""), *more):
                assert value.encode() not in wire

    return check


@pytest.fixture
def calls(home: Path) -> Callable[[], list[tuple[int, int]]]:
    """Return input and output tokens of every call in the ledger."""

    def read() -> list[tuple[int, int]]:
        from safellm.client import _open_ledger

        return [(one.input_tokens, one.output_tokens) for one in _open_ledger(home / "ledger.sqlite3").usage()]

    return read


@pytest.fixture
def page(provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run the code of a section of `docs/frameworks.md` and return its names."""

    def run(section: str) -> dict[str, Any]:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
        text = _PAGE.read_text("utf-8")
        (part,) = [one for one in re.split(r"^## ", text, flags=re.MULTILINE) if one.startswith(f"{section}\n")]
        (code,) = re.findall(r"```py\n(.*?)```", part, re.DOTALL)
        names: dict[str, Any] = {"__name__": "snippet"}
        exec(compile(code, section, "exec"), names)
        return names

    return run


def refusal_in(error: BaseException | None) -> safellm.Refused | None:
    """Return the refusal in a chain of errors, however deep the framework has wrapped it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, safellm.Refused):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
