"""The real SDK, sync and async behind one face, against the Gemini API of the loopback provider."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import BaseFace, showing

from safellm.google import genai

MODEL = "gemini-2.5-flash"


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every test has a folder of its own and leaves nothing behind."""


class Face(BaseFace):
    """Guarded clients of Google's SDK, which have both sides in one."""

    def client(self, server: Any = None, **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            given = options.pop("http_options", {})
            options = {"api_key": "given-in-code", "http_options": {"base_url": server.origin, **given}, **options}
        return self.keep(genai.Client(**options))

    def of(self, client: Any) -> Any:
        return client.aio if self.is_async else client

    def ask(self, client: Any, text: Any = "hello", *, stream: bool = False, **options: Any) -> str:
        """Send a text and return the answer's text."""
        models = self.of(client).models
        if not stream:
            return self.run(models.generate_content(model=MODEL, contents=text, **options)).text
        chunks = self.all(models.generate_content_stream(model=MODEL, contents=text, **options))
        return "".join(chunk.text or "" for chunk in chunks)

    def close(self, thing: Any) -> None:
        self.run(thing.aio.aclose())
        thing.close()


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    yield from showing(Face, request.param)


@pytest.fixture
def sync() -> Iterator[Face]:
    """The sync face alone, where async would test nothing else."""
    yield from showing(Face, "sync")


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "AI" + "za" + "A1b2C3d4E5" * 3 + "fghij"
    monkeypatch.setenv("GEMINI_API_KEY", key)
    return key
