"""The last check before a connection is opened: resolve once, check every address, connect to a checked one (THREATS E.7).

It stands where httpcore and httpcore2 open sockets, below TLS, so the name on the certificate stays the name of the call. A call
on a pooled connection doesn't come here at all.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from safellm._core.addresses import Kind, allowed_kinds, first_forbidden
from safellm._core.origin import parse_origin
from safellm.errors import Reason, Refused
from safellm.transports.deadline import remaining
from safellm.transports.driver import Driver

_STAGGER_SECONDS = 0.25  # RFC 8305 5: the next address is tried when the one before hasn't answered by then


def checked_backend(core: ModuleType, inner: Any, driver: Driver | None) -> Any:
    """Return a network backend that connects to checked addresses only, and keeps to the time of a call.

    Args:
        core: httpcore or httpcore2.
        inner: The backend that opens sockets, sync or async.
        driver: Knows where calls may go; None for a connection to a proxy, which resolves names itself.
    """
    kinds = _backends(core)
    return kinds[isinstance(inner, core.AsyncNetworkBackend)](inner, driver)


def http_module() -> ModuleType:
    """Return the HTTP library for calls of our own: the one that the newest SDKs bring, else its older sister."""
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        return importlib.import_module("httpx")


def check_addresses(host: str, port: int, addresses: list[str], driver: Driver) -> None:
    """Refuse a connection when one of the addresses that a name leads to may not be reached.

    Raises:
        Refused: `egress.address`.
    """
    policy = driver.tools.policy
    given = driver.bounds.origins.difference(driver.tools.adapter.origins)
    allowed = allowed_kinds(
        host,
        port,
        private=[parse_origin(text) for text in policy.egress.private],
        in_code=given,
        strict=policy.is_strict,
    )
    kind = first_forbidden(addresses, allowed)
    if kind is None:
        return
    if kind is Kind.METADATA:
        remedy = "Nothing can bind this address: it hands out the credentials of the machine."
    elif Kind.PUBLIC not in allowed:
        remedy = "This name has to lead to this machine: look into the hosts file."
    else:
        remedy = f"If that is right, list the origin in the policy: egress.private = ['https://{host}:{port}']."
    raise Refused(
        f"The name {host} leads to an address that is {kind}, where this call may not go",
        guard="egress",
        reason=Reason.EGRESS_ADDRESS,
        remedy=remedy,
    )


def unique_addresses(found: list[Any]) -> list[str]:
    """Return the addresses of what `getaddrinfo` answered, each once."""
    return list(dict.fromkeys(str(one[4][0]) for one in found))


@cache
def _backends(core: ModuleType) -> dict[bool, Callable[[Any, Driver | None], Any]]:  # noqa: C901 - two backends, made together
    class TimedStream(core.NetworkStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """A connection whose reads and writes end with the time of the call that waits for them (THREATS E.9).

        Attributes:
            came: What the last read brought; see `ahead`.
        """

        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.came = b""
            self.close, self.get_extra_info = inner.close, inner.get_extra_info

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            try:
                self.came = self._inner.read(max_bytes, remaining(timeout))
            except core.TimeoutException:
                remaining(None)  # the call's own limit is told as what it is
                raise
            return self.came

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            try:
                self._inner.write(buffer, remaining(timeout))
            except core.TimeoutException:
                remaining(None)
                raise

        def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
            return TimedStream(self._inner.start_tls(ssl_context, server_hostname, remaining(timeout)))

    class CheckedBackend(core.NetworkBackend):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Connects to checked addresses, one after the other."""

        def __init__(self, inner: Any, driver: Driver | None) -> None:
            self._inner, self._driver = inner, driver

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> Any:
            timeout = remaining(timeout)
            if self._driver is None:
                return TimedStream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options or ()))
            begun = time.monotonic()
            try:
                addresses = unique_addresses(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
            except OSError as error:
                raise core.ConnectError(str(error)) from error
            check_addresses(host, port, addresses, self._driver)
            failed: Exception | None = None
            for address in addresses:
                left = None if timeout is None else timeout - (time.monotonic() - begun)
                if left is not None and left <= 0:
                    raise failed or core.ConnectTimeout("timed out")
                try:
                    return TimedStream(
                        self._inner.connect_tcp(address, port, left, local_address, socket_options or ())
                    )
                except (core.ConnectError, core.ConnectTimeout) as error:
                    failed = error
            raise failed or core.ConnectError("the name leads nowhere")

        def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
            return self._inner.connect_unix_socket(path, timeout, socket_options)

        def sleep(self, seconds: float) -> None:
            self._inner.sleep(seconds)

    class AsyncStream(core.AsyncNetworkStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """A connection that remembers what came last; the time of its calls is bound above it.

        Attributes:
            came: What the last read brought; see `ahead`.
        """

        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.came = b""
            self.write, self.aclose, self.get_extra_info = inner.write, inner.aclose, inner.get_extra_info

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's interface
            self.came = came = await self._inner.read(max_bytes, timeout)
            return came  # type: ignore[no-any-return]

        async def start_tls(
            self,
            ssl_context: Any,
            server_hostname: str | None = None,
            timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        ) -> Any:
            return AsyncStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    class AsyncCheckedBackend(core.AsyncNetworkBackend):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async client, with several addresses at once (RFC 8305)."""

        def __init__(self, inner: Any, driver: Driver | None) -> None:
            self._inner, self._driver = inner, driver

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> Any:
            if self._driver is None:
                return AsyncStream(
                    await self._inner.connect_tcp(host, port, timeout, local_address, socket_options or ())
                )
            import anyio  # noqa: PLC0415 - sync programs never need it

            begun = time.monotonic()
            try:
                with anyio.fail_after(timeout):
                    found = await anyio.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            except TimeoutError as error:
                raise core.ConnectTimeout(str(error)) from error
            except OSError as error:
                raise core.ConnectError(str(error)) from error
            addresses = unique_addresses(found)
            check_addresses(host, port, addresses, self._driver)
            left = None if timeout is None else max(timeout - (time.monotonic() - begun), 0)

            async def connect(address: str) -> Any:
                return await self._inner.connect_tcp(address, port, left, local_address, socket_options or ())

            return AsyncStream(
                await (connect(addresses[0]) if len(addresses) == 1 else _first(core, connect, addresses))
            )

        async def connect_unix_socket(
            self,
            path: str,
            timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
            socket_options: Any = None,
        ) -> Any:
            return await self._inner.connect_unix_socket(path, timeout, socket_options)

        async def sleep(self, seconds: float) -> None:
            await self._inner.sleep(seconds)

    return {False: CheckedBackend, True: AsyncCheckedBackend}


async def _first(core: ModuleType, connect: Callable[[str], Any], addresses: list[str]) -> Any:
    """Return the first connection that stands; each next address is tried when the one before fails or takes long."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    made: list[Any] = []
    failed: list[Exception] = []

    async with anyio.create_task_group() as group:

        async def attempt(address: str, over: Any) -> None:
            try:
                stream = await connect(address)
            except (core.ConnectError, core.ConnectTimeout) as error:
                failed.append(error)
                over.set()
                return
            if made:  # another was first
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
                return
            made.append(stream)
            group.cancel_scope.cancel()

        for address in addresses:
            over = anyio.Event()
            group.start_soon(attempt, address, over)
            with anyio.move_on_after(_STAGGER_SECONDS):
                await over.wait()
    if made:
        return made[0]
    raise failed[0] if failed else core.ConnectError("the name leads nowhere")
