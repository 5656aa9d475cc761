"""Joins policy, stores, adapter and transports into the driver of a guarded client; the SDK glue lives in the adapters."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safellm._core import grant as grants
from safellm._core.adapter import Adapter
from safellm._core.call import Bounds, ManagedKey, Tools
from safellm._core.detection.countries import for_countries
from safellm._core.grant import Grant, InvalidGrant, is_grant
from safellm._core.origin import Origin, make_origin, parse_origin
from safellm._core.policy import Policy
from safellm._core.redaction.spots import Finder
from safellm._core.secret import Secret
from safellm._core.seen_texts import SeenTexts
from safellm._core.textrules import TextRule
from safellm.errors import ConfigurationError, Refused, VaultUnavailable
from safellm.profiles import Profile, find_profile, profiles
from safellm.stores import marked
from safellm.stores.content.kept import Contents, open_contents
from safellm.stores.conversations import Conversations
from safellm.stores.detection_cache import cached_scanner
from safellm.stores.encodings import shared
from safellm.stores.environment import read_environment, take
from safellm.stores.grants import Grants, HeldGrant
from safellm.stores.install_key import install_key
from safellm.stores.journal.open import audit_folder, open_journal
from safellm.stores.ledger.interface import Ledger
from safellm.stores.live import Live
from safellm.stores.places import find_places
from safellm.stores.prices import prices_of
from safellm.stores.registered import REGISTER, held_values
from safellm.stores.settings import load_policy
from safellm.stores.vault.asking import ask_for_key
from safellm.stores.vault.open import ResolvedKey, resolve_granted, resolve_key
from safellm.stores.vault.remembered import known_names
from safellm.transports.broker_address import VARIABLE as BROKER_VARIABLE
from safellm.transports.broker_address import BrokerAddress, broker_address
from safellm.transports.driver import Driver

if TYPE_CHECKING:
    from safellm.plugins import LoadedPlugins

_lock = threading.Lock()
_hinted: set[str] = set()

GRANT_VARIABLE = "SAFELLM_GRANT"
CONVERSATIONS: Live[Conversations] = Live(kept=None)  # values that were hidden come back as long as the process lives

# Header names that carry a credential; a variable that sets one would replace the key that safellm manages (THREATS E.1).
_CREDENTIAL_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"}
)


@dataclass(slots=True, kw_only=True)
class Setup:
    """What is known before the SDK's client is made. `placeholders` go to the SDK in place of managed keys."""

    adapter: Adapter
    policy: Policy
    environ: Mapping[str, str] = field(repr=False)
    sdk: str
    keys: dict[str, ResolvedKey] = field(default_factory=dict, repr=False)
    vault_problem: VaultUnavailable | None = None
    grant: HeldGrant | None = None
    broker: BrokerAddress | None = None

    def manage(self, name: str, variable: str, *, default_origins: tuple[Origin, ...]) -> str | None:
        """Return a placeholder for a key, or None when there is no key anywhere.

        Args:
            name: The key's provider, and its name in the vault unless the policy gives another.
            variable: The provider's variable for it.
            default_origins: Where a key from the variable may go.

        Raises:
            ConfigurationError: there is a key that may not be used here, or a grant that doesn't hold.
        """
        if self.policy.keys.clear_environment:
            take(variable)
        if self.grant is None:
            where = variable if is_grant(self._said(variable)) else GRANT_VARIABLE
            if self._said(where) and (where != variable or is_grant(self._said(where))):
                self.adopt(self._said(where), where=f"variable {where}")
        if self.broker is not None:
            return self.hold(self._for_broker())
        if self.grant is not None:
            return self.hold(self._granted_key(name, default_origins))
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
            key = None
        if key is None:
            key = ask_for_key(name, default_origins)
        if key is None:
            return None
        _hint(key)
        return self.hold(key)

    def _said(self, variable: str) -> str:
        return self.environ.get(variable, "").strip()

    def hold(self, key: ResolvedKey) -> str:
        """Return a placeholder for a key: what the SDK gets."""
        placeholder = f"safellm-managed-{secrets.token_hex(8)}"
        self.keys[placeholder] = key
        return placeholder

    def adopt(self, text: str, *, where: str) -> None:
        """Have a grant decide about every call of the client.

        Raises:
            ConfigurationError: it was not made here, was changed or revoked.
        """
        source = Grants(find_places(self.environ).state)
        try:
            # Only the broker that made a grant can say whether it holds.
            found = source.verify(text.strip()) if self.broker is None else grants.read(text.strip())
        except InvalidGrant as error:
            raise ConfigurationError(
                str(error), remedy="Ask for a new one (safellm grant new), or show it: safellm grant show.", where=where
            ) from None
        self.grant = HeldGrant(grant=found, key=_key_of(found, where), source=source)

    def take_grant(self, options: dict[str, Any], *names: str) -> None:
        """Take a grant that the program gave in place of a key out of the SDK's arguments.

        Args:
            options: The arguments; changed in place.
            names: Of those that hold a key.

        Raises:
            ConfigurationError: the grant doesn't hold.
        """
        for name in names:
            given = options.get(name)
            if isinstance(given, str) and is_grant(given.strip()):
                self.adopt(given, where=f"argument {name}")
                del options[name]

    def refuse_own_key(self) -> None:
        """Refuse a key that the program brings along where a grant says which one is used.

        Raises:
            ConfigurationError: there is a grant.
        """
        if self.broker is not None:
            raise ConfigurationError(
                f"{BROKER_VARIABLE} is set, and the program gives a key of its own",
                remedy="Leave the key out and give a grant: safellm grant new.",
            )
        if self.grant is not None or self._said(GRANT_VARIABLE):
            raise ConfigurationError(
                "The program gives a key of its own, and a grant says which one is used",
                remedy=f"Leave the key out, or unset {GRANT_VARIABLE}.",
            )

    def _for_broker(self) -> ResolvedKey:
        if self.grant is None:
            raise ConfigurationError(
                f"{BROKER_VARIABLE} is set, and there is no grant: the broker holds the keys",
                remedy=f"Make one where the broker runs (safellm grant new) and set {GRANT_VARIABLE}.",
            )
        return ResolvedKey(ref="broker", secret=Secret(self.grant.grant.text()), origins=())

    def _granted_key(self, provider: str, default_origins: tuple[Origin, ...]) -> ResolvedKey:
        name = self.grant.key if self.grant is not None else ""
        key = resolve_granted(
            self.policy, name=name, provider=provider, default_origins=default_origins, environ=self.environ
        )
        if key is None:
            raise ConfigurationError(
                f"The grant is for the key {name!r}, which is not stored here",
                remedy=f"Store it: safellm keys set {name}, or safellm keys import.",
            )
        return key

    def may_have_stored(self, name: str) -> bool:
        """Return whether the vault may hold a key of this name; asks a file, not the vault."""
        names = known_names(find_places(self.environ).state)
        return names is None or (self.policy.keys.name or name) in names

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
            ledger=_ledger(self.policy, self.environ),
            journal=open_journal(self.policy, find_places(self.environ).state),
            contents=_contents(self.policy, self.environ),
            conversations=conversations_for(self.policy, self.environ),
            credentials={placeholder: key.secret for placeholder, key in self.keys.items()},
            native=native,
            grant=self.grant,
            broker=self.broker,
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
    environ = read_environment()
    loaded = load_policy(environ=environ, overrides=settings)
    _refuse_credential_headers(environ)
    broker = broker_address(environ)
    if broker is not None and (settings or REGISTER):
        raise ConfigurationError(
            f"{BROKER_VARIABLE} is set: policy and registered secrets are the broker's, this program's would not be heeded",
            remedy="Put them into the broker's policy, and leave safellm= and register_secret out.",
        )
    return Setup(adapter=adapter, policy=loaded.policy, environ=environ, sdk=sdk, broker=broker)


def read_grant(text: str) -> Grant:
    """Return the grant of a text, to look at it or to narrow it: `read_grant(text).narrow(calls=3).text()`.

    Whether it holds here is found out when a client is made with it.

    Raises:
        InvalidGrant: it can't be read.
    """
    return grants.read(text.strip())


def bind(driver: Driver, url: Any, *, keys: bool = False) -> None:
    """Let a guarded client send to another address that the program gives in code (`with_options(base_url=…)`).

    Args:
        driver: The client's.
        url: The address.
        keys: Keys from variables follow, as they follow the address that a client is made with.

    Raises:
        ConfigurationError: strict mode takes no address from code.
    """
    origin, bounds, is_strict = origin_of(url), driver.bounds, driver.tools.policy.is_strict
    if origin not in bounds.origins:
        if is_strict:
            raise _unbound(origin, "strict mode takes no address from code")
        driver.bounds = bounds = replace(bounds, origins=bounds.origins | {origin})
    if keys and not is_strict and any(_follows(key, origin) for key in bounds.managed):
        managed = tuple(
            replace(key, origins=key.origins | {origin}) if _follows(key, origin) else key for key in bounds.managed
        )
        driver.bounds = replace(bounds, managed=managed)


def _follows(key: ManagedKey, origin: Origin) -> bool:
    return not key.ref.startswith("vault:") and origin not in key.origins


def origin_of(url: Any) -> Origin:
    """Return the origin of an SDK's base URL (an httpx or httpx2 URL).

    Raises:
        ConfigurationError: it is no usable address.
    """
    try:
        return make_origin(url.scheme, url.raw_host.decode("ascii"), url.port)
    except ConfigurationError as error:
        raise ConfigurationError(
            error.problem, remedy=error.remedy, where="the base URL of the client, from code or a variable"
        ) from None


def installation_key(state: Path) -> bytes:
    """Return the key of placeholders and digests, made on first use."""
    return _install_key(state)


def registered_values() -> Finder | None:
    """Return what finds all that `register_secret` and `register_values` were given in this process."""
    return REGISTER or None


def _tools(policy: Policy, adapter: Adapter, environ: Mapping[str, str], sdk: str) -> Tools:
    plugged = _plugged(policy)
    return Tools(
        policy=policy,
        adapter=adapter,
        scanner=_remembering(find_places(environ).cache, policy.redaction.countries),
        registered=REGISTER,
        secrets=lambda: REGISTER.secrets,
        values=held_values,
        others=marked.others(),
        key=_install_key(find_places(environ).state),
        prices=prices_of(policy),
        counter=shared(),
        policy_digest=policy.digest(),
        sdk=sdk,
        own=own_finder(policy),
        guards=plugged.guards if plugged is not None else (),
        waits=plugged is not None and plugged.waits,
    )


def own_finder(policy: Policy) -> Finder | None:
    """Return what finds what the rules and plug-ins of a policy do; None where there are none.

    Raises:
        ConfigurationError: A plug-in is missing or can't be made.
    """
    plugged = _plugged(policy)
    finders = plugged.finders if plugged is not None else ()
    return _own_finder(policy.rules, finders) if policy.rules or finders else None


def _plugged(policy: Policy) -> LoadedPlugins | None:
    if not policy.plugins and not policy.plugin_settings:
        return None
    from safellm.plugins import load  # noqa: PLC0415 - only where the policy names one

    return load(policy.plugins, policy.plugin_settings, elsewhere=policy.plugged_elsewhere)


def provider_of(name: str, settings: Mapping[str, object] | None) -> Profile:
    """Return the server that a program names: a profile of safellm's, or one of a plug-in that the policy allows.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name.lower() not in profiles():
        policy = load_policy(environ=read_environment(), overrides=settings).policy
        if name in policy.providers:
            from safellm.plugins import load_provider  # noqa: PLC0415 - only where the policy names one

            return load_provider(name, policy.plugin_settings.get(name, {}))
    return find_profile(name)


@lru_cache(maxsize=8)
def _own_finder(rules: tuple[TextRule, ...], finders: tuple[Finder, ...]) -> Finder:
    from safellm._core.detection.own import OwnRules  # noqa: PLC0415 - only where there are rules

    searches = (*((OwnRules(rules).find,) if rules else ()), *(one.find for one in finders))
    return SeenTexts(lambda text: tuple(found for search in searches for found in search(text)))


@lru_cache(maxsize=8)
def _remembering(folder: Path, countries: tuple[str, ...]) -> SeenTexts:
    return SeenTexts(for_countries(cached_scanner(folder), countries).scan)


def conversations_for(policy: Policy, environ: Mapping[str, str]) -> Conversations:
    """Return the conversations of this process that all clients with the same settings share."""
    if policy.redaction.remember == "process":
        return CONVERSATIONS.get((None, 0), Conversations)
    state, days = find_places(environ).state, policy.redaction.remember_days
    return CONVERSATIONS.get((state, days), lambda: _kept_conversations(state, days))


def _kept_conversations(state: Path, days: int) -> Conversations:
    from safellm.stores.mappings import MappingStore  # noqa: PLC0415 - only when asked for

    store = MappingStore(state / "mappings", _install_key(state), days=days)
    store.sweep()
    return Conversations(store)


@lru_cache(maxsize=8)
def _install_key(state: Path) -> bytes:
    return install_key(state)


def _ledger(policy: Policy, environ: Mapping[str, str]) -> Ledger:
    from safellm.stores.ledger.choose import live_ledger  # noqa: PLC0415 - only when a client is made

    ledger = live_ledger(policy, find_places(environ).state)
    if policy.metrics != "off" and policy.budget.rules:
        from safellm.stores.journal.metrics import watch  # noqa: PLC0415 - only where limits are set

        watch(ledger, policy.budget.rules)
    return ledger


def _contents(policy: Policy, environ: Mapping[str, str]) -> Contents | None:
    audit = policy.audit
    if audit.content == "off" or audit.mode == "off":
        return None
    return open_contents(audit_folder(policy, find_places(environ).state), audit)


def _key_of(grant: Grant, where: str) -> str:
    names = set(grant.values("key"))
    if len(names) != 1:
        raise ConfigurationError("The grant is for no single key", remedy="Ask for a new one.", where=where)
    return str(names.pop())


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
        remedy=f"Give it as base_url in code, bind a key to it (safellm keys bind NAME {origin}), "
        "or list it under egress.origins in the policy.",
    )
