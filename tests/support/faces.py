"""Sync and async behind one face, so that each behaviour is written once and tested in both."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, TypeVar

Face = TypeVar("Face", bound="BaseFace")


class BaseFace:
    """Sync or async, called the same; what it was told to keep is closed when the test ends."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._kept: list[Any] = []

    @property
    def is_async(self) -> bool:
        return self.kind == "async"

    def keep(self, client: Any) -> Any:
        """Close a client when the test ends."""
        self._kept.append(client)
        return client

    def run(self, value: Any) -> Any:
        return self._runner.run(_await(value)) if inspect.isawaitable(value) else value

    def all(self, items: Any) -> list[Any]:
        """Return everything of an iterable, a stream or a page, or of a call that gives one."""
        items = self.run(items)
        return self.run(_collect(items)) if hasattr(items, "__aiter__") else list(items)

    def close(self, thing: Any) -> None:
        self.run(thing.aclose() if hasattr(thing, "aclose") else thing.close())

    def end(self) -> None:
        for client in self._kept:
            self.close(client)
        self._runner.close()


def showing(kind: type[Face], name: str) -> Iterator[Face]:
    """Give a test a face, and close what it kept."""
    made = kind(name)
    yield made
    made.end()


async def _await(value: Any) -> Any:
    return await value


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]
