"""The decision of each seam: is this a language model's call, and who guards it. One state for the process."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from safellm._core.origin import Origin, make_origin
from safellm.auto.table import DIALECTS, Dialect
from safellm.auto.targets import Target, dialect_named, find_target, looks_like_llm
from safellm.errors import ConfigurationError, GuardFailure, Reason, Refused


@dataclass(slots=True)
class Pass:
    """What lets a guarded call pass the seams below.

    Attributes:
        origin: Where it goes.
        over: It was sent: tasks that began meanwhile took the pass along, and may not send calls of their own with it.
    """

    origin: Origin
    over: bool = False


@dataclass(slots=True)
class State:
    """What `install` and `observe` switch.

    Attributes:
        installed: Guards are on.
        note: Told about every call to a language model that goes through a seam; for `--observe`.
        settings: Policy values given in code.
        learnt: Origins that an SDK went to, by the SDK's dialect: later calls there are guarded whoever makes them.
        drivers: One for each (target, whether the SDK's own errors are wanted).
    """

    installed: bool = False
    note: Callable[[Origin, str, str], None] | None = None
    settings: Mapping[str, object] | None = None
    extra: frozenset[Origin] = frozenset()
    observes: bool = False
    learnt: dict[Origin, Dialect] = field(default_factory=dict)
    drivers: dict[tuple[Target, bool], Any] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)


STATE = State()
_ADDRESS_VARIABLES = ("_BASE_URL", "_API_BASE", "_ENDPOINT", "_BASE", "_API_URL")
_passing: ContextVar[Pass | None] = ContextVar("safellm_passing", default=None)


def start(settings: Mapping[str, object] | None) -> None:
    """Switch the guards on.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    STATE.settings = settings
    if _has_settings(settings):
        # Read now, so that a wrong policy is told at once. Without any setting there is nothing to read, and the libraries
        # for it load at the first call.
        from safellm._core.origin import parse_origin  # noqa: PLC0415
        from safellm.stores.settings import load_policy  # noqa: PLC0415

        policy = load_policy(environ=dict(os.environ), overrides=settings).policy
        STATE.extra = frozenset(parse_origin(text) for text in policy.egress.origins)
        STATE.observes = policy.observes
    STATE.installed = True


def stop() -> None:
    """Switch the guards off and forget what was learnt."""
    STATE.installed = False
    STATE.settings, STATE.extra, STATE.observes = None, frozenset(), False
    STATE.learnt.clear()
    STATE.drivers.clear()


def find(  # noqa: PLR0913 - the parts of a request that decide
    scheme: str, host: str, port: int | None, path: str, *, library: str, agent: str = "", sdk: str = ""
) -> Target | None:
    """Return what a request goes to, None when it is no language model's call.

    Args:
        scheme: `http` or `https` (`ws` and `wss` are the same to us).
        host: As the HTTP library will connect to.
        port: None for the scheme's own.
        path: Of the URL.
        library: Through which HTTP library, for reports.
        agent: The request's user agent: an SDK's requests are guarded wherever they go.
        sdk: Name of the dialect, where an SDK marked its request itself.
    """
    origin = origin_of(scheme, host, port)
    if origin is None:
        return None
    found = _find_at(origin, path, agent, sdk)
    if STATE.note is not None and not is_passing(origin) and (found is not None or looks_like_llm(path)):
        STATE.note(origin, path, library)
    return found


def origin_of(scheme: str, host: str, port: int | None) -> Origin | None:
    """Return an origin; None for what is no name that a language model has: the library will complain about it, or not."""
    try:
        return make_origin({"ws": "http", "wss": "https"}.get(scheme, scheme), host.rstrip("."), port)
    except ConfigurationError:
        return None


def _find_at(origin: Origin, path: str, agent: str, sdk: str) -> Target | None:
    known, spoken = find_target(origin, path), sdk or _sdk_of(agent)
    if known is not None:
        return Target(origin=origin, dialect=dialect_named(spoken)) if spoken in known.dialect.sdks else known
    dialect = STATE.learnt.get(origin)
    if dialect is None:
        if spoken:
            dialect = STATE.learnt[origin] = dialect_named(spoken)
        elif origin in STATE.extra:
            dialect = dialect_named("openai")
    return None if dialect is None else Target(origin=origin, dialect=dialect)


def driver_of(target: Target, *, native: bool, library: str) -> Any:
    """Return the driver that guards calls to a target.

    Args:
        target: Where the calls go.
        native: The caller is the SDK: errors in a stream are the SDK's own.
        library: Name of the HTTP library, for records.

    Raises:
        Refused: nothing here can guard it, or a setting is wrong.
    """
    key = (target, native)
    with STATE.lock:
        driver = STATE.drivers.get(key)
        if driver is None:
            driver = STATE.drivers[key] = _make_driver(target, native=native, library=library)
    return driver


def check(target: Target | None, library: str, way_out: str) -> None:
    """Refuse a language model's call that goes through a library without a shell; in observe mode, warn and let it pass.

    Raises:
        Refused: guards are on, and no shell above has guarded the call.
    """
    if target is None or not STATE.installed or is_passing(target.origin):
        return
    error = unguardable(target, library, way_out)
    if STATE.observes:
        _warn("not guarded: %s", error.what)
        return
    record(target, error, library)
    raise error


def unguardable(target: Target, library: str, way_out: str) -> Refused:
    """Return the refusal of a call that nothing can guard."""
    return Refused(
        f"This call to {target.name} ({target.origin}) goes through {library}, which can't be guarded yet",
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy=way_out,
    )


@contextmanager
def passing(origin: Origin) -> Iterator[None]:
    """Let what is sent to an origin inside this block pass the seams below: a shell above has guarded it."""
    held = Pass(origin)
    token = _passing.set(held)
    try:
        yield
    finally:
        held.over = True
        _passing.reset(token)


def is_passing(origin: Origin) -> bool:
    """Return whether a shell above guards what goes to this origin now."""
    return passing_now() == origin


def passing_now() -> Origin | None:
    """Return the origin that a shell above guards now."""
    held = _passing.get()
    return None if held is None or held.over else held.origin


def _sdk_of(agent: str) -> str:
    return next((one.name for one in DIALECTS if one.agent and re.match(one.agent, agent)), "") if agent else ""


def _has_settings(settings: Mapping[str, object] | None) -> bool:
    if settings or any(name.startswith("SAFELLM_") and name != "SAFELLM_HOME" for name in os.environ):
        return True
    from safellm.stores.places import find_places  # noqa: PLC0415

    return (find_places(os.environ).config / "policy.toml").exists()


def _make_driver(target: Target, *, native: bool, library: str) -> Any:
    adapter = load_adapter(target)
    _refuse_address_of_environment(target)
    try:
        from safellm.auto.managed import give_keys  # noqa: PLC0415
        from safellm.client import prepare  # noqa: PLC0415 - the guards load with the first call to a model

        make_native = _load(target.dialect.native) if native and target.dialect.native else None
        setup = prepare(adapter, STATE.settings, sdk=library)
        give_keys(setup, target)
        driver = setup.driver(target.origin, in_code=True, native=make_native or (lambda error, _: error))
        driver.raises = make_native is not None and target.dialect.raises
    except ConfigurationError as error:
        problem, remedy = error.problem, error.remedy
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - a guard that can't be made stops the call (P8)
        problem, remedy = f"The guard could not be made ({type(error).__name__})", "Run `safellm doctor`."
    else:
        return driver
    raise GuardFailure(problem, guard="mediation", reason=Reason.GUARD_ERROR, remedy=remedy)


def _refuse_address_of_environment(target: Target) -> None:
    """Refuse an address that only a variable gave to an SDK: whoever sets variables would choose who reads along.

    Raises:
        Refused: it is one (THREATS E.1).
    """
    origin = target.origin
    if (
        origin.is_loopback
        or origin in STATE.extra
        or find_target(origin, "/") is not None
        or target.profile is not None
    ):
        return
    for name, value in os.environ.items():
        if name.endswith(_ADDRESS_VARIABLES) and _is_at(value, origin):
            raise Refused(
                f"The address {origin} comes from the variable {name}, which may not say where calls go",
                guard="egress",
                reason=Reason.EGRESS_ORIGIN,
                remedy="List it under egress.origins in the policy, or give it as base_url in code.",
            )


def _is_at(address: str, origin: Origin) -> bool:
    from safellm._core.origin import parse_origin  # noqa: PLC0415

    try:
        return parse_origin(address.strip()) == origin
    except ConfigurationError:
        return False


def native_of(target: Target, error: Refused, response: Any) -> Exception:
    """Return a refusal as the SDK's own error."""
    made: Exception = _load(target.dialect.native)(error, response)
    return made


def load_adapter(target: Target) -> Any:
    """Return the adapter of a target.

    Raises:
        Refused: there is none.
    """
    dialect = target.dialect
    try:
        if target.profile is not None:
            return _load("safellm_openai.profiled:adapter_for")(target.profile)
        if dialect.adapter:
            return _load(dialect.adapter)
    except ImportError:
        pass
    raise Refused(
        f"This call goes to {dialect.title} ({target.origin}), which this safellm can't guard",
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy=dialect.remedy,
    )


def sockets_of(target: Target, path: str) -> Any:
    """Return what makes the protocol of a websocket at a target's path, or None where there is no guard for it."""
    place = target.dialect.sockets
    if not place:
        return None
    try:
        find = _load(place)
    except ImportError:
        return None  # its SDK isn't installed: nothing of it can be guarded
    return find(path)


def _warn(text: str, *arguments: object) -> None:
    import logging  # noqa: PLC0415 - said rarely

    logging.getLogger("safellm").warning(text, *arguments)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def record(target: Target, error: Refused, library: str) -> None:
    """Put a refusal into the trail; it stands, whether or not that works."""
    try:
        openai = Target(origin=target.origin, dialect=dialect_named("openai"))
        driver_of(target if target.dialect.adapter else openai, native=False, library=library).deny(error)
    except Exception:  # noqa: BLE001 - the call is refused already
        _warn("refused, and not recorded: %s", error.what)
