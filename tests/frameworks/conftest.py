"""Frameworks on a guarded client: what leaves the machine and what the framework gets. Each file needs its framework.

A file whose framework isn't installed is not collected, unless it is named on the command line: the nox sessions
`frameworks` and `frameworks_httpx` name theirs, so there a missing framework is an error.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm.testing.http_server import SeenRequest
from safellm.testing.provider import LoopbackProvider

_HERE = Path(__file__).parent
_PAGE = _HERE.parents[1] / "docs" / "frameworks.md"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_LEAVING = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}


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
        "test_frameworks_dspy.py": "dspy",
        "test_frameworks_instructor.py": "instructor",
        "test_frameworks_langchain.py": "langchain-openai",
        "test_frameworks_llama_index.py": "llama-index-llms-openai",
        "test_frameworks_pydantic_ai.py": "pydantic-ai-slim",
    }.items()
    if _is_missing(distribution)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the frameworks warn: what they use of each other and leave open is not safellm's business."""
    for item in items:
        if item.path.parent == _HERE:
            item.add_marker(pytest.mark.filterwarnings("default"))


class Watch:
    """Stops every look-up and connection that leaves this machine, and remembers it: a framework may swallow the error."""

    def __init__(self) -> None:
        self.on = False
        self.stopped: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in _LEAVING:
            return
        host = arguments[0]
        if event in {"socket.connect", "socket.sendto"}:
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None  # else a socket in the file system
        host = host.decode() if isinstance(host, bytes) else host
        if host is not None and host not in _LOOPBACK:
            self.stopped.append(str(host))
            message = f"the test allows no connection to {host}"
            raise OSError(message)


_watch = Watch()


@pytest.fixture(scope="session")
def _hooked() -> None:
    """Put the watch in: it can't be taken out again, so there is one for the process, and only where it is used."""
    sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def watch(home: Path, _hooked: None) -> Iterator[Watch]:
    """Fail a test that tried to reach anything but this machine."""
    _watch.stopped.clear()
    _watch.on = True
    yield _watch
    _watch.on = False
    assert _watch.stopped == []


class Bench:
    """A provider, guarded clients for it, and what can be seen on both sides."""

    mail = "alice@example.com"
    card = "4111 1111 1111 1111"
    said = f"Write to {mail} that card {card} expired."
    echoed = f'You wrote: "{said}"'  # the provider's answer when nothing is scripted, restored

    def __init__(self, provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one_request = {"limits": [{"requests": 1}]}
        self.provider = provider
        self._home = home
        self._monkeypatch = monkeypatch
        self._clients: list[Any] = []

    def client(self, kind: str = "OpenAI", **settings: Any) -> Any:
        """Return a guarded client with the SDK's own retries; `settings` are policy values."""
        address = {"base_url": self.provider.base_url, "api_key": "given-in-code"}
        return self._keep(getattr(safellm, kind)(**address, safellm=settings))

    def _keep(self, client: Any) -> Any:
        self._clients.append(client)
        return client

    def page(self, section: str) -> dict[str, Any]:
        """Run the code of a section of the documentation, and return its names."""
        self._monkeypatch.setenv("OPENAI_BASE_URL", self.provider.base_url)
        self._monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
        for kind in ("OpenAI", "AsyncOpenAI"):
            made = partial(lambda original, **options: self._keep(original(**options)), getattr(safellm, kind))
            self._monkeypatch.setattr(safellm, kind, made)
        text = _PAGE.read_text("utf-8")
        (part,) = [one for one in re.split(r"^## ", text, flags=re.MULTILINE) if one.startswith(f"{section}\n")]
        (code,) = re.findall(r"```py\n(.*?)```", part, re.DOTALL)
        names: dict[str, Any] = {"__name__": "snippet"}
        exec(compile(code, section, "exec"), names)
        return names

    def hidden(self, request: SeenRequest) -> tuple[str, str]:
        """Return the placeholders of mail and card in a request."""
        found = [re.search(rb"X-%s-[0-9A-Z]{16}" % kind, request.body) for kind in (b"EMAIL", b"CREDIT_CARD")]
        assert all(found)
        mail, card = (one[0].decode() for one in found if one)
        return mail, card

    def check(self, requests: int) -> None:
        """So many requests arrived, all with placeholders and none with a value; each is in the ledger with its tokens."""
        from safellm.stores.ledger.choose import file_ledger

        assert len(self.provider.requests) == requests
        for seen in self.provider.requests:
            self.hidden(seen)
            for value in (self.mail, self.card, self.card.replace(" ", "")):
                assert value.encode() not in seen.head + seen.body
        used = file_ledger(self._home / "ledger.sqlite3").usage()
        assert sum(one.requests for one in used) == requests
        assert sum(one.input_tokens for one in used) >= 10 * requests  # the prompt alone has more
        assert all(one.output_tokens > 0 for one in used if one.operation != "embeddings")

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """The block must end with a budget refusal, however deep the framework has wrapped it."""
        with pytest.raises(Exception) as caught:
            yield
        chain: list[BaseException] = []
        error: BaseException | None = caught.value
        while error is not None and error not in chain:
            chain.append(error)
            error = error.__cause__ or error.__context__
        (refusal,) = [one for one in chain if isinstance(one, safellm.Refused)]
        assert refusal.reason == safellm.Reason.BUDGET_EXCEEDED
        assert not any(value in str(one) for one in chain for value in (self.mail, self.card))

    async def close(self) -> None:
        for client in self._clients:
            closing = client.close()
            if inspect.isawaitable(closing):
                await closing


@pytest.fixture
async def bench(provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Async even for sync tests: clients are closed on the loop on which a framework's `run_sync` used them."""
    made = Bench(provider, home, monkeypatch)
    try:
        yield made
    finally:  # openai-agents shuts down the generators of the loop that it ran on, this one too
        await made.close()
