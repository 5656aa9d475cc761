"""Async faces of sync clients: the SDK has no async client for REST, so its calls run in worker threads."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_END = object()


class AsyncFace:
    """A sync client of the SDK whose methods are awaited. A call that is cancelled ends in its thread, and is settled there."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return _awaited(value) if callable(value) and not name.startswith("_") else value

    async def create_file(self, *_: object, **__: object) -> Any:
        """Refuse, as the SDK does."""
        raise NotImplementedError("The `create_file` method is currently not supported for the asynchronous client.")


class AsyncItems:
    """A sync stream or pager, iterated without blocking the loop."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._iterator: Any = None

    def __aiter__(self) -> AsyncItems:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._items)
        item = await asyncio.to_thread(next, self._iterator, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)


def _awaited(call: Callable[..., Any]) -> Callable[..., Any]:
    async def run(*args: Any, **options: Any) -> Any:
        result = await asyncio.to_thread(call, *args, **options)
        # Streams and pagers are iterators or have pages; a protobuf message is neither.
        return AsyncItems(result) if hasattr(result, "__next__") or hasattr(result, "pages") else result

    return run
