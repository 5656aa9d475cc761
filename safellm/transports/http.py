"""Clients of `httpx` and `httpx2` get guarded transports: the shells, sync and async, made once for each module.

The shells read the request, run the exchange, send what it forwards, and hand on what it answers. Ledger and trail calls may block:
the async shell has a worker thread make them when they have to wait. The work for each chunk runs inline.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import sys
from functools import cache
from types import ModuleType
from typing import Any

from safellm.errors import ConfigurationError
from safellm.transports.driver import Driver
from safellm.transports.heads import read_head
from safellm.transports.http_async import async_shell, in_thread
from safellm.transports.http_parts import REFUSAL, Parts, refusal_response
from safellm.transports.http_sync import sync_shell
from safellm.transports.own import secure_client

__all__ = [
    "REFUSAL",
    "guard_client",
    "guard_of",
    "guard_transport",
    "in_thread",
    "own_copy",
    "read_head",
    "refusal_response",
]
_FAMILIES = ("httpx2", "httpx")


def guard_client(client: Any, driver: Driver, *, own: bool = False) -> Any:
    """Return an HTTP client all of whose transports and mounts are guarded.

    Args:
        client: A sync or async client of httpx or httpx2. It is changed in place; copy it first if it is not yours.
        driver: What guards.
        own: The program gave no client, so the connections of this one are checked as well; see `own.py`.

    Raises:
        ConfigurationError: the client is of another family, or it is the program's own and the mode is strict.
    """
    module = _family(client)
    if driver.broker is not None:
        pass  # nothing goes through its connections: the broker has its own
    elif own:
        secure_client(module, client, driver)
    elif driver.tools.policy.is_strict:
        raise ConfigurationError(
            "Strict mode takes no HTTP client from code: nothing checks which connections it opens",
            remedy="Leave http_client out; egress.proxy, egress.ca_bundle and egress.private of the policy say the rest.",
        )
    shells = _ways(module, driver)
    wrap = shells["async"] if hasattr(client, "aclose") else shells["sync"]
    client._transport = _wrapped(client._transport, wrap, driver)
    for pattern, transport in client._mounts.items():
        client._mounts[pattern] = None if transport is None else _wrapped(transport, wrap, driver)
    return client


def guard_of(client: Any) -> Driver | None:
    """Return the driver of a client that is guarded already, else None."""
    driver = getattr(getattr(client, "_transport", None), "safellm_driver", None)
    return driver if isinstance(driver, Driver) else None


def own_copy(client: Any) -> Any:
    """Return a shallow copy of a caller's client, so that guarding it changes nothing for its other users.

    Connection pool, cookies and hooks are shared with the original, and so is whether it is closed.
    """
    twin = copy.copy(client)
    twin._mounts = dict(client._mounts)
    if "_state" in twin.__dict__:  # else it is no client of httpx, and what it keeps is its own business
        del twin._state
        kind: Any = type(client)
        twin.__class__ = _sharing(kind)
        twin._safellm_original = client
    return twin


@cache
def _sharing(base: Any) -> Any:
    """Return the class of copies that are open and closed together with their originals."""

    def get(self: Any) -> Any:
        return self._safellm_original._state

    def put(self: Any, state: Any) -> None:
        self._safellm_original._state = state

    return type(base.__name__, (base,), {"_state": property(get, put), "__module__": base.__module__})


def guard_transport(module: ModuleType, transport: Any, driver: Driver) -> Any:
    """Return a guarded transport around one of httpx or httpx2 (`module`), sync or async as the given one is."""
    return _ways(module, driver)["async" if hasattr(transport, "handle_async_request") else "sync"](transport, driver)


def _ways(module: ModuleType, driver: Driver) -> dict[str, type]:
    if driver.broker is None:
        return _shells(module)
    from safellm.transports.relay import relays  # noqa: PLC0415 - only with a broker

    return relays(module)


def _wrapped(transport: Any, wrap: type, driver: Driver) -> Any:
    return transport if isinstance(transport, wrap) else wrap(transport, driver)


def _family(client: Any) -> ModuleType:
    for base in type(client).__mro__:
        name = base.__module__.partition(".")[0]
        if name in _FAMILIES:
            return sys.modules[name]
    raise ConfigurationError(
        f"A client of type {type(client).__name__} can't be guarded",
        remedy="Pass an httpx or httpx2 client as http_client.",
    )


@cache
def _shells(module: ModuleType) -> dict[str, type]:
    parts = Parts(module)
    return {"sync": sync_shell(module, parts), "async": async_shell(module, parts)}
