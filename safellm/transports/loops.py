"""One connection pool for each event loop: an async client of a program that runs many loops, one after the other.

Connections belong to the loop that opened them. `google-genai` makes one HTTP client for all loops, and keeps a pool for each
inside it, where no transport could be guarded; so the pools are kept here, below the guard.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any


def per_loop(module: ModuleType, make: Callable[[], Any]) -> Any:
    """Return an async transport that sends through a client of the running loop.

    Args:
        module: httpx or httpx2.
        make: Returns a new async client of that module: its transport and mounts carry the requests.
    """
    return _transport(module)(make)


@cache
def _transport(module: ModuleType) -> type:
    class PerLoopTransport(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Sends through a client of the running loop."""

        def __init__(self, make: Callable[[], Any]) -> None:
            self._make = make
            self.safellm_each: Callable[[Any], None] | None = None  # told of each client before it sends
            self._lock = threading.Lock()
            self._clients: dict[Any, Any] = {}

        async def handle_async_request(self, request: Any) -> Any:
            # A client's own choice of transport: environment proxies and mounts are among them.
            transport = self._client()._transport_for_url(request.url)  # noqa: SLF001
            return await transport.handle_async_request(request)

        async def aclose(self) -> None:
            with self._lock:
                client = self._clients.pop(asyncio.get_running_loop(), None)
            if client is not None:
                await client.aclose()

        def _client(self) -> Any:
            loop = asyncio.get_running_loop()
            with self._lock:
                # A client of a loop that is closed can't be closed any more; dropping it gives its sockets back.
                for other in [one for one in self._clients if one.is_closed()]:
                    del self._clients[other]
                if loop not in self._clients:
                    client = self._make()
                    if self.safellm_each is not None:
                        self.safellm_each(client)
                    self._clients[loop] = client
                return self._clients[loop]

    return PerLoopTransport
