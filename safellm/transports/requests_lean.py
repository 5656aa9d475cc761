"""The plain case of HTTP/1.1 over an idle connection of `requests`' own adapter: see `http1`.

What `lean` is for httpx. Opening connections, TLS, proxies, retries and whatever isn't plain stay the library's: a connection is
taken out of its pool and put back as the library itself does it, and an answer that isn't plain goes to its parser with all bytes
that came of it. Who replaces a method that requests go through in the libraries (mocks, tracers) gets every request there.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import http.client
import queue
import socket
import ssl
import sys
from logging import DEBUG
from types import FunctionType
from typing import Any, Final

import requests
from requests import adapters
from requests.adapters import HTTPAdapter
from urllib3 import connection, connectionpool
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError, SSLError
from urllib3.util import url as urls
from urllib3.util.wait import wait_for_read

from safellm.transports import http1
from safellm.transports.memory import remember
from safellm.transports.requests_answer import READ, Answer, Replayed, parsed

_MOST: Final = 8  # addresses of one manager of pools
_POOLS: Final = "_safellm_pools"
_NO_ANSWER: Final = "Remote end closed connection without response"
_HUNG_UP: Final = frozenset({errno.EPIPE, errno.EPROTOTYPE, errno.ECONNRESET})  # the server may have said why
_KINDS: Final = {
    connectionpool.HTTPConnectionPool: connection.HTTPConnection,
    connectionpool.HTTPSConnectionPool: connection.HTTPSConnection,
}
_SOCKETS: Final = (socket.socket, ssl.SSLSocket)
_LIBRARY: Any = http.client.HTTPConnection
_WAYS: Final[tuple[tuple[Any, str, Any], ...]] = (
    (HTTPAdapter, "send", adapters),
    (HTTPAdapter, "get_connection_with_tls_context", adapters),
    (connectionpool.HTTPConnectionPool, "urlopen", connectionpool),
    (connection.HTTPConnection, "request", connection),
    (connection.HTTPConnection, "putrequest", connection),
    (connection.HTTPConnection, "getresponse", connection),
    (_LIBRARY, "putrequest", http.client),
    (_LIBRARY, "send", http.client),
    (_LIBRARY, "getresponse", http.client),
)


def send(adapter: Any, request: requests.PreparedRequest, waits: tuple[float, float], options: dict[str, Any]) -> Any:
    """Send a plain request over an idle connection.

    Args:
        adapter: Of a session.
        request: Whose body is bytes.
        waits: For a connection and for each read, in seconds.
        options: What else the adapter's own `send` would get.

    Returns:
        The answer; None where the adapter has to send it, and nothing has been sent.

    Raises:
        requests.exceptions.RequestException: as the adapter does.
    """
    if (
        type(adapter) is not HTTPAdapter
        or options.get("proxies") or options.get("cert") is not None
        or not (options.get("verify") is True or type(options.get("verify")) is str)
        or "send" in adapter.__dict__
        or not _is_own()
        or connectionpool.log.isEnabledFor(DEBUG)
        or not _never_again(adapter.max_retries)
    ):  # fmt: skip
        return None
    known = _place(adapter, request, options)
    if known is None:
        return None
    pool, target, host = known
    data: Any = request.body or b""
    headers = [host, *[_item(name, value) for name, value in request.headers._store.values()]]
    names = [lower for _, lower, _ in headers]
    if b"accept-encoding" not in names or b"user-agent" not in names or b"content-length" not in names:
        return None  # the library adds them
    head = http1.request_head(str(request.method).encode("utf-8"), target, headers, len(data))
    link = None if head is None else _take(pool)
    if head is None or link is None:
        return None
    try:
        came = _exchange(pool, link, head + data, waits, request)
        found = http1.answer_head(came)
        if found is None:
            return adapter.build_response(request, parsed(pool, link, request, Replayed(link.sock, came), waits[1]))
        return Answer(pool, link, request, found, waits[1])
    except BaseException as error:  # noqa: BLE001 - all of them are raised below, as the library names them
        link.close()
        pool._put_conn(None)
        failed = _named(error, pool, request)
    raise failed


def _is_own() -> bool:
    """Return whether nobody replaced a method that requests go through: wrappers copy names, but not globals."""
    for kind, name, home in _WAYS:
        method = kind.__dict__.get(name)
        if type(method) is not FunctionType or method.__globals__ is not home.__dict__:
            return False
    return True


def _never_again(retries: Any) -> bool:
    return retries.total == 0 and retries.read is False and not retries.status_forcelist


def _place(adapter: Any, request: Any, options: dict[str, Any]) -> tuple[Any, bytes, tuple[bytes, bytes, bytes]] | None:
    """Return the pool of connections to an address, the target as it is sent, and the header that names the host."""
    manager, verify = adapter.poolmanager, options["verify"]
    settings = manager.connection_pool_kw
    memory = manager.__dict__.setdefault(_POOLS, {})  # not the adapter's: another manager has other pools
    key = (request.url, verify)
    known = memory.get(key)
    found = None if known is None or known[1] != settings else known[0]
    if found is None or found[0].pool is None:  # the manager of pools closes those that are used least
        pool = adapter.get_connection_with_tls_context(request, verify, proxies=options.get("proxies"), cert=None)
        link: Any = _KINDS.get(type(pool))
        if link is None or pool.ConnectionCls is not link or pool.proxy is not None:
            return None
        name = pool.host.rstrip(".")
        path = request.path_url
        if not name.isascii() or ":" in name or "%" in name or not path.startswith("/"):
            return None
        host = name if (pool.port or link.default_port) == link.default_port else f"{name}:{pool.port}"
        target = urls._encode_target(path).encode("ascii")
        found = (pool, target, (b"Host", b"host", host.encode("ascii")))
        remember(memory, key, (found, {**settings}), most=_MOST)
    adapter.cert_verify(found[0], request.url, verify, None)  # says that the file of authorities isn't there, if so
    return found


def _item(name: Any, value: Any) -> tuple[bytes, bytes, bytes]:
    """Return a header as bytes; one that the library would write in another way, or refuse, is no plain one (`http1`)."""
    if type(name) is not str or not name.isascii():
        return b"\n", b"\n", b""
    key = name.encode("ascii")
    if type(value) is str and value.isascii():
        return key, key.lower(), value.encode("ascii")
    return key, key.lower(), value if type(value) is bytes else b"\n"


def _take(pool: Any) -> Any:
    """Return an idle connection, which now is taken; None if the library has to find one."""
    kind: Any = _KINDS[type(pool)]
    try:
        link: Any = pool.pool.get(block=False)
    except (queue.Empty, AttributeError):
        return None
    if (
        type(link) is kind
        and type(link.sock) in _SOCKETS
        and link._HTTPConnection__state == "Idle"
        and (link._HTTPConnection__response is None or link._HTTPConnection__response.isclosed())
        and link._tunnel_host is None and link.proxy is None and not link.debuglevel
        and not wait_for_read(link.sock, timeout=0.0)
    ):  # fmt: skip
        return link
    pool._put_conn(link)  # on top: the library takes it next, and closes what the server has closed
    return None


def _exchange(pool: Any, link: Any, data: bytes, waits: tuple[float, float], request: Any) -> bytes:
    """Send, and return the first bytes that come."""
    pool.num_requests += 1
    sock = link.sock
    sock.settimeout(waits[0])
    sys.audit("http.client.send", link, data)
    try:
        sock.sendall(data)
    except OSError as error:
        if error.errno not in _HUNG_UP:
            raise
    tell = request.__dict__.get("safellm_sent")
    if tell is not None:  # what is made ready now delays nobody
        tell()
    sock.settimeout(waits[1])
    try:
        came: bytes = sock.recv(READ)
    except TimeoutError as error:
        raise ReadTimeoutError(pool, request.path_url, f"Read timed out. (read timeout={waits[1]})") from error
    if not came:
        raise http.client.RemoteDisconnected(_NO_ANSWER)
    return came


def _named(error: BaseException, pool: Any, request: Any) -> BaseException:
    """Return an error as the libraries name it when they don't try again."""
    if isinstance(error, ReadTimeoutError):
        return requests.exceptions.ReadTimeout(error, request=request)
    if isinstance(error, ssl.SSLError):
        return requests.exceptions.SSLError(MaxRetryError(pool, request.path_url, SSLError(error)), request=request)
    if isinstance(error, (OSError, http.client.HTTPException)):
        error = ProtocolError("Connection aborted.", error)
    if isinstance(error, ProtocolError):
        return requests.exceptions.ConnectionError(error, request=request)
    return error
