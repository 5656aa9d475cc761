"""The shell for `requests`: guards every call of a session, whichever adapter carries it.

It reads the request, runs the exchange, sends what it forwards, and hands on what it answers. `requests` is sync, so ledger and
trail are simply called.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import parse_url

from safellm._core.call import RequestHead
from safellm._core.effects import Forward, Refuse
from safellm._core.exchange import Exchange, Form
from safellm._core.origin import Origin, make_origin
from safellm.errors import ConfigurationError, ProtocolMisuse, Reason, Refused
from safellm.stores.accounts import EXTENSION
from safellm.transports import requests_lean as lean
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver
from safellm.transports.requests_answer import Answer
from safellm.transports.requests_session import QuickSession
from safellm.transports.urllib3_parts import PIECE, arriving, waits, whole_body, within

REFUSAL = "safellm_refusal"  # attribute of a response that stands for a refusal
_WHOLE = frozenset({"content-length", "transfer-encoding"})


def guard_session(session: requests.Session, driver: Driver) -> requests.Session:
    """Return the session with every adapter guarded, those that are mounted later too.

    Args:
        session: Changed in place.
        driver: What guards.
    """
    if driver.broker is not None:
        raise ConfigurationError(
            "Calls through `requests` can't be sent to the broker",
            remedy="Use an SDK that speaks httpx (from safellm.google import genai), or unset SAFELLM_BROKER.",
        )
    if guard_of(session) is None:
        session.__dict__["safellm_driver"] = driver
        # A class and not a method of the object: it stays with copies of the session.
        session.__class__ = _guarded(type(session))  # type: ignore[arg-type]  # a class can be hashed
    return session


def guard_of(session: Any) -> Driver | None:
    """Return the driver of a session that is guarded already, else None."""
    driver = getattr(session, "__dict__", {}).get("safellm_driver")
    return driver if isinstance(driver, Driver) else None


@cache
def _guarded(base: type[requests.Session]) -> type[requests.Session]:
    class GuardedSession(QuickSession, base):  # type: ignore[misc, valid-type]  # the class is a parameter
        """A session whose adapters are guarded."""

        __attrs__: ClassVar[list[str]] = [*base.__attrs__, "safellm_driver"]

        def get_adapter(self, url: str) -> BaseAdapter:
            driver = self.safellm_driver
            if not driver.tools.policy.is_strict:
                return GuardAdapter(super().get_adapter(url), driver)
            if "safellm_checked" not in self.__dict__:
                from safellm.transports.checked_requests import CheckedAdapter  # noqa: PLC0415 - for strict mode only

                self.__dict__["safellm_checked"] = CheckedAdapter(driver)
            return GuardAdapter(self.__dict__["safellm_checked"], driver)

        def close(self) -> None:
            super().close()
            if (checked := self.__dict__.pop("safellm_checked", None)) is not None:
                checked.close()

    GuardedSession.__name__, GuardedSession.__qualname__ = base.__name__, base.__qualname__
    return GuardedSession


class GuardAdapter(BaseAdapter):
    """Guards what one adapter sends and receives."""

    def __init__(self, inner: BaseAdapter, driver: Driver) -> None:
        super().__init__()
        self._inner = inner
        self.safellm_driver = driver

    def send(self, request: requests.PreparedRequest, stream: bool = False, **options: Any) -> requests.Response:  # type: ignore[override]  # always streamed inside
        """Send a request if the guards let it pass; see `requests.adapters.BaseAdapter.send`.

        Raises:
            Refused: the SDK's own kind of it where there is one, if the driver raises.
        """
        driver = self.safellm_driver
        try:
            head = driver.heads.like(read_head(request, options.get("timeout")))
            body = whole_body(request.body)
        except Refused as error:
            driver.deny(error)
            return self._refused(error, request)
        asked = request.method, request.url  # now: while somebody decides about it, the program may change it
        exchange, decision = driver.begin(head, body)
        if isinstance(decision, Refuse):
            return self._refused(decision.error, request)
        deadline = Deadline(driver.tools.policy)
        try:
            inner, injected = self._forward(request, asked, decision, body, exchange, options, deadline)
        except Refused as error:  # by the check of the connection itself
            return self._refused(error, request)
        try:
            answer = exchange.response(inner.status_code, _pairs(inner))
            raw = _GuardedRaw(inner, exchange, driver, request, deadline, injected=injected)
            if answer.form is Form.WHOLE:
                whole = raw.whole()
                answered = _response(
                    inner, request, (*answer.headers, ("content-length", str(len(whole)))), self, exchange
                )
                if stream:  # the program may read it where it likes
                    raw.hold(whole)
                else:
                    answered._content = whole  # noqa: SLF001 - where `requests` keeps what it has read
                    answered._content_consumed = True  # noqa: SLF001
                answered.raw = raw
                return answered
        except Refused as error:
            driver.abandon(exchange, failure="refused")
            inner.close()
            return self._refused(error, request)
        answered = _response(inner, request, answer.headers, self, exchange)
        answered.raw = raw
        return answered

    def close(self) -> None:
        """Close the adapter."""
        self._inner.close()

    def _forward(  # noqa: PLR0913 - the parts of one call
        self,
        request: requests.PreparedRequest,
        asked: tuple[str | None, str | None],
        forward: Forward,
        body: bytes,
        exchange: Exchange,
        options: dict[str, Any],
        deadline: Deadline,
    ) -> tuple[requests.Response | Answer, bool]:
        driver = self.safellm_driver
        headers, injected = driver.with_credentials(forward.headers)
        sent = body if forward.body is None else forward.body
        copied = _without_headers(request)
        copied.method, copied.url = asked
        copied.headers = CaseInsensitiveDict((name, value) for name, value in headers if name.lower() not in _WHOLE)
        if sent or request.body is not None:
            copied.headers["content-length"] = str(len(sent))
        copied.body = sent or (None if request.body is None else b"")
        copied.safellm_passed = True  # type: ignore[attr-defined]  # a patched adapter below lets it through
        copied.safellm_sent = exchange.expect  # type: ignore[attr-defined]
        failed: BaseException
        try:
            options["timeout"] = within(options.get("timeout"), deadline.left())
            answered = lean.send(self._inner, copied, options["timeout"], options)
            if answered is None:
                answered = self._inner.send(copied, stream=True, **options)
        except BaseException as error:
            kind, was_sent = _failure_of(error)
            driver.abandon(exchange, failure=kind, sent=was_sent)
            if kind == "timeout" and deadline.at <= time.monotonic():
                late = deadline.passed()
                driver.deny(late)
                raise late from None
            if not injected:
                raise
            failed = _without_request(error, request)
            copied = request
            headers = []
        else:
            answered.request = request  # not the copy, which holds the key: who keeps an answer keeps its request (K.4)
            return answered, injected
        raise failed

    def _refused(self, error: Refused, request: requests.PreparedRequest) -> requests.Response:
        driver = self.safellm_driver
        response = refusal_response(error, request, driver.tools.adapter.refusal_body(error))
        if driver.raises:
            raise driver.native(error, response) if driver.native is not None else error
        return response


def refusal_response(error: Refused, request: requests.PreparedRequest, body: bytes) -> requests.Response:
    """Return the HTTP response that stands for a refusal.

    Args:
        error: What a guard said.
        request: What was refused.
        body: The error as the provider would write it, JSON.
    """
    made = requests.Response()
    made.status_code, made.reason = error.status, "Refused"
    made.url, made.request = request.url or "", request
    made.headers = CaseInsensitiveDict(
        {"content-type": "application/json", "content-length": str(len(body)), "x-safellm-reason": str(error.reason)}
    )
    made.encoding = "utf-8"
    made._content = body  # noqa: SLF001 - where `requests` keeps what it has read
    made._content_consumed = True  # noqa: SLF001
    made.raw = None
    setattr(made, REFUSAL, error)
    return made


def read_head(request: requests.PreparedRequest, timeout: Any = None) -> RequestHead:
    """Return a request's head.

    Args:
        request: Of `requests`.
        timeout: As its `send` takes it.

    Raises:
        Refused: the URL names no host that can be compared.
    """
    url = request.url or ""
    headers = tuple([(_text(name).lower(), _text(value)) for name, value in (request.headers or {}).items()])
    origin, path, query = _target(url)
    return RequestHead(
        method=(request.method or "GET").upper(),
        origin=origin,
        path=path,
        query=query,
        headers=headers,
        timeout_s=waits(timeout)[1],
    )


@lru_cache(maxsize=256)
def _target(url: str) -> tuple[Origin, str, str]:
    """Return origin, path and query of a URL; programs ask the same ones again and again."""
    parts = urlsplit(url)
    return _origin(url), unquote(parts.path) or "/", parts.query


def _origin(url: str) -> Origin:
    try:
        # Both parsers that stand between here and the socket have to agree (THREATS E.3).
        parts, sent = urlsplit(url), parse_url(url)
        if parts.username is not None or parts.password is not None or sent.auth is not None:
            raise ConfigurationError("The URL holds a user name or password", remedy="Send credentials in a header.")
        hosts = {(parts.hostname or "").lower(), (sent.host or "").strip("[]").lower()}
        if len(hosts) != 1 or parts.port != sent.port:
            raise ConfigurationError("The URL can be read in two ways", remedy="Write host and port plainly.")
        return make_origin(parts.scheme, hosts.pop(), parts.port)
    except (ValueError, LocationParseError):
        problem, remedy = "The URL can't be read", "Write host and port plainly."
    except ConfigurationError as error:
        problem, remedy = error.problem, error.remedy
    raise Refused(problem, guard="egress", reason=Reason.EGRESS_REQUEST, remedy=remedy, status=400)


class _GuardedRaw:
    """An answer's bytes as `requests` reads them, treated as they come."""

    def __init__(  # noqa: PLR0913 - the parts of one call
        self,
        inner: requests.Response | Answer,
        exchange: Exchange,
        driver: Driver,
        request: requests.PreparedRequest,
        deadline: Deadline,
        *,
        injected: bool,
    ) -> None:
        self._inner, self._exchange, self._driver, self._request = inner, exchange, driver, request
        self._deadline = deadline
        self._injected = injected
        self._rest = b""
        self._arriving = inner.arriving(deadline) if type(inner) is Answer else arriving(inner.raw, deadline)
        self._source = self.pieces()
        self._over = self._closed = False
        self._reading = threading.Lock()
        self.status = inner.status_code
        self.reason = inner.reason
        self.version = getattr(inner.raw, "version", 11)
        self._original_response = getattr(inner.raw, "_original_response", None)  # where `requests` finds cookies
        self.decode_content = False

    @property
    def headers(self) -> Any:
        """The headers, as they came."""
        return self._inner.raw.headers

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer's bytes for the program.

        Raises:
            Refused: the answer can't be guarded.
        """
        failed: BaseException | None = None
        feed = self._driver.feeder(self._exchange)
        try:
            while not self._exchange.cut_off:
                with self._reading:
                    chunk = None if self._closed else next(self._arriving, None)
                if self._closed:
                    raise ProtocolMisuse("by another thread")
                if chunk is None:
                    break
                self._deadline.left()
                if out := feed(chunk):
                    yield out
            out = self._exchange.end()
            self._driver.finish(self._exchange)
            self._over = True
            with self._reading:
                self._inner.close()
            if out:
                yield out
        except GeneratorExit:
            self.close()
            raise
        except BaseException as error:
            failed = self._broken(error)
            if failed is error and (not self._injected or isinstance(error, Refused)):
                raise
        if failed is not None:
            raise failed

    def _broken(self, error: BaseException) -> BaseException | None:
        """Settle what an error has ended; return what the reader gets for it, None where it just ends."""
        if isinstance(error, ReadTimeoutError) and self._deadline.at <= time.monotonic():
            error = self._deadline.passed()
        if isinstance(error, Refused):
            self._exchange.cut(error)  # or the trail wouldn't have the reason, if it isn't its own
        self._driver.abandon(self._exchange, failure="closed" if self._closed else _failure_of(error)[0])
        with self._reading:
            self._inner.close()
        if isinstance(error, Refused):
            return error
        if self._closed and isinstance(error, Exception) and not isinstance(error, HTTPError):
            # Nothing but what comes of closing it, by another thread.
            return None if self._exchange.has_ended else ProtocolError("The answer was closed before its end")
        return _without_request(error, self._request) if self._injected else error

    def whole(self) -> bytes:
        """Return everything at once, with errors as `requests` names them."""
        source, self._source = self._source, iter(())
        try:
            return b"".join(source)
        except ReadTimeoutError as error:
            raise requests.exceptions.ConnectionError(error, request=self._request) from None
        except SSLError as error:
            raise requests.exceptions.SSLError(error, request=self._request) from None
        except ProtocolError as error:
            raise requests.exceptions.ChunkedEncodingError(error, request=self._request) from None

    def hold(self, data: bytes) -> None:
        """Have a whole answer read from here."""
        self._source = iter((data,))

    def stream(self, amt: int | None = 65_536, decode_content: bool | None = None) -> Iterator[bytes]:  # noqa: ARG002
        """Yield what is there, in pieces of at most `amt` bytes; decoded already."""
        size = amt or PIECE
        try:
            for piece in self._source:
                for start in range(0, len(piece), size):
                    yield piece[start : start + size]
        except Refused as error:
            raise self._native(error) from None

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:  # noqa: ARG002
        """Return up to `amt` bytes, or all that is left."""
        try:
            while amt is None or len(self._rest) < amt:
                piece = next(self._source, None)
                if piece is None:
                    break
                self._rest += piece
        except Refused as error:
            raise self._native(error) from None
        size = len(self._rest) if amt is None else amt
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def close(self) -> None:
        """Settle what was read, and close the connection."""
        if not self._over:
            self._over = self._closed = True
            self._driver.abandon(self._exchange, failure="closed")
        # The library isn't made for two threads that give back one connection: whoever reads closes it when he notices.
        if self._reading.acquire(blocking=False):
            try:
                self._inner.close()
            finally:
                self._reading.release()

    def release_conn(self) -> None:
        """Give the connection back; what is not read by now is lost, so it is closed."""
        self.close()

    def isclosed(self) -> bool:
        """Return whether nothing more will come."""
        return self._over

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._over

    def __del__(self) -> None:
        # Dropped without being closed.
        if not self._over:
            self._over = True
            self._driver.abandon(self._exchange, failure="closed")

    def _native(self, error: Refused) -> Exception:
        driver = self._driver
        response = refusal_response(error, self._request, driver.tools.adapter.refusal_body(error))
        return driver.native(error, response) if driver.native is not None else error


def _without_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return a copy of a request but for its headers and its body, which the caller gives it; its cookies are in its headers."""
    made = requests.PreparedRequest()
    made.method, made.url, made.hooks = request.method, request.url, request.hooks
    made._cookies, made._body_position = request._cookies, request._body_position  # noqa: SLF001
    return made


def _pairs(inner: requests.Response | Answer) -> tuple[tuple[str, str], ...]:
    return inner.pairs if isinstance(inner, Answer) else tuple(inner.headers.items())


def _response(
    inner: requests.Response | Answer,
    request: requests.PreparedRequest,
    headers: tuple[tuple[str, str], ...],
    adapter: BaseAdapter,
    exchange: Exchange,
) -> requests.Response:
    made = requests.Response()
    made.status_code, made.reason, made.url = inner.status_code, inner.reason, inner.url
    made.headers = CaseInsensitiveDict(headers)
    made.encoding = get_encoding_from_headers(made.headers)
    made.cookies = inner.cookies
    made.extensions = {EXTENSION: exchange.account}  # type: ignore[attr-defined]  # as the responses of httpx have them
    made.request = request
    made.connection = adapter  # type: ignore[assignment]  # authentication handlers answer a challenge through it
    return made


def _failure_of(error: BaseException) -> tuple[str, bool]:
    """Return the kind of a transport error, and whether anything can have been sent."""
    if isinstance(error, Refused):
        return "refused", error.sent
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "timeout", False
    if isinstance(error, requests.exceptions.Timeout):
        return "timeout", True
    inner = getattr(error.args[0] if error.args else None, "reason", None)
    unsent = isinstance(inner, NewConnectionError) or isinstance(
        error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.ProxyError)
    )
    return ("connection" if isinstance(error, Exception) else "cancelled"), not unsent


def _without_request(error: BaseException, request: requests.PreparedRequest) -> BaseException:
    """Cut off what leads to the request with the real key: the request itself, frames and causes (THREATS K.4)."""
    if isinstance(error, requests.exceptions.RequestException):
        error.request, error.response = request, None
    # Libraries put one error into another: those that are arguments or a reason have frames of their own.
    for inner in (*error.args, getattr(error, "reason", None)):
        if isinstance(inner, BaseException):
            _without_request(inner, request)
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
