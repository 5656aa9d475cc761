"""Sending a request with a client of httpx or httpx2 in fewer steps, where nobody asked for authentication, hooks or a log.

The library's own way goes through generators for authentication, a loop for redirects, and six layers that read an answer. A
redirect goes on in the library, and so does whatever isn't plain. See `quick`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from functools import wraps
from logging import INFO
from time import perf_counter
from typing import Any, Final

from safellm.transports.memory import remember

KINDS: Final = "_safellm_kinds"
METHODS: Final = (
    "send", "_send_handling_auth", "_send_handling_redirects", "_send_single_request", "_transport_for_url",
)  # fmt: skip
MOST: Final = 8  # things that are remembered of one kind
_REDIRECTS: Final = range(300, 400)
_SPECIAL: Final = frozenset({b"content-encoding", b"set-cookie", b"set-cookie2"})
_WRAPS: Final = (["stream", "start"], ["stream", "response", "start"])  # what the stream that takes the time is made of


def are_known(module: Any, inside: Any) -> bool:
    """Return whether answers of a module, and its clients, are as we know them.

    Raises:
        AttributeError, TypeError: they are not.
    """
    client = module.Client(transport=module.MockTransport(lambda _: module.Response(200)))
    answer = module.Response(200)
    return (
        {"_content", "_num_bytes_downloaded", "is_stream_consumed", "is_closed", "stream"} <= answer.__dict__.keys()
        and {"_auth", "_state", "_transport", "_mounts", "_event_hooks", "_default_encoding"} <= client.__dict__.keys()
        and [*inspect.signature(inside.BoundSyncStream).parameters] in _WRAPS
        and [*inspect.signature(inside.BoundAsyncStream).parameters] in _WRAPS
        and client._state is inside.ClientState.UNOPENED
        and inside.logger.name == module.__name__
    )


def sends(module: Any, base: Any) -> Any:  # noqa: C901 - for both worlds
    """Return the `send` of clients of the class `base`."""
    ways = _Ways(module, base)
    original, default, failures = base.send, module.USE_CLIENT_DEFAULT, module.RequestError

    if hasattr(base, "aclose"):

        @wraps(original)
        async def send_async(
            self: Any, request: Any, *, stream: bool = False, auth: Any = default, follow_redirects: Any = default
        ) -> Any:
            transport = ways.plain(self, request, auth, follow_redirects)
            if transport is None:
                return await base.send(self, request, stream=stream, auth=auth, follow_redirects=follow_redirects)
            start = perf_counter()
            try:
                response = await transport.handle_async_request(request)
            except failures as error:
                error.request = request
                raise
            names = ways.take(self, request, response, start)
            try:
                if response.status_code in _REDIRECTS and response.has_redirect_location:
                    following = self._build_redirect_request(request, response)
                    await response.aread()
                    response = await self._send_handling_redirects(following, follow_redirects=True, history=[response])
                    names = _SPECIAL
                if not stream:
                    await (response.aclose() if ways.has_come(self, response, names) else response.aread())
            except BaseException:
                await response.aclose()
                raise
            return response

        return send_async

    @wraps(original)
    def send(
        self: Any, request: Any, *, stream: bool = False, auth: Any = default, follow_redirects: Any = default
    ) -> Any:
        transport = ways.plain(self, request, auth, follow_redirects)
        if transport is None:
            return base.send(self, request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        start = perf_counter()
        try:
            response = transport.handle_request(request)
        except failures as error:
            error.request = request
            raise
        names = ways.take(self, request, response, start)
        try:
            if response.status_code in _REDIRECTS and response.has_redirect_location:
                following = self._build_redirect_request(request, response)
                response.read()
                response = self._send_handling_redirects(following, follow_redirects=True, history=[response])
                names = _SPECIAL
            if not stream:
                response.close() if ways.has_come(self, response, names) else response.read()
        except BaseException:
            response.close()
            raise
        return response

    return send


class _Ways:
    """What both worlds need of a module, for clients of one class."""

    def __init__(self, module: Any, base: Any) -> None:
        inside: Any = inspect.getmodule(base.send)
        self._base, self._own = base, [(name, getattr(base, name)) for name in METHODS]
        self._default, self._body_of, self._plain = module.USE_CLIENT_DEFAULT, module.ByteStream, module.Request
        self._closed, self._opened = inside.ClientState.CLOSED, inside.ClientState.OPENED
        self._logger = inside.logger
        self._timed: Any = inside.BoundAsyncStream if hasattr(base, "aclose") else inside.BoundSyncStream
        self._knows_response = "response" in inspect.signature(self._timed).parameters

    def plain(self, client: Any, request: Any, auth: Any, follow: Any) -> Any:
        """Return the transport of a plain request, and open the client; None where the library has to send it."""
        hooks = client._event_hooks
        if (
            auth is not self._default or client._auth is not None
            or not (client.follow_redirects if follow is self._default else follow)
            or hooks["request"] or hooks["response"]
            or client._state is self._closed
            or type(request) is not self._plain or type(request.stream) is not self._body_of
            or "timeout" not in request.extensions or request.url._uri_reference.userinfo
            or self._logger.isEnabledFor(INFO)
        ):  # fmt: skip
            return None
        base = self._base
        for name, method in self._own:
            if getattr(base, name) is not method:  # somebody wants to see every request that is sent
                return None
        client._state = self._opened
        return client._transport_for_url(request.url) if client._mounts else client._transport

    def take(self, client: Any, request: Any, response: Any, start: float) -> Any:
        """Give a response what the library gives it; return the names of its headers."""
        names = [lower for _, lower, _ in response.headers._list]
        response.request, response.default_encoding, response.history = request, client._default_encoding, []
        if self._knows_response:
            response.stream = self._timed(response.stream, response=response, start=start)
        else:
            response.stream = self._timed(response.stream, start=start)
        if not _SPECIAL.isdisjoint(names):
            client.cookies.extract_cookies(response)
        return names

    def has_come(self, client: Any, response: Any, names: Any) -> bool:
        """Read an answer whose body is here, and not encoded; return whether it was one. It remains to be closed."""
        state = response.__dict__
        below: Any = getattr(state["stream"], "_stream", None)
        if (
            "_content" in state or type(below) is not self._body_of or state["is_stream_consumed"] or state["is_closed"]
            or b"content-encoding" in names
        ):  # fmt: skip
            return False
        state["_content"], state["_num_bytes_downloaded"] = below._stream, len(below._stream)
        state["is_stream_consumed"] = True
        known = client.__dict__.get(KINDS)
        if known is not None and names.count(b"content-type") == 1 and type(response.default_encoding) is str:
            key = (response.headers._list[names.index(b"content-type")][2], response.default_encoding)
            if key not in known:
                remember(known, key, response.encoding, most=MOST)
            state["_encoding"] = known[key]
        return True
