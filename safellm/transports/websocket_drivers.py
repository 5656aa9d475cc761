"""What differs between the events of one connection: which of them are billed, recorded, and to whose conversation they belong."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import replace
from typing import Any

from safellm._core.adapter import Billing, Route
from safellm._core.effects import JSON, Amounts
from safellm._core.placeholder import Mapping
from safellm._core.sockets import SocketAdapter, SocketDialect
from safellm.stores.conversations import conversation
from safellm.transports.driver import Driver


class Drivers:
    """The client's driver for each kind of event of one connection.

    Args:
        driver: The client's.
        dialect: The protocol.
        name: The connection's own conversation; empty where each call names its own.
    """

    def __init__(self, driver: Driver, dialect: SocketDialect, name: str) -> None:
        self._driver, self._dialect, self._name = driver, dialect, name
        self._made: dict[tuple[Route, bool], Driver] = {}

    def of(self, route: Route, *, quiet: bool) -> Driver:
        """Return the driver for events of an endpoint.

        Args:
            route: The endpoint.
            quiet: One of very many alike: counted nowhere, and recorded only if it is refused.
        """
        found = self._made.get((route, quiet))
        if found is None:
            driver = self._driver
            adapter = SocketAdapter(
                inner=driver.tools.adapter, dialect=self._dialect, fixed=route, conversation_name=self._name
            )
            # What the provider keeps is bounded by its size: it can't be counted any more.
            counter = None if self._dialect.keeps else driver.tools.counter
            changes: dict[str, Any] = {"tools": replace(driver.tools, adapter=adapter, counter=counter)}
            if self._name:
                changes["conversations"] = _OneConversation(driver.conversations, self._name)
            if quiet or route.billing is Billing.FREE:
                changes["ledger"] = _NO_LEDGER
            if quiet:
                changes["journal"] = _Denials(driver.journal)
            found = self._made[route, quiet] = replace(driver, **changes)
        return found


def joining(driver: Driver, mapping: Mapping) -> Driver:
    """Return a driver whose calls hide their values where another call hid its own."""
    changes: dict[str, Any] = {"conversations": _Joined(driver.conversations, mapping)}
    return replace(driver, **changes)


class _Joined:
    """Gives the conversation of a call that is under way."""

    def __init__(self, inner: Any, mapping: Mapping) -> None:
        self._mapping = mapping
        self.keep, self.remember = inner.keep, inner.remember

    def open(self, *_: object) -> Mapping:
        return self._mapping


class _OneConversation:
    """Gives every call of a connection the same conversation."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner, self._name = inner, name
        self.keep, self.remember = inner.keep, inner.remember

    def open(self, *_: object) -> Any:
        with conversation(self._name):
            return self._inner.open(None, None)


class _NoLedger:
    """Holds and charges nothing: opening a connection, its settings and the pieces of one long input are no calls."""

    def reserve(self, *_: object, **__: object) -> None:
        return None

    def settle(self, _: str, amounts: Amounts | None, **__: object) -> Amounts:
        return amounts or Amounts(requests=0)

    def release(self, *_: object, **__: object) -> None:
        return None

    def balances(self, *_: object, **__: object) -> list[Any]:
        return []


class _Denials:
    """A trail of refusals alone."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def append(self, event: str, fields: MappingABC[str, JSON], **options: Any) -> Any:
        return self._inner.append(event, fields, **options) if event == "policy.deny" else None


_NO_LEDGER = _NoLedger()
