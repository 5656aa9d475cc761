"""The real SDK, sync and async behind one face, so that each behaviour is written once and tested in both."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import BaseFace, showing

import openai
import safellm
from safellm.testing.provider import LoopbackProvider

SDK = tuple(int(part) for part in openai.VERSION.split(".")[:2])
# From 3.0 on the SDK speaks httpx2, and takes clients of httpx as well where that is installed.
NATIVE = "httpx2" if SDK >= (3, 0) else "httpx"
FAMILIES = [
    name for name in ("httpx2", "httpx") if name == NATIVE or (SDK >= (3, 0) and importlib.util.find_spec(name))
]


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every end-to-end test has a folder of its own and leaves nothing behind."""


class Face(BaseFace):
    """Guarded clients of OpenAI's SDK."""

    def pick(self, name: str, module: Any = safellm) -> Any:
        """Return a class of a module by its sync name."""
        return getattr(module, f"Async{name}" if self.is_async else name)

    def client(self, server: Any = None, *, name: str = "OpenAI", module: Any = safellm, **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            options = {"base_url": server.base_url, "api_key": "given-in-code", **options}
        return self.keep(self.pick(name, module)(**{"max_retries": 0, **options}))

    def http(self, family: Any, **options: Any) -> Any:
        """Return a plain HTTP client of a family; closed when the test ends."""
        return self.keep((family.AsyncClient if self.is_async else family.Client)(**options))

    def first(self, items: Any) -> Any:
        return self.run(anext(items)) if hasattr(items, "__anext__") else next(iter(items))

    def enter(self, manager: Any) -> Any:
        return self.run(manager.__aenter__() if hasattr(manager, "__aenter__") else manager.__enter__())

    def leave(self, manager: Any) -> None:
        self.run(
            manager.__aexit__(None, None, None) if hasattr(manager, "__aexit__") else manager.__exit__(None, None, None)
        )

    def ask(self, client: Any, text: str = "hello", *, api: str = "chat", stream: bool = False, **options: Any) -> str:
        """Send one user text and return the answer's text."""
        if api == "chat":
            made = self.run(
                client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": text}], stream=stream, **options
                )
            )
            if not stream:
                return str(made.choices[0].message.content)
            chunks = self.all(made)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        made = self.run(client.responses.create(model="gpt-4o", input=text, stream=stream, **options))
        if not stream:
            return str(made.output_text)
        return "".join(event.delta for event in self.all(made) if event.type == "response.output_text.delta")


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    yield from showing(Face, request.param)


@pytest.fixture
def sync() -> Iterator[Face]:
    """The sync face alone, where async would test nothing else."""
    yield from showing(Face, "sync")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    """An HTTP library that the installed SDK takes clients of."""
    return importlib.import_module(request.param)


@pytest.fixture
def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def client(face: Face, provider: LoopbackProvider) -> Any:
    return face.client(provider)


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "sk-" + "proj-" + "A1b2C3d4E5" * 4
    monkeypatch.setenv("OPENAI_API_KEY", key)
    return key


@pytest.fixture
def usage(home: Path) -> Callable[[], list[Any]]:
    """Return what the ledger says was billed."""

    def read() -> list[Any]:
        from safellm.stores.ledger.choose import file_ledger

        return file_ledger(home / "ledger.sqlite3").usage()

    return read


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a process of its own; it must end within a minute."""

    def run(code: str, *arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
