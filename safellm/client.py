"""Joins policy, stores, adapter and transports into the driver of a guarded client; the SDK glue lives in the adapters."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from safellm._core.adapter import Adapter
from safellm._core.call import Bounds, ManagedKey, Tools
from safellm._core.detection.registered import RegisteredSecrets
from safellm._core.detection.scanner import compile_scanner
from safellm._core.origin import Origin, make_origin, parse_origin
from safellm._core.policy import Policy
from safellm.errors import ConfigurationError, Refused, VaultUnavailable
from safellm.stores.conversations import Conversations
from safellm.stores.install_key import install_key
from safellm.stores.journal.interface import Journal
from safellm.stores.ledger.interface import Ledger
from safellm.stores.places import find_places
from safellm.stores.prices import ListedPrices
from safellm.stores.settings import load_policy
from safellm.stores.vault.open import ResolvedKey, resolve_key
from safellm.transports.driver import Driver

_lock = threading.Lock()
_hinted: set[str] = set()
_registered: RegisteredSecrets | None = None
_conversations = Conversations()

# Header names that carry a credential; a variable that sets one would replace the key that safellm manages (THREATS E.1).
_CREDENTIAL_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"}
)


@dataclass(slots=True, kw_only=True)
class Setup:
    """What is known before the SDK's client is made. `placeholders` go to the SDK in place of managed keys."""

    adapter: Adapter
    policy: Policy
    environ: Mapping[str, str]
    sdk: str
    keys: dict[str, ResolvedKey] = field(default_factory=dict, repr=False)
    vault_problem: VaultUnavailable | None = None

    def manage(self, name: str, variable: str, *, default_origins: tuple[Origin, ...]) -> str | None:
        """Return a placeholder for a key, or None when there is no key anywhere.

        Args:
            name: The key's provider, and its name in the vault unless the policy gives another.
            variable: The provider's variable for it.
            default_origins: Where a key from the variable may go.

        Raises:
            ConfigurationError: there is a key that may not be used here.
        """
        try:
            key = resolve_key(
                self.policy,
                provider=name,
                variable=variable,
                default_origins=default_origins,
                environ=self.environ,
            )
        except VaultUnavailable as error:
            if self.policy.is_strict:
                raise
            self.vault_problem = error  # the SDK's own complaint about a missing key comes first; this says more
            return None
        if key is None:
            return None
        _hint(key)
        placeholder = f"safellm-managed-{secrets.token_hex(8)}"
        self.keys[placeholder] = key
        return placeholder

    def driver(self, origin: Origin, *, in_code: bool, native: Callable[[Refused, Any], Exception]) -> Driver:
        """Return the driver of a client whose base URL is at `origin`.

        Args:
            origin: Where the SDK's client will send.
            in_code: The program gave the address itself, as an argument.
            native: Makes the SDK's own error from a refusal.

        Raises:
            ConfigurationError: the address comes from a variable and is not one that may come from there.
        """
        if in_code and self.policy.is_strict and origin not in self._known_origins():
            raise _unbound(origin, "strict mode takes no address from code")
        if not in_code and origin not in self._known_origins() and not origin.is_loopback:
            raise _unbound(origin, "it comes from the environment")
        bounds = Bounds(
            origins=frozenset({origin, *self._policy_origins()}),
            managed=tuple(
                ManagedKey(placeholder=placeholder, ref=key.ref, origins=self._bound(key, origin, in_code))
                for placeholder, key in self.keys.items()
            ),
        )
        return Driver(
            tools=_tools(self.policy, self.adapter, self.environ, self.sdk),
            bounds=bounds,
            ledger=_ledger(self.environ),
            journal=_journal(self.policy, self.environ),
            conversations=_conversations,
            credentials={placeholder: key.secret for placeholder, key in self.keys.items()},
            native=native,
        )

    def _bound(self, key: ResolvedKey, origin: Origin, in_code: bool) -> frozenset[Origin]:
        # A key from the vault is bound there. One from a variable follows an address that the program itself gives, and a
        # server on this machine; both are recorded relaxations of guard mode.
        extra = {origin} if not key.ref.startswith("vault:") and (in_code or origin.is_loopback) else set()
        return frozenset({*key.origins, *extra})

    def _policy_origins(self) -> tuple[Origin, ...]:
        return tuple(parse_origin(text) for text in self.policy.egress.origins)

    def _known_origins(self) -> set[Origin]:
        bound = {one for key in self.keys.values() if key.ref.startswith("vault:") for one in key.origins}
        return {*self.adapter.origins, *self._policy_origins(), *bound}


def prepare(adapter: Adapter, settings: Mapping[str, object] | None, *, sdk: str) -> Setup:
    """Load the policy for one client.

    Args:
        adapter: The provider's dialect.
        settings: Policy values given in code.
        sdk: Name and version of the SDK, for records.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    environ = dict(os.environ)
    loaded = load_policy(environ=environ, overrides=settings)
    _refuse_credential_headers(environ)
    return Setup(adapter=adapter, policy=loaded.policy, environ=environ, sdk=sdk)


def bind(driver: Driver, url: Any) -> None:
    """Let a guarded client send to another address that the program gives in code (`with_options(base_url=…)`).

    Raises:
        ConfigurationError: strict mode takes no address from code.
    """
    origin = origin_of(url)
    if origin in driver.bounds.origins:
        return
    if driver.tools.policy.is_strict:
        raise _unbound(origin, "strict mode takes no address from code")
    driver.bounds = replace(driver.bounds, origins=driver.bounds.origins | {origin})


def origin_of(url: Any) -> Origin:
    """Return the origin of an SDK's base URL (an httpx or httpx2 URL).

    Raises:
        ConfigurationError: it is no usable address.
    """
    return make_origin(url.scheme, url.raw_host.decode("ascii"), url.port)


def register_secret(*values: str) -> None:
    """Have these texts found and hidden wherever they stand in a request: raw, JSON, URL, hex and base64 (promise P6).

    Applies to clients made afterwards, in this process.

    Args:
        values: Secrets of at least eight characters.

    Raises:
        ValueError: one is shorter; it would be found everywhere.
    """
    global _registered  # noqa: PLW0603 - one register for each process
    with _lock:
        _registered = (_registered or RegisteredSecrets()).with_values(values)


def _tools(policy: Policy, adapter: Adapter, environ: Mapping[str, str], sdk: str) -> Tools:
    return Tools(
        policy=policy,
        adapter=adapter,
        scanner=compile_scanner(),
        registered=_registered,
        key=_install_key(find_places(environ).state),
        prices=ListedPrices(),
        policy_digest=policy.digest(),
        sdk=sdk,
    )


@lru_cache(maxsize=8)
def _install_key(state: Path) -> bytes:
    return install_key(state)


def _ledger(environ: Mapping[str, str]) -> Ledger:
    return _open_ledger(find_places(environ).state / "ledger.sqlite3")


@lru_cache(maxsize=8)
def _open_ledger(path: Path) -> Ledger:
    from safellm.stores.ledger.sqlite import SQLiteLedger  # noqa: PLC0415 - sqlite3 only when a client is made

    return SQLiteLedger(path)


def _journal(policy: Policy, environ: Mapping[str, str]) -> Journal:
    folder = Path(policy.audit.directory) if policy.audit.directory else find_places(environ).state / "audit"
    return _open_journal(folder, policy.audit.mode, policy.audit.sync, policy.audit.console)


@lru_cache(maxsize=8)
def _open_journal(folder: Path, mode: str, sync: bool, console: bool) -> Journal:
    from safellm.stores.journal import events  # noqa: PLC0415 - structlog only when a client is made

    if mode == "off":
        return events.NullJournal()
    from safellm.stores.journal.jsonl import JsonlJournal  # noqa: PLC0415

    trail: Journal = JsonlJournal(folder, sync=sync)
    if mode == "best_effort":
        trail = events.BestEffortJournal(trail)
    sinks: list[events.EventSink] = [events.LoggingSink()]
    if console:
        sinks.append(events.ConsoleSink())
    return events.FanOutJournal(trail, sinks)


def _hint(key: ResolvedKey) -> None:
    """Say once, on a terminal's standard error, that a key could rest more safely."""
    with _lock:
        if not key.notes or key.ref in _hinted:
            return
        _hinted.add(key.ref)
    if sys.stderr is not None and sys.stderr.isatty():
        for note in key.notes:
            sys.stderr.write(f"safellm: {note}\n")


def _refuse_credential_headers(environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.endswith("_CUSTOM_HEADERS"):
            continue
        names = {line.partition(":")[0].strip().lower() for line in text.splitlines()}
        if names & _CREDENTIAL_HEADERS:
            raise ConfigurationError(
                f"The variable {variable} sets a credential header",
                remedy="Give the key as api_key, or keep it in the vault: safellm keys set.",
                where=f"variable {variable}",
            )


def _unbound(origin: Origin, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The address {origin} is not one that this client may use: {why}",
        remedy=f"Give it as base_url in code, bind a key to it (safellm keys set NAME --origin {origin}), "
        "or list it under egress.origins in the policy.",
    )
