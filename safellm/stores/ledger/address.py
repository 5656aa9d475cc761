"""Where the ledger is, by its address: `redis://`, `rediss://`, `unix://` (Redis), `postgresql://`; none is the SQLite file.

Our own parts of an address stand in its query and are taken out before the database's package sees it: `prefix` (Redis) or `schema`
(PostgreSQL), so that several ledgers share one server, and `generation`, to be held to one ledger on a machine that remembers none.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from safellm.errors import ConfigurationError
from safellm.stores.ledger.engine import Engine
from safellm.stores.ledger.shared import SharedLedger

_REDIS: Final = ("redis", "rediss", "unix")
_POSTGRES: Final = ("postgresql", "postgres")
_OURS: Final = ("prefix", "schema", "generation")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address in parts.

    Attributes:
        url: For the database's package; it may hold a password, so it is never shown.
        shown: For people.
        named: Our own parts.
    """

    scheme: str
    url: str
    shown: str
    named: dict[str, str]

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises:
        ConfigurationError: it isn't one; the text is not repeated, as it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise _wrong() from None
    if parts.scheme not in (*_REDIS, *_POSTGRES):
        raise _wrong()
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = {name: value for name, value in query if name in _OURS}
    if not _PREFIX.fullmatch(named.get("prefix", "safellm")):
        raise _wrong()
    rest = urlencode([(name, value) for name, value in query if name not in _OURS])
    url = text.partition("#")[0].partition("?")[0] + (f"?{rest}" if rest else "")
    if parts.scheme in _POSTGRES:
        host = host or dict(query).get("host", "")
    where = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{where}{f':{port}' if port else ''}{parts.path}"
    return Address(scheme=parts.scheme, url=url, shown=shown, named=named)


def open_shared(
    text: str, *, state: Path, allow_volatile: bool = False, wait_s: float = 5.0
) -> SharedLedger:  # fmt: skip
    """Return the ledger at an address; its first use connects.

    Args:
        text: The address.
        state: Folder of what this machine remembers of ledgers.
        allow_volatile: Use an engine that may forget.
        wait_s: How long one operation may take, in seconds.

    Raises:
        ConfigurationError: the address is no good, or the package for it is missing.
    """
    address = parse_address(text)
    name = address.named.get("schema") or address.named.get("prefix") or "safellm"
    engine: Engine
    if address.scheme in _REDIS:
        from safellm.stores.ledger.redis_engine import RedisEngine  # noqa: PLC0415 - an extra

        engine = RedisEngine(
            address.url, address=address.shown, prefix=name, allow_volatile=allow_volatile, wait_s=wait_s
        )
    else:
        from safellm.stores.ledger.postgres_engine import PostgresEngine  # noqa: PLC0415 - an extra

        engine = PostgresEngine(
            address.url, address=address.shown, schema=name, allow_volatile=allow_volatile, wait_s=wait_s
        )
    digest = hashlib.sha256(f"{address.shown} {name}".encode()).hexdigest()[:16]
    return SharedLedger(
        engine, mark=state / f"ledger-{digest}.mark", generation=address.named.get("generation")
    )  # fmt: skip


def _wrong() -> ConfigurationError:
    return ConfigurationError(
        "The address of the budget ledger can't be understood",
        remedy="Write it as redis://host:6379/0, rediss://…, unix:///path, postgresql://user@host/database or plugin:NAME.",
    )
