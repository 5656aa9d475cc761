"""The seam of `http.client`, which stands under `urllib`, `urllib3`, `requests`, `httplib2` and `botocore`.

It has no shell: a request to a language model is refused before a byte of it leaves, unless a shell above let it pass (that of
`urllib3` does, and that of `requests`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from safellm.auto import gate
from safellm.auto.hooks import Patches

WAY_OUT = (
    "Use an SDK, httpx, requests, aiohttp or urllib3 (2.0 or later) for it, or send it through a client of safellm; "
    "the page `without-code-changes` of the documentation lists what can be guarded."
)


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the method through which every request of `HTTPConnection` and its subclasses begins."""
    secure = getattr(module, "HTTPSConnection", ())  # missing where Python was built without TLS

    def putrequest(original: Any) -> Any:
        def guarded(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
            scheme, host, port, path = destination(self, url, secure)
            library = library_of(self)
            target = gate.find(scheme, host, port, path, library=library)
            if target is None and "://" in url[:8]:  # what gets it is no proxy, or one that is a model (THREATS E.5)
                own = "https" if isinstance(self, secure) else "http"
                target = gate.find(own, str(self.host).strip("[]"), self.port, path, library=library)
            gate.check(target, library, WAY_OUT)
            return original(self, method, url, *arguments, **named)

        return guarded

    patches.replace(module.HTTPConnection, "putrequest", putrequest)


def destination(connection: Any, url: str, secure: Any) -> tuple[str, str, int | None, str]:
    """Return where a request really goes: through a tunnel, by an absolute URL (a proxy), or to the connection's host."""
    tls = isinstance(connection, secure) or getattr(connection, "default_port", 80) == 443  # noqa: PLR2004 - https
    tunnel = getattr(connection, "_tunnel_host", None)
    if tunnel:
        name = tunnel.decode("ascii", "replace") if isinstance(tunnel, bytes) else str(tunnel)
        return "https", name.strip("[]"), getattr(connection, "_tunnel_port", None), urlsplit(url).path
    if "://" in url[:8]:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return "", "", None, ""  # what no parser reads goes nowhere
        return parts.scheme, parts.hostname or "", port, parts.path
    return "https" if tls else "http", str(connection.host).strip("[]"), connection.port, url.partition("?")[0]


def library_of(connection: Any) -> str:
    """Return the name of the package that a connection's class is of."""
    for base in type(connection).__mro__:
        name = base.__module__.partition(".")[0]
        if name != "http":
            return name
        return "http.client"
    return "http.client"
