"""Shells for libraries that are none of httpx's family: their requests go through its shell, and the answers back.

The library still sends, over its own connection: it stands under the shell as a transport stands under a client. In strict mode
one of ours sends, whose connection is checked when it is opened (THREATS E.6-E.8).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from safellm.auto import gate
from safellm.auto.targets import Target
from safellm.errors import Reason, Refused

Pairs = Iterable[tuple[bytes, bytes]]
_UNPREPARED = frozenset({b"host", b"content-length", b"transfer-encoding"})  # said anew, for the body that is at hand


def family() -> ModuleType:
    """Return httpx2, else httpx; the `openai` SDK, which safellm needs, brings one of them."""
    name = "httpx2" if importlib.util.find_spec("httpx2") is not None else "httpx"
    return importlib.import_module(name)


def request_of(  # noqa: PLR0913 - the parts of a request
    method: str, url: str, place: tuple[str, str], headers: Pairs, body: bytes, *,
    seconds: Mapping[str, float | None], renamed: bool = False,
) -> Any:  # fmt: skip
    """Return a request of `family()` that says what a library is about to send.

    Args:
        method: Of HTTP.
        url: Absolute.
        place: Host, without brackets, and path with query, as the library will send them.
        headers: As the library will send them. `Host` counts, for it can move a call; what describes the length is said anew.
        body: All of it, uncompressed.
        seconds: How long the library waits to connect and for each read; None for ever.
        renamed: TLS is told another name than the URL's.

    Raises:
        Refused: the URL can be read in two ways (THREATS E.3).
    """
    module = family()
    extensions: dict[str, Any] = {"timeout": {"connect": None, "read": None, "write": None, "pool": None, **seconds}}
    if renamed:
        extensions["sni_hostname"] = ""  # its name alone refuses the request (THREATS E.5)
    kept = [(name, value) for name, value in headers if name.lower() not in _UNPREPARED or name.lower() == b"host"]
    try:
        made = module.Request(method, url, headers=kept, content=body, extensions=extensions)
        read = (made.url.raw_host.decode("ascii").strip("[]"), unquote(made.url.raw_path.decode("ascii")))
    except (module.InvalidURL, ValueError):
        read = None
    if read != (place[0].lower(), unquote(place[1])):
        raise Refused(
            "The URL can be read in two ways",
            guard="egress",
            reason=Reason.EGRESS_REQUEST,
            remedy="Write host, port and path plainly.",
            status=400,
        )
    return made


def headers_of(forwarded: Any, encoding: str) -> list[tuple[str, str]]:
    """Return the headers that a library has to send; it says itself what describes the connection and the length.

    Args:
        forwarded: Of `family()`.
        encoding: In which the library writes values.
    """
    return [
        (name.decode("latin-1"), value.decode(encoding, "surrogateescape"))
        for name, value in forwarded.headers.raw
        if name.lower() not in _UNPREPARED
    ]


def _may_be_sent(_: Exception) -> bool:
    return False


def send(request: Any, target: Target, library: str, transport: Callable[[Any], Any]) -> Any:
    """Return the guarded answer to a request.

    Args:
        request: Of `family()`.
        target: Where it goes.
        library: Whose request it is, for records.
        transport: Sends a request of `family()` by the library's own means and returns a response of `family()`.

    Raises:
        Refused: a guard, or there is none for it.
    """
    return _or_raise(respond(request, target, library, transport))


def respond(
    request: Any, target: Target, library: str, transport: Callable[[Any], Any], unsent: Callable[[Exception], bool] = _may_be_sent
) -> Any:  # fmt: skip
    """Return the guarded answer to a request, or the one that stands for a refusal; as `send`.

    Args:
        request: See `send`.
        target: See `send`.
        library: See `send`.
        transport: See `send`.
        unsent: Says of an error of the library whether not a byte of the request can have left.
    """
    from safellm.auto.seam_httpx import Inner, check_strict, refused  # noqa: PLC0415 - with the first call to a model
    from safellm.transports.http import guard_transport  # noqa: PLC0415

    module = family()
    kept: list[Exception] = []

    def carried(forwarded: Any) -> Any:
        try:
            return transport(forwarded)
        except Exception as error:
            if not unsent(error):
                raise
            kept.append(error)
        raise module.ConnectError("not sent")

    try:
        driver = gate.driver_of(target, native=False, library=library)
        check_strict(driver, request)
    except Refused as error:
        return refused(module, request, error)
    way = _checked(module, driver) if driver.tools.policy.is_strict else carried
    shell = guard_transport(module, Inner(module, driver, target.origin, way), driver)
    try:
        answer = shell.handle_request(request)
        return answer if driver.broker is None else _ended_with(answer, shell)
    except module.ConnectError:
        if not kept:
            raise
    raise _told(kept[0], driver)


async def send_async(request: Any, target: Target, library: str, transport: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return the guarded answer to a request of an async library; as `send`."""
    return _or_raise(await respond_async(request, target, library, transport))


async def respond_async(
    request: Any, target: Target, library: str, transport: Callable[[Any], Awaitable[Any]],
    unsent: Callable[[Exception], bool] = _may_be_sent,
) -> Any:  # fmt: skip
    """Return the guarded answer to a request of an async library; as `respond`."""
    from safellm.auto.seam_httpx import AsyncInner, check_strict, refused  # noqa: PLC0415 - with the first call to a model
    from safellm.transports.http import guard_transport, in_thread  # noqa: PLC0415

    module = family()
    kept: list[Exception] = []

    async def carried(forwarded: Any) -> Any:
        try:
            return await transport(forwarded)
        except Exception as error:
            if not unsent(error):
                raise
            kept.append(error)
        raise module.ConnectError("not sent")

    try:
        driver = await in_thread(gate.driver_of, target, native=False, library=library)
        await in_thread(check_strict, driver, request)
    except Refused as error:
        return refused(module, request, error)
    way = _checked_async(module, driver) if driver.tools.policy.is_strict else carried
    shell = guard_transport(module, AsyncInner(module, driver, target.origin, way), driver)
    try:
        answer = await shell.handle_async_request(request)
        return answer if driver.broker is None else _ended_with_async(answer, shell)
    except module.ConnectError:
        if not kept:
            raise
    raise _told(kept[0], driver)


def denied(error: Refused, target: Target, library: str) -> Any:
    """Record the refusal of a request that no guard was asked about, and return the response that stands for it."""
    from safellm.auto.seam_httpx import refused  # noqa: PLC0415 - with the first call to a model

    gate.record(target, error, library)
    return refused(family(), None, error)


def _or_raise(answer: Any) -> Any:
    error = refusal_of(answer)
    if error is not None:
        raise error
    return answer


def refusal_of(answer: Any) -> Refused | None:
    """Return what a response of `family()` stands for, if that is a refusal."""
    from safellm.transports.http import REFUSAL  # noqa: PLC0415 - loaded with the first call to a model

    error = answer.extensions.get(REFUSAL)
    return error if isinstance(error, Refused) else None


def _told(error: Exception, driver: Any) -> Exception:
    """Return a library's own error; its frames may hold the request with a managed key (THREATS K.4)."""
    from safellm.transports.http_parts import without_frames  # noqa: PLC0415 - loaded with the first call to a model

    return without_frames(error) if driver.credentials else error


def _checked(module: ModuleType, driver: Any) -> Callable[[Any], Any]:
    """Return what sends in strict mode: a transport of ours for each call, closed with its answer."""

    def send_over(forwarded: Any) -> Any:
        from safellm.auto.seam_httpx import line_of  # noqa: PLC0415 - loaded with the first call to a model

        line = line_of(module.Client, module, driver)
        try:
            return _ended_with(line.handle_request(forwarded), line)
        except BaseException:
            line.close()
            raise

    return send_over


def _checked_async(module: ModuleType, driver: Any) -> Callable[[Any], Awaitable[Any]]:
    async def send_over(forwarded: Any) -> Any:
        from safellm.auto.seam_httpx import line_of  # noqa: PLC0415 - loaded with the first call to a model

        line = line_of(module.AsyncClient, module, driver)
        try:
            return _ended_with_async(await line.handle_async_request(forwarded), line)
        except BaseException:
            await line.aclose()
            raise

    return send_over


def _ended_with(answer: Any, transport: Any) -> Any:
    """Return an answer with which the transport that brought it is closed."""
    stream = answer.stream

    def close() -> None:
        stream.close()
        transport.close()

    answer.stream = stream_of(iter(stream), close)
    return answer


def _ended_with_async(answer: Any, transport: Any) -> Any:
    stream = answer.stream

    async def close() -> None:
        await stream.aclose()
        await transport.aclose()

    answer.stream = async_stream_of(aiter(stream), close)
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
