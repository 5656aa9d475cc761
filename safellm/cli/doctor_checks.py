"""The checks of `safellm doctor`. Each opens the real thing and says what it found; none stops the others."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safellm._core.policy import Action, Mode, Policy
from safellm._core.textrules import TYPES
from safellm.cli.doctor_checkpoints import checkpoint_findings
from safellm.cli.doctor_environment import environment
from safellm.cli.doctor_finding import Finding, Level
from safellm.cli.show import amount
from safellm.cli.world import World, look
from safellm.errors import ConfigurationError, SafeLLMError, VaultUnavailable

if TYPE_CHECKING:
    from safellm.stores.vault.interface import Vault

# Of each SDK the first version that is held and the first that isn't, as in the package's requirements.
SDKS: Final = {
    "openai": ((2, 0), (4,)),
    "anthropic": ((0, 121), (3,)),
    "google-genai": ((1, 50), (4,)),
    "google-generativeai": ((0, 8, 6), (0, 9)),
}
_FULL: Final = 64 * 1024 * 1024  # bytes; a trail file is at most this large
_LOW: Final = 1024 * 1024 * 1024
_STALE_DAYS: Final = 180  # a price list older than this lacks newer models


def examine() -> list[Finding]:
    """Return everything that was found, area by area."""
    found = list(_caught("Versions", _versions))
    found += _caught("Detection", _detection)
    try:
        world = look()
    except ConfigurationError as error:
        found.append(_broken("Policy", error))
        found += environment(dict(os.environ), None)
        return found
    for area, check in (("Policy", _policy), ("Vault", _vault), ("Ledger", _ledger), ("Audit trail", _trail)):
        found += _caught(area, lambda check=check: check(world))  # type: ignore[misc]  # bound at once
    found += _caught("Disk", lambda: _disk(world))
    found += environment(dict(world.environ), world)
    return found


def _caught(area: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; what it raises becomes one."""
    try:
        yield from check()
    except SafeLLMError as error:
        yield _broken(area, error)
    except Exception as error:  # noqa: BLE001 - the report goes on; this is a finding, not a call
        yield Finding(area=area, level=Level.BROKEN, what=f"The check itself broke ({type(error).__name__}).")


def _broken(area: str, error: SafeLLMError) -> Finding:
    if isinstance(error, ConfigurationError):
        place = f" ({error.where})" if error.where else ""
        return Finding(area=area, level=Level.BROKEN, what=f"{error.problem}{place}", remedy=error.remedy)
    return Finding(area=area, level=Level.BROKEN, what=str(error))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    area = "Versions"
    own = _version("safellm") or "?"
    yield Finding(
        area=area, level=Level.OK, what=f"safellm {own}, Python {platform.python_version()}, {platform.system()}"
    )
    for name in SDKS:
        version = _version(name)
        if version is not None:
            yield _sdk(name, version)
        elif name == "openai":
            yield Finding(
                area=area, level=Level.BROKEN, what=f"{name} is not installed", remedy=f"Run: pip install {name}"
            )
    families = [f"{name} {version}" for name in ("httpx2", "httpx") if (version := _version(name))]
    yield Finding(area=area, level=Level.OK, what=f"HTTP: {', '.join(families) or 'none'}")
    if importlib.util.find_spec("aiohttp") is not None:
        yield Finding(
            area=area,
            level=Level.OK,
            what="aiohttp is installed: it is guarded as openai.DefaultAioHttpClient, and under `safellm run`",
        )
    prices = _version("genai-prices")
    yield Finding(area=area, level=Level.OK, what=f"price list: genai-prices {prices}")


def _sdk(name: str, version: str) -> Finding:
    first, below = SDKS[name]
    wanted = f">={'.'.join(map(str, first))},<{'.'.join(map(str, below))}"
    if first <= tuple(map(int, re.findall(r"\d+", version)[:3])) < below:
        return Finding(area="Versions", level=Level.OK, what=f"{name} {version} (supported: {wanted})")
    return Finding(
        area="Versions",
        level=Level.BROKEN,
        what=f"{name} {version} is outside the supported range, {wanted}",
        remedy=f'Run: pip install "{name}{wanted}"',
    )


def _detection() -> Iterator[Finding]:
    from safellm.stores.detection_cache import cached_scanner
    from safellm.stores.places import find_places

    began = time.perf_counter_ns()
    scanner = cached_scanner(find_places(os.environ).cache)  # proves itself with a planted value
    sample = "Write to " + "jane.roe" + "@" + "example.com"
    kinds = [one.type for one in scanner.scan(sample)]
    took = (time.perf_counter_ns() - began) // 1_000_000
    if kinds != ["EMAIL"]:
        yield Finding(
            area="Detection", level=Level.BROKEN, what="the engine does not find a mail address in a plain text"
        )
        return
    rules = len(getattr(scanner, "rules", ()))
    yield Finding(
        area="Detection", level=Level.OK, what=f"{rules} rules; finds its planted value ({took} ms to load and search)"
    )


def _types(policy: Policy) -> Iterator[Finding]:
    """Say which types are let through, or can be found only by a program that registers values."""
    own = {rule.kind for rule in policy.rules}
    unknown = [name for name in policy.redaction.types if name not in TYPES | own]
    if unknown and not policy.plugins:  # a plug-in's types are its own
        what = f"redaction.types names {', '.join(unknown)}: only values that a program registers can have that type"
        yield Finding(area="Policy", level=Level.HINT, what=what, remedy="Check its spelling unless yours does.")
    if policy.redaction.enabled and policy.redaction.default is Action.ALLOW:
        hidden = [name for name, action in policy.redaction.types.items() if action is not Action.ALLOW]
        what = f"redaction.default is allow: nothing but {', '.join(hidden) or 'what programs register'} is hidden"
        yield Finding(area="Policy", level=Level.HINT, what=what)


def _policy(world: World) -> Iterator[Finding]:
    area, policy, loaded = "Policy", world.policy, world.loaded
    where = str(loaded.file) if loaded.file else "no file, defaults"
    if policy.mode is Mode.OBSERVE:
        yield Finding(
            area=area,
            level=Level.DANGER,
            what=f"mode observe ({where}): findings are recorded, nothing is hidden or refused",
            remedy="Set SAFELLM_MODE=guard once you have seen what it finds.",
        )
    else:
        yield Finding(
            area=area, level=Level.OK, what=f"mode {policy.mode.value} ({where}), digest {policy.digest()[:12]}"
        )
    for warning in loaded.warnings:
        yield Finding(area=area, level=Level.DANGER, what=warning)
    relaxed = {
        "redaction.enabled": not policy.redaction.enabled,
        "audit.mode": policy.audit.mode == "off",
        "egress.allow_http": policy.egress.allow_http,
    }
    for name, is_loose in relaxed.items():
        if is_loose:
            what = f"{name} is loosened by {loaded.sources[name]}"
            yield Finding(area=area, level=Level.DANGER, what=what, remedy="Take that setting out unless you need it.")
    yield from _types(policy)
    if not policy.is_strict:
        yield Finding(
            area=area,
            level=Level.HINT,
            what="guard mode allows keys from variables and from code, addresses from code, and your own http_client",
            remedy="SAFELLM_MODE=strict allows keys of the vault and bound addresses only.",
        )
    limits = policy.budget_limits()
    if limits:
        named = ", ".join(f"{amount(one.limit, one.unit.value)} per {one.window.value}" for one in limits)
        yield Finding(area=area, level=Level.OK, what=f"budget: {named}")
    else:
        yield Finding(
            area=area, level=Level.HINT, what="no budget is set", remedy="For example: SAFELLM_BUDGET_USD=5/day"
        )


def _vault(world: World) -> Iterator[Finding]:
    from safellm.stores.vault.open import open_vault

    area = "Vault"
    if not world.policy.keys.vault:
        yield Finding(area=area, level=Level.HINT, what=f"switched off by {world.loaded.sources['keys.vault']}")
        return
    try:
        vault = open_vault(world.policy, environ=world.environ)
        names = vault.names()
    except VaultUnavailable as error:
        # Without a vault guard mode lives on the variable; strict mode can't.
        level = Level.BROKEN if world.policy.is_strict else Level.HINT
        yield Finding(area=area, level=level, what=error.problem, remedy=error.remedy)
        return
    yield Finding(area=area, level=Level.OK, what=f"{vault.label}: {len(names)} key{'' if len(names) == 1 else 's'}")
    for name in names:
        yield from _old_key(area, vault, name, world.policy.keys.rotate_days)


def _old_key(area: str, vault: Vault, name: str, days: int) -> Iterator[Finding]:
    try:
        key = vault.get(name)
    except ConfigurationError as error:
        yield Finding(area=area, level=Level.BROKEN, what=error.problem, remedy=error.remedy)
        return
    if key is None:
        return
    end_ns = key.rotate_by_ns if key.rotate_by_ns is not None else key.created_ns + days * 86_400 * 10**9
    if time.time_ns() > end_ns:
        what = f"the key {name!r} is older than it should get"
        yield Finding(
            area=area, level=Level.HINT, what=what, remedy=f"Make a new one, then: safellm keys rotate {name}"
        )


def _ledger(world: World) -> Iterator[Finding]:
    area = "Ledger"
    ledger = world.open_ledger()
    try:
        balances = ledger.balances(world.policy.budget_limits(), now_ns=time.time_ns())
        days = {one.day for one in ledger.usage()}
    finally:
        ledger.close()
    yield Finding(
        area=area,
        level=Level.OK,
        what=f"{world.ledger_name}: opened, usage of {len(days)} day{'' if len(days) == 1 else 's'}",
    )
    for one in balances:
        if one.used + one.held >= one.limit.limit:
            what = f"the limit {amount(one.limit.limit, one.limit.unit.value)} per {one.limit.window.value} is used up"
            yield Finding(area=area, level=Level.HINT, what=what, remedy="See: safellm budget")


def _trail(world: World) -> Iterator[Finding]:
    from safellm.stores.journal.files import find, verify_directory

    area, folder = "Audit trail", world.trail
    if world.policy.audit.mode == "off":
        return
    try:
        files = find(folder)
    except OSError as error:
        yield Finding(area=area, level=Level.BROKEN, what=f"{folder} can't be read: {error.strerror}")
        return
    home = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding(
            area=area,
            level=Level.BROKEN,
            what=f"{home} can't be written, so every call will be refused",
            remedy="Make it writable for you, or set audit.directory.",
        )
        return
    if not files:
        yield Finding(area=area, level=Level.OK, what=f"{folder}: no records yet, can be written")
        return
    checked = verify_directory(folder)
    if not checked.ok:
        first = checked.problems[0]
        yield Finding(
            area=area,
            level=Level.BROKEN,
            what=f"{folder}: {checked.problem_count} problem(s), first at {first.file}:{first.line}: {first.what}",
            remedy="See: safellm audit verify",
        )
        return
    yield Finding(area=area, level=Level.OK, what=f"{folder}: verified {checked.records} records, chain intact")
    if world.policy.audit_sync == "none":
        what = "audit.sync is none: a loss of power can lose the records of half a minute"
        yield Finding(area=area, level=Level.HINT, what=what)
    yield from checkpoint_findings(area, world, str(checked.chain_uid))


def _disk(world: World) -> Iterator[Finding]:
    area = "Disk"
    home = next(one for one in (world.state, *world.state.parents) if one.exists())
    free = shutil.disk_usage(home).free
    text = f"{free // (1024 * 1024):,} MiB free at {home}"
    if free < _FULL:
        remedy = "Free some: a full disk means that no call can be recorded, and then none is sent."
        yield Finding(area=area, level=Level.BROKEN, what=text, remedy=remedy)
    else:
        yield Finding(area=area, level=Level.HINT if free < _LOW else Level.OK, what=text)
    yield from _private(area, world.state)


def _private(area: str, folder: Path) -> Iterator[Finding]:
    if os.name != "posix" or not folder.exists():
        return
    status = folder.stat()
    if status.st_uid != os.getuid() and os.getuid() != 0:
        yield Finding(area=area, level=Level.DANGER, what=f"{folder} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            area=area, level=Level.DANGER, what=f"{folder} can be written by others", remedy=f"Run: chmod 700 {folder}"
        )
