"""What the shells for httpx and httpx2 do to requests and responses, sync and async alike.

What needn't change isn't made anew: the copy of the request that is sent shares all but its headers, and the network's response
goes on as it is, with the guarded bytes as its stream or its content.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import timedelta
from time import perf_counter
from types import ModuleType
from typing import Any, TypeVar

from safellm._core.adapter import Adapter, LocalAnswer
from safellm._core.call import RequestHead
from safellm._core.effects import Forward
from safellm._core.exchange import Exchange
from safellm.errors import Refused
from safellm.transports.ahead import Ahead
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver
from safellm.transports.heads import ODD_BYTES
from safellm.transports.raw_headers import ways

REFUSAL = "safellm.refused"  # key in a response's extensions; they come from transports, never from the wire
_IDENTITY = (b"accept-encoding", b"accept-encoding", b"identity")
_ENCODING = frozenset({b"accept-encoding"})
_DESCRIBING = frozenset({b"accept-encoding", b"content-length", b"transfer-encoding"})  # also the body that is replaced
_SAME, _CHANGED = "headers that are sent", "headers that are sent with another body"
_LENGTH = b"content-length"
# Errors of both modules after which not a byte of the request can have left.
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError")

_Error = TypeVar("_Error", bound=BaseException)


def refusal_response(module: ModuleType, error: Refused, request: Any, body: bytes) -> Any:
    """Return the HTTP response that stands for a refusal.

    Args:
        module: httpx or httpx2.
        error: What a guard said.
        request: What was refused, of that module.
        body: The error as the provider would write it, JSON.
    """
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-should-retry": "false",  # the SDKs obey it: a refusal is final
        "x-safellm-reason": str(error.reason),
    }
    # Made from a stream: `response.elapsed` needs one to be closed.
    return module.Response(
        error.status, headers=headers, stream=module.ByteStream(body), extensions={REFUSAL: error}, request=request
    )


def without_frames(error: _Error) -> _Error:
    """Cut off frames and causes: their locals hold the request with the real key (THREATS K.4)."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def reads_at_once(head: RequestHead) -> bool:
    """Return whether the SDK that made a request reads an answer's body before anybody sees it, if that comes as a whole.

    OpenAI's and Anthropic's do, unless the program asks for the response to read from: both tell in their headers. What may be
    read line by line (the results of a batch) or as a file is asked for as one. Of other programs that isn't known.
    """
    return (
        head.header("x-stainless-lang") != ""
        and head.header("x-stainless-raw-response") != "stream"
        and head.header("accept") != "application/binary"
    )


class Parts:
    """The same for one of the modules."""

    __slots__ = ("headers_of", "items_of", "module")

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.items_of, self.headers_of = ways(module)

    def asked(self, request: Any) -> tuple[bool, dict[str, Any], list[tuple[bytes, bytes, bytes]]]:
        """Return what a request is now, so that what is checked is what is sent and remembered.

        To decide about it may take waiting for a person, and the request is the program's: meanwhile, it may change.

        Returns:
            Whether its kind is known, its parts, and its headers: name, name in lower case, value.
        """
        state = {**request.__dict__}
        state["extensions"] = {**request.extensions}
        return type(request) is self.module.Request, state, [*self.items_of(request.headers)]

    def outgoing(
        self, asked: tuple[bool, dict[str, Any], list[Any]], head: RequestHead, forward: Forward, driver: Driver, deadline: Deadline
    ) -> tuple[Any, bool]:  # fmt: skip
        """Return the request that is sent, and whether it holds a managed key.

        Args:
            asked: The program's, as it was when it was checked.
            head: Of it.
            forward: What becomes of it.
            driver: Has the keys.
            deadline: Of the call.
        """
        is_plain, state, items = asked
        if forward.own_headers and is_plain:
            body = forward.body
            sent, at, name = self._kept(items, head, body)
            sent.append(_IDENTITY)
            injected = driver.inject(sent)
            copied = object.__new__(self.module.Request)
            copied.__dict__.update(state)
            if body is not None:
                at = len(sent)
                sent.append((b"Content-Length", _LENGTH, b"%d" % len(body)))
                copied.stream, copied._content = self.module.ByteStream(body), body
            if at >= 0 and not injected:
                copied.safellm_known = (
                    head.known,
                    name,
                    at,
                )  # there `lean_parts` remembers what it makes of such headers
            copied.headers = self.headers_of(sent)
        else:
            headers, injected = driver.with_credentials(forward.headers)
            encoded = [(name.encode("latin-1"), value.encode("utf-8", ODD_BYTES)) for name, value in headers]
            content = {"stream": state["stream"]} if forward.body is None else {"content": forward.body}
            copied = self.module.Request(
                state["method"], state["url"], headers=encoded, extensions=state["extensions"], **content
            )
            copied.safellm_sign = state.get("safellm_sign")
        timeouts = copied.extensions.get("timeout")
        if timeouts and (timeouts.get("read") is None or timeouts["read"] > deadline.seconds):
            copied.extensions = {**copied.extensions, "timeout": {**timeouts, "read": deadline.seconds}}
        copied.safellm_passed = True  # a patched transport below lets it through: see `safellm.auto`
        return copied, injected

    def _kept(self, items: list[Any], head: RequestHead, body: bytes | None) -> tuple[list[Any], int, str]:
        """Return those of a request's headers that are sent.

        Heads that share what is known of them differ in their length alone, so these are found once.

        Returns:
            The headers; where the length stands in them, or -1; what this kind of request is called in what is known.
        """
        name = _SAME if body is None else _CHANGED
        known = head.known.get(name)
        if known is None or (known[1] >= 0 and items[known[2]][1] != _LENGTH):
            replaced = _ENCODING if body is None else _DESCRIBING
            kept = [item for item in items if item[1] not in replaced]
            places, from_ = ([at for at, item in enumerate(some) if item[1] == _LENGTH] for some in (kept, items))
            known = head.known[name] = (kept, *((places[0], from_[0]) if len(places) == 1 else (-1, -1)))
        kept, at, place = known
        sent = [*kept]
        if at >= 0:
            sent[at] = items[place]
        return sent, at, name

    def local(self, answer: LocalAnswer) -> Any:
        """Return the response that stands for a guard's answer in the provider's place."""
        headers = {"content-type": answer.content_type, "content-length": str(len(answer.body))}
        return self.module.Response(200, headers=headers, stream=self.module.ByteStream(answer.body))

    def refusal(self, error: Refused, request: Any, adapter: Adapter) -> Any:
        """Return the response that stands for a refusal."""
        return refusal_response(self.module, error, request, adapter.refusal_body(error))

    def raised(self, error: Refused, request: Any, driver: Driver) -> Exception:
        """Return what the program's loop over a stream gets: the SDK's own kind of error where there is one."""
        response = self.refusal(error, request, driver.tools.adapter)
        return driver.native(error, response) if driver.native is not None else error

    def refused(self, error: Refused, request: Any, driver: Driver) -> Any:
        """Answer a refusal, or raise it where the SDK has no place for its own errors of our making."""
        if driver.raises:
            raise self.raised(error, request, driver) from None
        return self.refusal(error, request, driver.tools.adapter)

    def answered(
        self, inner: Any, kept: tuple[tuple[str, str], ...] | None, stream: Any, length: int | None = None
    ) -> Any:
        """Return the response for the program.

        Args:
            inner: What the network's transport answered. It goes on itself, unless its body is in it already.
            kept: Headers that stay, of those that it has; None for all.
            stream: The body.
            length: Of the body, if it is known and not said.
        """
        headers = inner.headers
        if kept is not None:
            names = {name for name, _ in kept}
            left = [item for item in self.items_of(headers) if item[1].decode("latin-1") in names]
            if length is not None:
                left.append((b"content-length", b"content-length", b"%d" % length))
            headers = self.headers_of(left)
        if type(inner) is self.module.Response and "_content" not in inner.__dict__:
            inner.headers, inner.stream = headers, stream
            return inner
        return self.module.Response(inner.status_code, headers=headers, stream=stream, extensions=inner.extensions)

    def whole(
        self, inner: Any, exchange: Exchange, headers: tuple[tuple[str, str], ...], body: bytes, begun: float | None
    ) -> Any:
        """Return the response for the program when all of its body is here.

        Args:
            inner: What the network's transport answered.
            exchange: Says whether anything differs.
            headers: Those that stay, if it does.
            body: What the program gets.
            begun: When the call did, if its SDK reads the body at once: then all that reading does to a response is done here,
                where it costs an assignment instead of six layers of generators. No encoding is left to be undone.
        """
        length = None if exchange.untouched else len(body)
        response = self.answered(inner, None if exchange.untouched else headers, self.module.ByteStream(body), length)
        if begun is not None:
            response._content, response._num_bytes_downloaded = body, len(body)
            response.is_closed = response.is_stream_consumed = True
            response.elapsed = timedelta(seconds=perf_counter() - begun)
        return response

    def pairs(self, response: Any) -> tuple[tuple[str, str], ...]:
        """Return the headers of a response as text."""
        items = self.items_of(response.headers)
        return tuple([(name.decode("latin-1"), value.decode("utf-8", ODD_BYTES)) for _, name, value in items])

    def is_own(self, error: BaseException) -> bool:
        """Return whether an error of a stream that was closed while it was read is one that the library would raise as well."""
        return isinstance(error, self.module.TransportError) or not isinstance(error, Exception)

    def closed(self) -> Exception:
        """Return what reading a stream says that was closed before its end; in the library the connection says it."""
        return self.module.ReadError("The stream was closed before its end")  # type: ignore[no-any-return]

    @staticmethod
    def ahead_of(inner: Any, driver: Driver) -> Ahead:
        """Return what looks ahead; nobody where a grant is held, which may be revoked between two pieces (THREATS K.10)."""
        return Ahead(inner.extensions.get("network_stream") if driver.grant is None else None)

    @staticmethod
    def failure_of(error: BaseException) -> tuple[str, bool]:
        """Return the kind of a transport error, and whether anything can have been sent."""
        name = type(error).__name__
        if isinstance(error, Refused):
            return "refused", error.sent
        kind = "timeout" if "Timeout" in name else "connection" if isinstance(error, Exception) else "cancelled"
        return kind, name not in _NOT_SENT
