"""The key pair of content: the public half stands in the policy, the private half is kept where calls aren't made."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safellm.errors import ConfigurationError
from safellm.stores import durable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

PUBLIC: Final = "safellm-content-public:"
_PRIVATE: Final = "safellm-content-private:"
_BYTES: Final = 32
_MOST: Final = 1024


def make_pair(path: Path) -> str:
    """Write a new private key to a file that isn't there yet; return the public key as a text.

    Raises:
        ConfigurationError: the file is there, or can't be written.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - late

    private = X25519PrivateKey.generate()
    try:
        if not durable.create(path, f"{_PRIVATE}{_text(private.private_bytes_raw())}\n".encode()):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    except OSError as error:
        raise ConfigurationError(
            f"The private key can't be written: {error.strerror}",
            remedy="Give a new file: --out FILE.",
            where=str(path),
        ) from None
    return public_of(private)


def public_of(private: X25519PrivateKey) -> str:
    """Return the public half of a key as a text."""
    return PUBLIC + _text(private.public_key().public_bytes_raw())


def parse_public(text: str) -> bytes:
    """Return the bytes of a public key.

    Raises:
        ConfigurationError: it is none.
    """
    found = _bytes(text, PUBLIC)
    if found is None:
        what = "This is a private key: it belongs on another machine" if text.startswith(_PRIVATE) else None
        raise ConfigurationError(
            what or "This is no public key for content",
            remedy="Give the line that `safellm audit content-key` printed.",
        )
    return found


def read_private(path: Path) -> X25519PrivateKey:
    """Return the private key in a file.

    Raises:
        ConfigurationError: it can't be read, or holds none.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - late

    try:
        with path.open("rb") as stream:
            found = _bytes(stream.read(_MOST).decode("utf-8", "replace").strip(), _PRIVATE)
    except OSError as error:
        raise ConfigurationError(
            f"The private key can't be read: {error.strerror}", remedy="Give its file: --key FILE.", where=str(path)
        ) from None
    if found is None:
        raise ConfigurationError(
            "This file holds no private key for content",
            remedy="Give the file that `safellm audit content-key` wrote.",
            where=str(path),
        )
    return X25519PrivateKey.from_private_bytes(found)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str, prefix: str) -> bytes | None:
    if not text.startswith(prefix):
        return None
    try:
        found = base64.b64decode(text.removeprefix(prefix) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == _BYTES else None
