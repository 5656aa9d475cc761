"""TLS settings of our own: which authorities count, nothing written to a key log, TLS 1.2 at least (THREATS E.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import ssl
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safellm._core.policy import Policy
from safellm.errors import ConfigurationError

# Where Linux distributions keep their authorities, for Pythons that were built to look elsewhere.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, the BSDs
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Which authorities count for connections that safellm opens itself.

    Attributes:
        bundle: The file whose certificates count, and no others.
        system: Those of the operating system, whatever the environment says.
    """

    bundle: str | None = None
    system: bool = False


def authorities_of(policy: Policy) -> Authorities:
    """Return what a policy trusts: for a webhook and a bucket as for a provider."""
    return Authorities(bundle=policy.egress.ca_bundle, system=policy.is_strict)


def own_context(trust: Authorities) -> Any:
    """Return the TLS context of a connection that safellm opens itself.

    Raises:
        ConfigurationError: the file of the policy can't be used, or there are no authorities.
    """
    return _chosen(trust, http2=False) or default_context()


def default_context() -> ssl.SSLContext:
    """Return a context with the authorities that Python uses here; SSL_CERT_FILE counts, SSLKEYLOGFILE does not."""
    context = _empty()
    context.load_default_certs()
    return context


def context_for(policy: Policy, given: Any, *, http2: bool) -> Any:
    """Return the TLS context for a connection pool.

    Args:
        policy: Says which authorities count.
        given: The context that the pool has: made by the HTTP library, which looks into the environment.
        http2: Whether the pool offers HTTP/2; a context is told which protocols to offer, so the two kinds share none.

    Raises:
        ConfigurationError: the file of the policy can't be used, or there are no authorities.
    """
    return _chosen(authorities_of(policy), http2=http2) or _hardened(given)


def is_verified(context: Any) -> bool:
    """Return whether a context checks certificates and names."""
    return context is not None and context.verify_mode == ssl.CERT_REQUIRED and bool(context.check_hostname)


def _chosen(trust: Authorities, *, http2: bool) -> Any:
    if trust.bundle is not None:
        return _pinned(trust.bundle, _version(trust.bundle), http2)
    return _of_the_system(http2) if trust.system else None


def _hardened(context: Any) -> Any:
    if context is None:
        return None  # a pool that never speaks TLS
    if getattr(context, "keylog_filename", None) is not None:
        context.keylog_filename = None
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


@lru_cache(maxsize=8)
def _pinned(bundle: str, version: tuple[int, int], http2: bool) -> ssl.SSLContext:  # noqa: ARG001 - parts of the key
    context = _empty()
    try:
        context.load_verify_locations(cafile=bundle)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            f"The file {bundle} has no certificates that can be read",
            remedy="Set egress.ca_bundle to a file with certificates in PEM form.",
            where="egress.ca_bundle",
        ) from None
    return context


@lru_cache(maxsize=2)
def _of_the_system(http2: bool) -> Any:  # noqa: ARG001 - part of the key
    """Return a context with the authorities of the operating system, whatever the environment says."""
    if sys.platform in ("win32", "darwin"):
        import truststore  # noqa: PLC0415 - asks the system's own store, which OpenSSL can't read

        return _hardened(truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context = _empty()
    paths = ssl.get_default_verify_paths()  # `openssl_*` are those that were built in; the others heed SSL_CERT_*
    files = [one for one in (paths.openssl_cafile, *_BUNDLES) if Path(one).is_file()]
    folder = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if not files and folder is None:
        raise ConfigurationError(
            "This system has no certificate authorities",
            remedy="Install its package (ca-certificates), or set egress.ca_bundle.",
        )
    context.load_verify_locations(cafile=files[0] if files else None, capath=folder)
    return context


def _empty() -> ssl.SSLContext:
    # Not `create_default_context`: it opens the file of SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _version(path: str) -> tuple[int, int]:
    """Return what changes when a file does, so that a new bundle counts for new clients."""
    try:
        found = os.stat(path)  # noqa: PTH116 - one call, no object
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
