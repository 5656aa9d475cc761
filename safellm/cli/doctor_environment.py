"""Variables that move a key or a prompt somewhere else, show it, or weaken the connection (THREATS section 1, T2).

Values are never shown: any of them may hold a key.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from safellm._core.origin import Origin, parse_origin
from safellm.cli.doctor_finding import Finding, Level
from safellm.cli.world import World
from safellm.errors import ConfigurationError, VaultUnavailable

AREA: Final = "Environment"
# Variables with an address, and whose keys may be bound to it; those of an SDK that isn't installed move nothing.
_ADDRESSES: Final = {
    "OPENAI_BASE_URL": "openai",
    "AZURE_OPENAI_ENDPOINT": "openai",
    "ANTHROPIC_BASE_URL": "anthropic",
    "ANTHROPIC_FOUNDRY_BASE_URL": "anthropic",
    "GOOGLE_GEMINI_BASE_URL": "google",
    "GOOGLE_VERTEX_BASE_URL": "google",
}
_PACKAGES: Final = {"openai": "openai", "anthropic": "anthropic", "google": "google-genai"}
_SHORT_LIVED: Final = "AZURE_OPENAI_AD_TOKEN"  # ends within hours: no key to store
_PROXIES: Final = ("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "https_proxy", "all_proxy", "http_proxy")
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_CREDENTIAL_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"}
)
_QUIET_SDK: Final = 3  # from this major version on, the SDK's debug log shows no bodies (SDK changelog 3.0.0)


def environment(environ: Mapping[str, str], world: World | None) -> list[Finding]:
    """Return what is dangerous among the variables; without any, one line that says so.

    Args:
        environ: The process's variables.
        world: What is in force; None when the policy can't be loaded.
    """
    found = [*_addresses(environ, world), *_keys(environ, world), *_connection(environ), *_leaks(environ)]
    if not any(one.level is Level.DANGER for one in found):
        found.insert(
            0, Finding(area=AREA, level=Level.OK, what="no variable redirects calls, shows them or weakens TLS")
        )
    return found


def _danger(what: str, remedy: str) -> Finding:
    return Finding(area=AREA, level=Level.DANGER, what=what, remedy=remedy)


def _fine(what: str) -> Finding:
    return Finding(area=AREA, level=Level.OK, what=what)


def _hint(what: str, remedy: str = "") -> Finding:
    return Finding(area=AREA, level=Level.HINT, what=what, remedy=remedy)


def _addresses(environ: Mapping[str, str], world: World | None) -> Iterator[Finding]:
    for name, provider in _ADDRESSES.items():
        if not environ.get(name) or not _is_installed(provider):
            continue
        try:
            origin = parse_origin(environ[name])
        except ConfigurationError:
            yield _danger(f"{name} is no usable address; clients refuse to start", f"Unset {name}.")
            continue
        if origin.is_loopback:
            yield _fine(f"{name} points to this machine, which is allowed")
        elif origin in _bound(world, provider):
            yield _fine(f"{name} points to {origin}, which is bound")
        else:
            yield _danger(
                f"{name} points to {origin}, which no key is bound to; clients refuse to start",
                f"Unset it; or bind a key (safellm keys bind NAME {origin}), or list it under egress.origins.",
            )


def _is_installed(provider: str) -> bool:
    import importlib.metadata

    try:
        importlib.metadata.version(_PACKAGES[provider])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _bound(world: World | None, provider: str) -> set[Origin]:
    from safellm.auto.targets import own_origins

    known = set(own_origins(provider))
    if world is None:
        return known
    known |= {parse_origin(text) for text in world.policy.egress.origins}
    if world.policy.keys.vault:
        from safellm.stores.vault.open import open_vault

        try:
            key = open_vault(world.policy, environ=world.environ).get(world.policy.keys.name or provider)
        except (VaultUnavailable, ConfigurationError):
            return known  # told under Vault
        known |= set(key.origins) if key is not None else set()
    return known


def _keys(environ: Mapping[str, str], world: World | None) -> Iterator[Finding]:
    from safellm.cli.keys_found import SDK_VARIABLES

    for name in (*SDK_VARIABLES, _SHORT_LIVED):
        if not environ.get(name, "").strip():
            continue
        remedy = (
            "Unset it." if name == _SHORT_LIVED else f"Move it into the vault: safellm keys import --variable {name}"
        )
        refused = world is not None and (world.policy.is_strict or not world.policy.keys.environment)
        if refused:
            yield _danger(f"{name} holds a key, which the policy does not use; every child process gets it", remedy)
        else:
            yield _hint(f"{name} holds a key, which every child process gets", remedy)


def _connection(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name in _PROXIES:
        if environ.get(name):
            yield _danger(
                f"{name} sends calls through a proxy, which learns hosts and sizes, and all of a plain http call",
                "Unset it unless the proxy is yours; set NO_PROXY for the provider's host to keep it for others.",
            )
    for name in _CERTIFICATES:
        if environ.get(name) and _is_of_the_system(environ[name]):
            yield _fine(f"{name} names the system's or this Python's own certificates")
        elif environ.get(name):
            yield _danger(
                f"{name} decides which certificates count: who made that file can read calls and keys",
                f"Unset {name}, or make sure that it is your organisation's own.",
            )
    if environ.get("SSLKEYLOGFILE"):
        yield _danger("SSLKEYLOGFILE writes the keys of every TLS connection to a file", "Unset SSLKEYLOGFILE.")


def _is_of_the_system(path: str) -> bool:
    """Return whether a path is where OpenSSL looks anyway, or inside this Python's folder (as conda sets it)."""
    import ssl
    import sys
    from pathlib import Path

    paths = ssl.get_default_verify_paths()
    usual = {Path(one).resolve() for one in (paths.openssl_cafile, paths.openssl_capath) if one}
    usual |= {one / "ca-certificates.crt" for one in usual}  # Debian's bundle of the same folder
    found = Path(path).resolve()
    return found in usual or found.is_relative_to(Path(sys.prefix).resolve())


def _leaks(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, text in environ.items():
        if not name.endswith("_CUSTOM_HEADERS") or not text:
            continue
        names = {line.partition(":")[0].strip().lower() for line in text.splitlines()}
        if names & _CREDENTIAL_HEADERS:
            yield _danger(f"{name} sets a credential header; clients refuse to start", f"Unset {name}.")
        elif name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
            yield _danger(f"{name} adds headers to every call, which are not searched for secrets", f"Unset {name}.")
    if environ.get("OPENAI_LOG", "").lower() in ("debug", "info"):
        yield _log_level(environ["OPENAI_LOG"].lower())
    if environ.get("PYTHON_KEYRING_BACKEND"):
        yield _danger(
            "PYTHON_KEYRING_BACKEND chooses a key store for other programs, perhaps one in plain text; safellm ignores it",
            "Unset PYTHON_KEYRING_BACKEND.",
        )


def _log_level(level: str) -> Finding:
    import importlib.metadata

    try:
        major = int(importlib.metadata.version("openai").partition(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        major = 0
    if major >= _QUIET_SDK or level == "info":
        return _hint(
            f"OPENAI_LOG={level} logs methods, paths and request ids; this SDK logs no bodies or keys at that level"
        )
    return _danger("OPENAI_LOG=debug logs whole prompts, before anything is hidden in them", "Unset OPENAI_LOG.")
