"""The last seam, below all libraries: no TLS connection to a language model is opened that no seam above knows of.

It catches what speaks HTTP over sockets of its own. It knows the host's name only, so hosts that serve other things as well are
left to the seams above; plain http and programs that bring their own TLS are out of its reach.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from safellm._core.origin import make_origin
from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.auto.targets import find_target
from safellm.errors import ConfigurationError

WAY_OUT = "Use an SDK, httpx or httpx2 for it; the page `without-code-changes` of the documentation lists what can be guarded."
_MOST_FRAMES = 48


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the two methods with which every TLS connection of Python's own library begins."""

    def wrap(original: Any) -> Any:
        def guarded(self: Any, *arguments: Any, **named: Any) -> Any:
            # The name is the keyword `server_hostname` wherever it is given; its position differs.
            name = named.get("server_hostname") or next((one for one in arguments if isinstance(one, str)), None)
            if name:
                _check(name.decode("ascii", "replace") if isinstance(name, bytes) else str(name))
            return original(self, *arguments, **named)

        return guarded

    patches.replace(module.SSLContext, "wrap_socket", wrap)
    patches.replace(module.SSLContext, "wrap_bio", wrap)


def _check(name: str) -> None:
    try:
        origin = make_origin("https", name.rstrip(".").lower(), None)
    except ConfigurationError:
        return
    target = find_target(origin, "/")
    passing = gate.passing_now()
    if target is None or (passing is not None and passing.host == origin.host):
        return
    library = _library()
    if gate.STATE.note is not None and passing is None:
        gate.STATE.note(origin, "/", "tls")
    gate.check(target, library, WAY_OUT)


def _library() -> str:
    frame = sys._getframe(3)  # noqa: SLF001 - who is calling is all there is to know about it
    for _ in range(_MOST_FRAMES):
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name not in ("ssl", "asyncio", "socket", "safellm", "anyio", "http"):
            return f"a connection of {name}" if name else "a connection of its own"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "a connection of its own"
