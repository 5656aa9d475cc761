"""One key as text: how every store writes it, with what it is bound to, and what a name and a secret may look like."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from typing import Final

from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError
from safellm.stores.vault.interface import StoredKey

_VERSION: Final = 1
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SECRET_CHARACTERS: Final = 8192  # more than any provider's key; a wrong file pasted as a key stops here


def check_name(name: str) -> str:
    """Return `name` if a key can be called so.

    Raises:
        ConfigurationError: it isn't 1-64 letters, digits, dots, dashes, underscores, beginning with a letter or digit.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            "A key can't have this name",
            remedy="Use 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
        )
    return name


def check_secret(secret: Secret, *, where: str | None = None) -> Secret:
    """Return `secret` if it can stand in a header: printable ASCII without blanks (RFC 9110 5.5).

    Raises:
        ConfigurationError: it is empty, too long, or has other characters. The message shows none of it.
    """
    if _fits_header(secret.reveal()):  # no local holds the text: a traceback may show locals (THREATS K.4)
        return secret
    raise ConfigurationError(
        "This is not a key: keys are printable ASCII without blanks or line ends",
        remedy="Copy it again from the provider's page.",
        where=where,
    )


def check_key(key: StoredKey) -> None:
    """Check a key before it is stored.

    Raises:
        ConfigurationError: the name or the secret is malformed, or the key is bound to no origin.
    """
    check_name(key.name)
    check_secret(key.secret)
    if not key.origins:
        raise ConfigurationError(f"The key {key.name!r} is bound to no origin", remedy="Give at least one origin.")


def encode_key(key: StoredKey) -> str:
    """Return the text of a key: one JSON object with the secret and what it is bound to, so that none is changed alone."""
    entry: dict[str, object] = {
        "v": _VERSION,
        "name": key.name,
        "provider": key.provider,
        "origins": [str(origin) for origin in key.origins],
        "created_ns": key.created_ns,
        "secret": key.secret.reveal(),
    }
    if key.rotate_by_ns is not None:
        entry["rotate_by_ns"] = key.rotate_by_ns
    return json.dumps(entry, separators=(",", ":"))  # Windows holds 1,280 characters per entry


def decode_key(text: object) -> StoredKey | None:
    """Return the key of an entry, or None: the caller raises, so that no traceback holds the text."""
    try:
        entry = json.loads(text if isinstance(text, str) else "")
        if entry["v"] != _VERSION:
            return None
        origins = tuple(parse_origin(origin) for origin in entry["origins"])
        name, provider, created, secret = entry["name"], entry["provider"], entry["created_ns"], entry["secret"]
        rotate_by = entry.get("rotate_by_ns")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigurationError):
        return None
    if not all(isinstance(part, str) and part for part in (name, provider, secret)):
        return None
    if not origins or type(created) is not int or not (rotate_by is None or type(rotate_by) is int):
        return None
    return StoredKey(
        name=name,
        provider=provider,
        origins=origins,
        created_ns=created,
        rotate_by_ns=rotate_by,
        secret=Secret(secret),
    )


def decode_named(text: object, name: str) -> StoredKey | None:
    """Return the key of the entry that stands under a name, or None: also if the entry is another key's and was moved there."""
    key = decode_key(text)
    return None if key is None or key.name != name else key


def _fits_header(text: str) -> bool:
    return bool(text) and len(text) <= _SECRET_CHARACTERS and all("!" <= c <= "~" for c in text)
