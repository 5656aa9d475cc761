"""Plug-ins: guards, detectors, sinks, ledgers, vaults and providers of your own; what they are, and how the policy finds them.

    from safellm.plugins import Found, Refuse

    class NoRiddles:
        def on_request(self, request):
            if any("riddle" in one.text for one in request.texts):
                return Refuse("This program asks no riddles")

A package offers one by an entry point; a program may `register` one of its own code. Neither does anything, and nothing of it is
imported, before the policy names it:

| kind | group | named by | class |
|---|---|---|---|
| guard | `safellm.guards` | `plugins = ["no-riddles"]` | `Guard` |
| detector | `safellm.detectors` | `plugins` | `Detector` |
| sink | `safellm.sinks` | `audit.sinks = ["siem"]` | `Sink` |
| ledger | `safellm.ledgers` | `budget.ledger = "plugin:etcd"` | `LedgerStore` |
| vault | `safellm.vaults` | `keys.store = "plugin:bank"` | `VaultStore` |
| provider | `safellm.providers` | `providers = ["acme"]` | a function that returns a `Provider` |

What `[plugin_settings.no-riddles]` holds becomes arguments. A plug-in that is missing, or can't be made, stops the client; one that
breaks stops the call. These interfaces are stable: a class that is right stays right as long as `API` is the same, and one that
says `safellm_api = 1` is refused by a safellm whose interfaces are others.

`safellm guard new NAME` writes a package with its test; `safellm.testing` has the contract that it has to keep.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from safellm._core.origin import parse_origin
from safellm._core.plugged import (
    Answer,
    AnswerGuard,
    AnswerView,
    Change,
    Detector,
    DetectorFinder,
    Found,
    Guard,
    Plugged,
    Refuse,
    RequestView,
    Text,
    Verdict,
)
from safellm._core.plugged_stores import API, Document, LedgerStore, Provider, Sink, VaultStore
from safellm.profiles import Profile
from safellm.stores.plugged.found import (
    DETECTORS,
    GUARDS,
    Factory,
    Offered,
    check_ways,
    expect,
    installed,
    loaded,
    made_of,
    make_one,
    offered,
    register,
    registered,
    wrong,
)

__all__ = [
    "API",
    "DETECTORS",
    "GUARDS",
    "Answer",
    "AnswerGuard",
    "AnswerView",
    "Change",
    "Detector",
    "Document",
    "Found",
    "Guard",
    "LedgerStore",
    "Offered",
    "Provider",
    "Refuse",
    "RequestView",
    "Sink",
    "Text",
    "VaultStore",
    "Verdict",
    "offered",
    "register",
]

_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlugins:
    """What a policy enables.

    Attributes:
        guards: In the policy's order.
        finders: Of its detectors.
        waits: One of them may take its time.
    """

    guards: tuple[Plugged, ...]
    finders: tuple[DetectorFinder, ...]
    waits: bool


def load(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], *, elsewhere: Sequence[str] = ()
) -> LoadedPlugins:
    """Return what a policy enables; equal settings share one instance in each process.

    Args:
        names: Of the guards and detectors.
        settings: Arguments of each plug-in.
        elsewhere: Plug-ins of other kinds that the policy names.

    Raises:
        ConfigurationError: one is missing, offered twice, or can't be made.
    """
    for name in settings:
        if name not in names and name not in elsewhere:
            raise wrong(
                f"There are settings for the plug-in {name!r}, which isn't enabled", f"Add it: plugins = [{name!r}]."
            )
    written = json.dumps([[name, dict(settings.get(name, {}))] for name in names], sort_keys=True, default=str)
    return _load(written, tuple((name, _Settings(settings.get(name, {}))) for name in names), _Register(registered()))


class _Settings(dict[str, Any]):
    """Arguments that take no part in the key of the cache; their text does."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings)


class _Register:
    """The register at one time, as a part of a key."""

    __slots__ = ("factories",)

    def __init__(self, factories: Mapping[tuple[str, str], Factory]) -> None:
        self.factories = factories

    def __hash__(self) -> int:
        return id(self.factories)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Register) and other.factories is self.factories


@lru_cache(maxsize=32)
def _load(_written: str, wanted: tuple[tuple[str, _Settings], ...], register_: _Register) -> LoadedPlugins:
    guards: list[Plugged] = []
    finders: list[DetectorFinder] = []
    waits = False
    there: list[Offered] | None = None
    for name, arguments in wanted:
        factory = register_.factories.get(("", name))
        kinds = [""]
        factories = [factory] if factory is not None else []
        if factory is None:
            there = list(installed()) if there is None else there
            ways = [one for one in there if one.name == name and one.kind in ("guard", "detector")]
            kinds = [one.kind for one in ways]
            check_ways(name, ways, kinds=("guard", "detector"), where="plugins")
            factories = [loaded(one) for one in ways]
        for kind, make in zip(kinds, factories, strict=True):
            made = made_of(name, make, arguments)
            is_guard, is_detector = hasattr(made, "on_request"), isinstance(made, Detector)
            if kind == "guard" or (kind == "" and is_guard):
                expect(name, "on_request", is_it=is_guard)
                guards.append(Plugged(name=name, guard=made))
            if kind == "detector" or (kind == "" and not is_guard):
                expect(name, "find", is_it=is_detector)
                finders.append(DetectorFinder(name, made))
            waits |= getattr(made, "blocking", True) is not False
    return LoadedPlugins(guards=tuple(guards), finders=tuple(finders), waits=waits)


def load_provider(name: str, settings: Mapping[str, Any]) -> Profile:
    """Return the server that a plug-in describes.

    Raises:
        ConfigurationError: it is missing, can't be made, or describes no server that a key may be sent to.
    """
    made = make_one("provider", name, settings, methods=(), where="providers")
    if not isinstance(made, Provider):
        raise wrong(
            f"The plug-in {name!r} makes no safellm.plugins.Provider",
            "See docs/own-guards.md for what it is.",
            "providers",
        )
    origins = tuple(dict.fromkeys(parse_origin(one) for one in (made.base_url, *made.hosts)))
    if not _VARIABLE.fullmatch(made.variable) or (made.header and not _HEADER.fullmatch(made.header)):
        raise wrong(
            f"The provider {name!r} names a variable or a header that can't be one",
            "Write them like ACME_API_KEY and X-Acme-Key.",
            "providers",
        )
    if any(one.scheme != "https" and not one.is_loopback for one in origins):
        raise wrong(f"The provider {name!r} has an address without TLS", "Use https://.", "providers")
    return Profile(
        name=name,
        title=made.title or name,
        base_url=made.base_url,
        provider=made.provider or name,
        variable=made.variable,
        needs_key=made.needs_key,
        asks_usage=made.asks_usage,
        usage_at=(),
        cached=None,
        origins=origins,
        check=f"/{made.base_url.partition('://')[2].partition('/')[2]}/models".replace("//", "/"),
        header=made.header,
    )
