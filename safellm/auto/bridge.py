"""Shells for libraries that have none: their requests go through the shell of httpx, and the answers back.

The library still sends, over its own connection: it stands under the shell as a transport stands under a client.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

from safellm.auto import gate
from safellm.auto.targets import Target
from safellm.errors import Refused


def family() -> ModuleType:
    """Return httpx2, else httpx; the `openai` SDK, which safellm needs, brings one of them."""
    name = "httpx2" if importlib.util.find_spec("httpx2") is not None else "httpx"
    return importlib.import_module(name)


def send(request: Any, target: Target, library: str, transport: Callable[[Any], Any]) -> Any:
    """Return the guarded answer to a request.

    Args:
        request: Of `family()`.
        target: Where it goes.
        library: Whose request it is, for records.
        transport: Sends a request of `family()` by the library's own means and returns a response of `family()`.

    Raises:
        Refused: there is no guard for it.
    """
    from safellm.auto.seam_httpx import Inner, check_strict  # noqa: PLC0415 - with the first call to a model
    from safellm.transports.http import REFUSAL, guard_transport  # noqa: PLC0415

    module = family()
    driver = gate.driver_of(target, native=False, library=library)
    check_strict(driver, request)
    inner = Inner(module, driver, target.origin, transport)
    answer = guard_transport(module, inner, driver).handle_request(request)
    error = answer.extensions.get(REFUSAL)
    if isinstance(error, Refused):
        raise error
    return answer


async def send_async(request: Any, target: Target, library: str, transport: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return the guarded answer to a request of an async library; as `send`."""
    from safellm.auto.seam_httpx import AsyncInner, check_strict  # noqa: PLC0415 - with the first call to a model
    from safellm.transports.http import REFUSAL, guard_transport, in_thread  # noqa: PLC0415

    module = family()
    driver = await in_thread(gate.driver_of, target, native=False, library=library)
    await in_thread(check_strict, driver, request)
    inner = AsyncInner(module, driver, target.origin, transport)
    answer = await guard_transport(module, inner, driver).handle_async_request(request)
    error = answer.extensions.get(REFUSAL)
    if isinstance(error, Refused):
        raise error
    return answer


def stream_of(chunks: Iterator[bytes], close: Callable[[], None]) -> Any:
    """Return a byte stream of `family()` over a library's chunks."""

    class Stream(family().SyncByteStream):  # type: ignore[misc]  # the module is found at run time
        def __iter__(self) -> Iterator[bytes]:
            return iter(chunks)

        def close(self) -> None:
            close()

    return Stream()


def async_stream_of(chunks: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> Any:
    """Return an async byte stream of `family()` over a library's chunks."""

    class Stream(family().AsyncByteStream):  # type: ignore[misc]  # the module is found at run time
        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(chunks)

        async def aclose(self) -> None:
            await close()

    return Stream()
