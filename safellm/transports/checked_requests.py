"""The adapter of `requests` for strict mode: checked addresses, own TLS settings, the policy's proxy or none (THREATS E.6-E.8).

What `network.py`, `stores/tls.py` and `own.py` are for httpx. Sessions that a program or an SDK made keep their own adapters in the
other modes; in strict mode nothing of a call goes over a connection that was not checked when it was opened.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from safellm._core.origin import make_origin
from safellm.stores.tls import context_for
from safellm.transports.driver import Driver
from safellm.transports.network import check_addresses, unique_addresses
from safellm.transports.own import stays_here

_VERIFIED = {"cert_reqs": "CERT_REQUIRED"}


class CheckedAdapter(HTTPAdapter):
    """Opens checked connections only.

    Args:
        driver: Knows policy and bounds.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._context: Any = context_for(driver.tools.policy, None, http2=False)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools; see `requests.adapters.HTTPAdapter`."""
        super().init_poolmanager(*arguments, **{**named, "ssl_context": self._context})
        self.poolmanager.pool_classes_by_scheme = _pools(self._driver)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Make the pools behind the policy's proxy, which resolves names itself."""
        return super().proxy_manager_for(proxy, **{**named, "ssl_context": self._context})

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> tuple[Any, Any]:
        """Return what a connection has to be like: verified by our own context, whatever the session says."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {**_VERIFIED, "ssl_context": self._context}

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """Add no authorities: the context has those that count."""

    def send(self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any) -> requests.Response:
        """Send a request; of the session's settings the time limit counts, the others are the policy's."""
        parts = urlsplit(request.url or "")
        proxy = self._driver.tools.policy.egress.proxy
        proxies = None
        if proxy is not None and not stays_here(make_origin(parts.scheme, parts.hostname or "", parts.port)):
            proxies = {"https": proxy}
        return super().send(request, stream=True, timeout=timeout, verify=True, cert=None, proxies=proxies)


def _pools(driver: Driver) -> dict[str, type]:
    def checked(connect: Callable[[Any], socket.socket]) -> Callable[[Any], socket.socket]:
        def new_connection(self: Any) -> socket.socket:
            """Resolve once, check every address, connect to a checked one; TLS still knows the name."""
            name = self._dns_host
            try:
                addresses = unique_addresses(socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM))
            except socket.gaierror as error:
                raise NameResolutionError(self.host, self, error) from error
            check_addresses(name.strip("[]"), self.port, addresses, driver)
            failed: Exception | None = None
            for address in addresses:
                self._dns_host = address
                try:
                    return connect(self)
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failed = error
                finally:
                    self._dns_host = name
            raise failed or NewConnectionError(self, "the name leads nowhere")

        return new_connection

    class Plain(HTTPConnection):
        _new_conn = checked(HTTPConnection._new_conn)  # noqa: SLF001 - where urllib3 opens its sockets

    class Secure(HTTPSConnection):
        _new_conn = checked(HTTPSConnection._new_conn)  # noqa: SLF001 - see above

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
