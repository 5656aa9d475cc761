"""What sinks, ledgers, vaults and providers of one's own are: small classes, whose every rule is kept by safellm around them.

A ledger keeps one document and a vault keeps texts by name: limits, windows, crashes, keys' origins and their checks are not the
class's business, so it can't get them wrong.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from safellm._core.effects import JSON

API: Final = 1  # what `safellm_api` of a plug-in may say; it grows when a class that was right would be wrong


@runtime_checkable
class Sink(Protocol):
    """Gets the events of the audit trail, one by one, after they were written there.

    With `audit.mode = "required"` a call goes on only after `emit` has returned; an error stops it. Threads may share a sink.
    """

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Take one event.

        Args:
            event: Its name: call.intent, call.outcome, policy.deny and so on, as in audit.md.
            fields: JSON values; never changed in place.
            time_ns: When it happened, in nanoseconds of Unix time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a ledger holds.

    Attributes:
        data: As it was given to `write`.
        version: Changes with every write, whoever makes it: a number, an ETag, a digest.
    """

    data: bytes = field(repr=False)
    version: str


@runtime_checkable
class LedgerStore(Protocol):
    """Keeps the one document of a ledger. Threads, processes and machines may share it."""

    def read(self) -> Document | None:
        """Return the newest document; None where nothing was ever written."""
        ...

    def write(self, data: bytes, version: str | None) -> bool:
        """Put `data` in the place of the document of this version, whole, durably and only if it is still the newest one.

        Args:
            data: Some kilobytes; about 300 bytes for each open call, limit and line of usage.
            version: As `read` gave it; None: there must be no document yet.

        Returns:
            False if it was changed in between; nothing was written then.
        """
        ...


@runtime_checkable
class VaultStore(Protocol):
    """Keeps texts by name. A text holds a key and the addresses that it may go to: it is a secret as a whole."""

    def get(self, name: str) -> str | None:
        """Return the text of this name, as it was set; None where there is none."""
        ...

    def set(self, name: str, text: str) -> None:
        """Store or replace it. One that only reads raises an error."""
        ...

    def names(self) -> Sequence[str]:
        """Return all names, in any order."""
        ...

    def remove(self, name: str) -> None:
        """Remove it, if it is there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A server of OpenAI's dialect, for `OpenAI(profile=NAME)`. Its key goes to these addresses and nowhere else.

    Attributes:
        base_url: Where the SDK sends, as https://host/v1.
        variable: Variable of its key, such as ACME_API_KEY; in the vault the key has the plug-in's name.
        title: Its name for people.
        provider: Its name in records and price lists; default: the plug-in's.
        header: Header that carries the key as it is, such as X-Acme-Key; default: `Authorization: Bearer`.
        hosts: More origins of the same service, as https://host.
        needs_key: False for a server that asks for none.
        asks_usage: A stream tells its usage only when asked, and the server takes the question.
    """

    base_url: str
    variable: str
    title: str = ""
    provider: str = ""
    header: str = ""
    hosts: tuple[str, ...] = ()
    needs_key: bool = True
    asks_usage: bool = True
