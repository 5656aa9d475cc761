"""How plug-ins are found and made: entry points of installed packages, and what a program registers.

Only what is asked for by name is ever imported. That a package is installed means nothing: `safellm guard list` reads the metadata
of packages, which runs none of their code.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from safellm._core.plugged_stores import API
from safellm._version import __version__
from safellm.errors import ConfigurationError

Factory: TypeAlias = Callable[..., Any]

GUARDS: Final = "safellm.guards"  # groups of entry points
DETECTORS: Final = "safellm.detectors"
GROUPS: Final = {
    "guard": GUARDS,
    "detector": DETECTORS,
    "sink": "safellm.sinks",
    "ledger": "safellm.ledgers",
    "vault": "safellm.vaults",
    "provider": "safellm.providers",
}
OWN: Final = {("detector", "ner"): "safellm.ner:NamedEntities"}  # safellm's own, which are plug-ins like others

_lock = threading.Lock()
_registered: Mapping[tuple[str, str], Factory] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A plug-in that could be enabled.

    Attributes:
        name: What the policy names it by.
        kind: guard, detector, sink, ledger, vault or provider; empty for a guard or detector of the program's own code, which shows
            what it is when it is made.
        source: The distribution with its version, or this process.
        target: Its entry point's value: `module:Class`.
    """

    name: str
    kind: str
    source: str
    target: str
    load: Callable[[], Factory] = field(repr=False, compare=False)


def register(name: str, factory: Factory, *, kind: str = "") -> None:
    """Offer a plug-in of this program's code, as a package's entry point does.

    Args:
        name: What the policy names it by, in small letters, digits, hyphens and underscores.
        factory: Its class, or a function that returns one; it gets what the policy's `plugin_settings` hold for this name.
        kind: sink, ledger, vault or provider; empty for guards and detectors.

    Raises:
        ValueError: there is no such kind.
    """
    global _registered  # noqa: PLW0603 - one register for each process
    if kind and kind not in GROUPS:
        msg = f"a plug-in is one of {', '.join(GROUPS)}"
        raise ValueError(msg)
    kind = "" if kind in ("guard", "detector") else kind
    with _lock:
        _registered = {**_registered, (kind, name): factory}


def registered() -> Mapping[tuple[str, str], Factory]:
    """Return what this process offers, by kind and name; another object whenever it has changed."""
    return _registered


def offered() -> list[Offered]:
    """Return all that could be enabled here; loads none of it."""
    found = [
        Offered(
            name=name,
            kind=kind,
            source="this process",
            target=getattr(factory, "__qualname__", ""),
            load=partial(_itself, factory),
        )
        for (kind, name), factory in _registered.items()
    ]
    return [*found, *installed()]


def _itself(factory: Factory) -> Factory:
    return factory


def installed() -> Iterator[Offered]:
    """Return what installed packages offer, by kind and name; loads none of it."""
    from importlib.metadata import EntryPoint, entry_points  # noqa: PLC0415 - reads all installed packages

    for (kind, name), target in OWN.items():
        own = EntryPoint(name=name, value=target, group=GROUPS[kind])
        yield Offered(name=name, kind=kind, source=f"safellm {__version__}", target=target, load=own.load)

    for kind, group in GROUPS.items():
        for one in sorted(entry_points(group=group), key=lambda one: one.name):
            source = f"{one.dist.name} {one.dist.version}" if one.dist is not None else "a package"
            yield Offered(name=one.name, kind=kind, source=source, target=one.value, load=one.load)


def make_one(kind: str, name: str, arguments: Mapping[str, Any], *, methods: tuple[str, ...], where: str) -> Any:
    """Return the plug-in of a kind and name, made with its settings.

    Args:
        kind: Of `GROUPS`, but guard and detector.
        name: As the policy has it.
        arguments: Its settings.
        methods: What it must have.
        where: The setting that names it.

    Raises:
        ConfigurationError: it is missing, offered twice, or can't be made, or isn't what it should be.
    """
    factory = _registered.get((kind, name))
    if factory is None:
        ways = [one for one in installed() if (one.kind, one.name) == (kind, name)]
        check_ways(name, ways, kinds=(kind,), where=where)
        factory = loaded(ways[0])
    made = made_of(name, factory, arguments)
    for method in methods:
        expect(name, method, is_it=callable(getattr(made, method, None)), where=where)
    return made


def check_ways(name: str, ways: list[Offered], *, kinds: tuple[str, ...], where: str) -> None:
    """Check that one package offers a plug-in, and one only.

    Raises:
        ConfigurationError: none does, or several.
    """
    if not ways:
        known = sorted({one.name for one in offered() if one.kind in (*kinds, "") and (one.kind or len(kinds) > 1)})
        there = f"There is: {', '.join(known)}." if known else "There is none."
        raise wrong(
            f"The {'plug-in' if len(kinds) > 1 else f'{kinds[0]} plug-in'} {name!r} isn't installed",
            f"Install its package, or take it out of `{where}`. {there}",
            where,
        )
    if len({one.kind for one in ways}) < len(ways):
        sources = " and ".join(sorted({one.source for one in ways}))
        raise wrong(
            f"The plug-in {name!r} is offered by several packages: {sources}", "Uninstall all of them but one.", where
        )


def loaded(way: Offered) -> Factory:
    """Import a plug-in.

    Raises:
        ConfigurationError: that failed.
    """
    try:
        return way.load()
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        why = type(error).__name__
    module = way.target.partition(":")[0]
    raise wrong(
        f"The plug-in {way.name!r} of {way.source} can't be imported ({why})",
        f"Try: python -c 'import {module}'.",
        "plugins",
    )


def made_of(name: str, factory: Factory, arguments: Mapping[str, Any]) -> Any:
    """Make a plug-in.

    Raises:
        ConfigurationError: that failed, or it is written for another safellm. Of a foreign error only the type is told.
    """
    why = ""
    try:
        made = factory(**arguments)
    except ConfigurationError as error:
        why = f"{type(error).__name__}: {error}"
    except TypeError as error:
        # A settings' name that the class doesn't take; its values, which may be secrets, don't stand in such a message.
        why = (
            f"{type(error).__name__}: {error}"
            if error.__traceback__ and not error.__traceback__.tb_next
            else "TypeError"
        )
    except Exception as error:  # noqa: BLE001 - whatever its constructor does
        why = type(error).__name__
    if why:
        raise wrong(
            f"The plug-in {name!r} can't be made ({why})", f"Look at [plugin_settings.{name}] in the policy.", "plugins"
        )
    written_for = getattr(made, "safellm_api", API)
    if written_for != API:
        raise wrong(
            f"The plug-in {name!r} is written for interface {written_for!r}, and this safellm has {API}",
            "Install a version of it, or of safellm, that fits.",
            "plugins",
        )
    return made


def expect(name: str, method: str, *, is_it: bool, where: str = "plugins") -> None:
    """Raise where a plug-in isn't what it should be."""
    if not is_it:
        raise wrong(
            f"The plug-in {name!r} has no method {method}",
            "See docs/own-guards.md for what plug-ins are.",
            where,
        )


def wrong(problem: str, remedy: str, where: str = "plugins") -> ConfigurationError:
    """Return the error of a plug-in that can't be used."""
    return ConfigurationError(problem, remedy=remedy, where=where)
