"""Guards and detectors of your own: what they are, and how the policy finds them.

    from safellm.plugins import Found, Refuse

    class NoRiddles:
        def on_request(self, request):
            if any("riddle" in one.text for one in request.texts):
                return Refuse("This program asks no riddles")

A package offers one by an entry point of the group `safellm.guards` or `safellm.detectors`; a program may `register` one of its
own code. Neither does anything before the policy names it: `plugins = ["no-riddles"]`. What `[plugin_settings.no-riddles]` holds
becomes arguments. A plug-in that is missing, or can't be made, stops the client; one that breaks stops the call.

`safellm guard new NAME` writes a package with its test; `safellm.testing` has the contract that it has to keep.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

from safellm._core.plugged import (
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
from safellm.errors import ConfigurationError

__all__ = [
    "DETECTORS",
    "GUARDS",
    "AnswerGuard",
    "AnswerView",
    "Change",
    "Detector",
    "Found",
    "Guard",
    "Offered",
    "Refuse",
    "RequestView",
    "Text",
    "Verdict",
    "offered",
    "register",
]

GUARDS: Final = "safellm.guards"  # groups of entry points
DETECTORS: Final = "safellm.detectors"
Factory: TypeAlias = Callable[..., Any]

_lock = threading.Lock()
_registered: Mapping[str, Factory] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A plug-in that could be enabled.

    Attributes:
        name: What the policy names it by.
        kind: guard or detector; empty for one of the program's own code, which shows what it is when it is made.
        source: The distribution with its version, or this process.
        target: Its entry point's value: `module:Class`.
    """

    name: str
    kind: str
    source: str
    target: str
    load: Callable[[], Factory] = field(repr=False, compare=False)


def register(name: str, factory: Factory) -> None:
    """Offer a guard or a detector of this program's code, as a package's entry point does.

    Args:
        name: What the policy names it by, in small letters, digits, hyphens and underscores.
        factory: Its class, or a function that returns one; it gets what the policy's `plugin_settings` hold for this name.
    """
    global _registered  # noqa: PLW0603 - one register for each process
    with _lock:
        _registered = {**_registered, name: factory}


def offered() -> list[Offered]:
    """Return all that could be enabled here; loads none of it."""
    found = [
        Offered(
            name=name,
            kind="",
            source="this process",
            target=getattr(factory, "__qualname__", ""),
            load=partial(_itself, factory),
        )
        for name, factory in _registered.items()
    ]
    return [*found, *_installed()]


def _itself(factory: Factory) -> Factory:
    return factory


def _installed() -> Iterator[Offered]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - reads all installed packages

    for group, kind in ((GUARDS, "guard"), (DETECTORS, "detector")):
        for one in sorted(entry_points(group=group), key=lambda one: one.name):
            source = f"{one.dist.name} {one.dist.version}" if one.dist is not None else "a package"
            yield Offered(name=one.name, kind=kind, source=source, target=one.value, load=one.load)


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


def load(names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> LoadedPlugins:
    """Return what a policy enables; equal settings share one instance in each process.

    Args:
        names: Of the plug-ins.
        settings: Arguments of each.

    Raises:
        ConfigurationError: one is missing, offered twice, or can't be made.
    """
    for name in settings:
        if name not in names:
            raise _wrong(
                f"There are settings for the plug-in {name!r}, which isn't enabled", f"Add it: plugins = [{name!r}]."
            )
    written = json.dumps([[name, dict(settings.get(name, {}))] for name in names], sort_keys=True, default=str)
    return _load(written, tuple((name, _Settings(settings.get(name, {}))) for name in names), _Register(_registered))


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

    def __init__(self, factories: Mapping[str, Factory]) -> None:
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
    installed: list[Offered] | None = None
    for name, arguments in wanted:
        factory = register_.factories.get(name)
        kinds = [""]
        factories = [factory] if factory is not None else []
        if factory is None:
            installed = list(_installed()) if installed is None else installed
            ways = [one for one in installed if one.name == name]
            kinds = [one.kind for one in ways]
            _check_one_of_each(name, ways)
            factories = [_loaded(one) for one in ways]
        for kind, make in zip(kinds, factories, strict=True):
            made = _made(name, make, arguments)
            is_guard, is_detector = hasattr(made, "on_request"), isinstance(made, Detector)
            if kind == "guard" or (kind == "" and is_guard):
                _expect(name, "on_request", is_it=is_guard)
                guards.append(Plugged(name=name, guard=made))
            if kind == "detector" or (kind == "" and not is_guard):
                _expect(name, "find", is_it=is_detector)
                finders.append(DetectorFinder(name, made))
            waits |= getattr(made, "blocking", True) is not False
    return LoadedPlugins(guards=tuple(guards), finders=tuple(finders), waits=waits)


def _check_one_of_each(name: str, ways: list[Offered]) -> None:
    if not ways:
        known = sorted({one.name for one in offered()})
        there = f"There is: {', '.join(known)}." if known else "There is none."
        raise _wrong(
            f"The plug-in {name!r} isn't installed", f"Install its package, or take it out of `plugins`. {there}"
        )
    if len({one.kind for one in ways}) < len(ways):
        sources = " and ".join(sorted({one.source for one in ways}))
        raise _wrong(
            f"The plug-in {name!r} is offered by several packages: {sources}", "Uninstall all of them but one."
        )


def _loaded(way: Offered) -> Factory:
    try:
        return way.load()
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        why = type(error).__name__
    module = way.target.partition(":")[0]
    raise _wrong(
        f"The plug-in {way.name!r} of {way.source} can't be imported ({why})", f"Try: python -c 'import {module}'."
    )


def _made(name: str, factory: Factory, arguments: Mapping[str, Any]) -> Any:
    try:
        return factory(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever its constructor does
        why = (
            f"{type(error).__name__}: {error}"
            if isinstance(error, (TypeError, ConfigurationError))
            else type(error).__name__
        )
    raise _wrong(f"The plug-in {name!r} can't be made ({why})", f"Look at [plugin_settings.{name}] in the policy.")


def _expect(name: str, method: str, *, is_it: bool) -> None:
    if not is_it:
        raise _wrong(
            f"The plug-in {name!r} has no method {method}", "See docs/own-guards.md for what guards and detectors are."
        )


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(problem, remedy=remedy, where="plugins")
