"""From a request with a grant to a guarded way to the provider: the same pipeline as in a program, with the broker's stores.

The grant is verified here, its key comes from the vault, and the request goes to an origin that this key is bound to, whatever
the program asks for (promise P1).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safellm._core.adapter import Adapter
from safellm._core.effects import JSON
from safellm._core.grant import InvalidGrant, is_grant
from safellm._core.origin import Origin, parse_origin
from safellm._version import __version__
from safellm.auto.gate import load_adapter
from safellm.auto.table import DIALECTS
from safellm.auto.targets import Target, dialect_named, find_target, own_origins
from safellm.broker.conversations import of_grant
from safellm.broker.direct import direct_transport
from safellm.client import Setup
from safellm.errors import ConfigurationError, GuardFailure, Reason, Refused
from safellm.stores.grants import Grants, HeldGrant
from safellm.stores.journal.open import open_journal
from safellm.stores.places import find_places
from safellm.stores.settings import load_policy
from safellm.stores.vault.open import ResolvedKey, resolve_granted
from safellm.transports.driver import Driver
from safellm.transports.http import guard_transport
from safellm.transports.network import http_module
from safellm.transports.own import secure_client
from safellm.transports.relay import DIALECT_HEADER, ORIGIN_HEADER

_KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_MOST = 4096  # grants whose keys are at hand
_FRESH_S = 60.0  # after which a key is asked for again: it may have been rotated
# Of the connection between program and broker, or set anew for the one to the provider (RFC 9110, 7.6.1).
_OWN = frozenset(
    {"host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
)
_TIMEOUT = {"connect": 10.0, "read": 600.0, "write": 600.0, "pool": 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One grant's way to one origin: a guarded transport, and what stands for the key in the headers."""

    transport: Any
    driver: Driver
    target: Target
    grant_id: str
    origin: Origin
    placeholder: str
    made_s: float


class Upstream:
    """All ways of one broker.

    Args:
        environ: The process's variables; where policy and stores are.
        module: httpx2 or httpx.
    """

    def __init__(self, environ: Mapping[str, str], module: Any | None = None) -> None:
        self._environ = dict(environ)
        self.module = module or http_module()
        self._grants = Grants(find_places(environ).state)
        self._ways: OrderedDict[tuple[str, str, str, int | None], Way] = OrderedDict()
        self._lines: dict[Origin, Any] = {}
        self._retired: list[Any] = []
        self._making = asyncio.Lock()
        self._url = lru_cache(maxsize=256)(self.module.URL)
        named = self._environ.get("SAFELLM_POLICY", "").strip()
        self._file = Path(named) if named else find_places(self._environ).config / "policy.toml"
        self.problem = ""
        self._load()

    def reload(self) -> None:
        """Read the policy again. Calls under way keep theirs; a policy that can't be read leaves the old one in force."""
        try:
            self._load()
        except ConfigurationError as error:
            self.problem = error.problem
            return
        self._ways.clear()
        self._retired += self._lines.values()  # streams still use them: closed when the broker ends
        self._lines = {}

    def refresh(self) -> None:
        """Reload if the policy's file changed."""
        if self._stamp() != self._seen:
            self.reload()

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes, way: Way) -> Any:
        """Return the request as the provider would get it from a program, with a placeholder for the key."""
        sent = without_grant(headers, way)
        url = self._url(f"{way.origin}{target}")
        return self.module.Request(method, url, headers=sent, content=body, extensions={"timeout": _TIMEOUT})

    async def way(self, headers: list[tuple[str, str]], path: str, uid: int | None) -> Way:
        """Return the way of a request.

        Args:
            headers: Names in lower case.
            path: Of the request.
            uid: Of the program, where the system says.

        Raises:
            Refused: there is no grant, it doesn't hold, or its key is not for that address.
        """
        named = dict(reversed(headers))
        grant, wanted, dialect = credential(headers), named.get(ORIGIN_HEADER, ""), named.get(DIALECT_HEADER, "")
        if not grant:
            raise invalid("The request has no grant")
        key = (grant, wanted, dialect or _dialect_of(named), uid)
        found = self._ways.get(key)
        if found is not None and time.monotonic() - found.made_s <= _FRESH_S:
            return found
        async with self._making:  # a thousand calls at once ask the vault once
            again = self._ways.get(key)
            if again is None or again is found:
                again = self._ways[key] = await asyncio.to_thread(self._make, key, path)
                while len(self._ways) > _MOST:
                    self._ways.popitem(last=False)
        return again

    def deny(self, error: Refused, *, uid: int | None, grant: str = "") -> None:
        """Record a refusal of a request that never became a call."""
        fields: dict[str, JSON] = {
            "decision": "deny",
            "reason": str(error.reason),
            "safellm.guard": error.guard,
            "policy.digest": self.digest,
            "safellm.version": __version__,
        }
        if uid is not None:
            fields["safellm.peer.uid"] = uid
        if grant:
            with suppress(InvalidGrant):
                from safellm._core.grant import read  # noqa: PLC0415

                fields["safellm.grant.id"] = read(grant).id  # as it says itself
        with suppress(Refused):  # it is refused already
            self._journal.append("policy.deny", fields, time_ns=time.time_ns())

    async def aclose(self) -> None:
        """Close the connections to providers."""
        for line in (*self._lines.values(), *self._retired):
            await line.aclose()

    def refusal_body(self, error: Refused, headers: list[tuple[str, str]]) -> bytes:
        """Return an error as the program's SDK reads it."""
        named = dict(headers)
        name = named.get(DIALECT_HEADER, "") or _dialect_of(named)
        adapter: Adapter = load_adapter(Target(origin=_NOWHERE, dialect=_dialect(name)))
        return adapter.refusal_body(error)

    def _load(self) -> None:
        self._seen = self._stamp()
        loaded = load_policy(environ=self._environ)
        self.policy = loaded.policy
        self.digest = loaded.policy.digest()
        self._journal = open_journal(loaded.policy, find_places(self._environ).state)
        self.problem = ""

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file)  # noqa: PTH116 - once for each call
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _make(self, key: tuple[str, str, str, int | None], path: str) -> Way:
        text, wanted, dialect, uid = key
        try:
            grant = self._grants.verify(text)
        except InvalidGrant as error:
            raise invalid(str(error)) from None
        except ConfigurationError as error:
            raise _failed(error) from None
        names = set(grant.values("key"))
        if len(names) != 1:
            raise invalid("The grant is for no single key")
        name = str(names.pop())
        try:
            stored = resolve_granted(
                self.policy, name=name, provider="", default_origins=own_origins(name), environ=self._environ
            )
            if stored is None:
                raise ConfigurationError(
                    f"The key {name!r} is not stored here", remedy=f"Store it: safellm keys set {name}."
                )
            origin = _origin(stored, wanted, name)
            target = find_target(origin, path) or Target(origin=origin, dialect=_dialect(dialect))
            setup = Setup(
                adapter=load_adapter(target),
                policy=self.policy,
                environ=self._environ,
                sdk=f"safellm broker {__version__}",
            )
            placeholder = setup.hold(stored)
            setup.grant = HeldGrant(grant=grant, key=name, source=self._grants, uid=uid)
            driver = of_grant(setup.driver(origin, in_code=False, native=lambda error, _: error), grant.id)
        except ConfigurationError as error:
            raise _failed(error) from None
        return Way(
            transport=guard_transport(self.module, self._line(origin, driver), driver),
            driver=driver,
            target=target,
            grant_id=grant.id,
            origin=origin,
            placeholder=placeholder,
            made_s=time.monotonic(),
        )

    def _line(self, origin: Origin, driver: Any) -> Any:
        """Return what sends to an origin, one for all ways there: the pool's own transport where a proxy stands between."""
        found = self._lines.get(origin)
        if found is None:
            limits = self.module.Limits(max_connections=None, max_keepalive_connections=200)
            client = self.module.AsyncClient(trust_env=False, limits=limits)
            secure_client(self.module, client, driver)
            found = client._transport  # noqa: SLF001 - what secures it keeps it there
            if self.policy.egress.proxy is None:
                found = direct_transport(self.module, found._pool, origin)  # noqa: SLF001
            self._lines[origin] = found
        return found


def without_grant(headers: list[tuple[str, str]], way: Way) -> list[tuple[str, str]]:
    """Return a program's headers as the provider would get them, with a placeholder for the key."""
    sent = [(name, value) for name, value in headers if name not in _OWN and not name.startswith("safellm-")]
    grant = credential(headers)
    return [(name, value.replace(grant, way.placeholder) if grant else value) for name, value in sent]


_NOWHERE = Origin("https", "safellm.invalid", 443)


def _origin(stored: ResolvedKey, wanted: str, name: str) -> Origin:
    if not stored.origins:
        raise ConfigurationError(
            f"Nothing says where the key {name!r} may go", remedy=f"Bind it: safellm keys bind {name} URL."
        )
    origin = parse_origin(wanted) if wanted else stored.origins[0]
    if origin not in stored.origins:
        bound = ", ".join(str(one) for one in stored.origins)
        raise Refused(
            f"The key {name!r} is bound to {bound} and can't be sent to {origin}",
            guard="egress",
            reason=Reason.KEY_UNBOUND,
            remedy=f"Bind it where the broker runs: safellm keys bind {name} {origin}",
        )
    return origin


def credential(headers: list[tuple[str, str]]) -> str:
    """Return the grant that a request carries where an SDK puts its key, or an empty text."""
    for name, value in headers:
        if name in _KEY_HEADERS:
            text = value.removeprefix("Bearer ").removeprefix("bearer ").strip()
            if is_grant(text):
                return text
    return ""


def invalid(what: str) -> Refused:
    """Return the refusal of a request without a grant that holds."""
    return Refused(
        what,
        guard="grant",
        reason=Reason.GRANT_INVALID,
        remedy="Give a grant of this broker as the API key: safellm grant new.",
    )


def _failed(error: ConfigurationError) -> GuardFailure:
    return GuardFailure(error.problem, guard="keys", reason=Reason.GUARD_ERROR, remedy=error.remedy)


def _dialect_of(named: Mapping[str, str]) -> str:
    """Guess how a program speaks that doesn't say so."""
    if "anthropic-version" in named:
        return "anthropic"
    return "google" if "x-goog-api-key" in named else "openai"


def _dialect(name: str) -> Any:
    known = {one.name for one in DIALECTS if one.adapter}
    return dialect_named(name if name in known else "openai")
