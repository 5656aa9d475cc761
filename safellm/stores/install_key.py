"""The key of this installation: placeholders and content digests are made with it, so both survive a restart.

It protects no provider key. Who has it can check a guess of a hidden value against a placeholder or a digest, so it is kept
like a private file all the same.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
from pathlib import Path

from safellm.errors import ConfigurationError

_SIZE = 32
_NAME = "install.key"


def install_key(state: Path) -> bytes:
    """Return the key, made on first use.

    Args:
        state: The user's state folder.

    Raises:
        ConfigurationError: the folder can't be written, or the file is not a key.
    """
    from safellm.stores.durable import private_folder  # noqa: PLC0415 - platform calls only when a client is made

    path = state / _NAME
    try:
        key = _read(path)
        if key is None:
            private_folder(state)
            _create(path)
            key = _read(path)
    except OSError as error:
        raise _unusable(error.strerror or type(error).__name__) from None
    if key is None or len(key) != _SIZE:
        raise _unusable("it is damaged")
    return key


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _create(path: Path) -> None:
    # Written aside and linked into place: two processes that start together agree on one key, and none reads half of it.
    aside = path.with_name(f"{_NAME}.{os.getpid()}-{threading.get_ident()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, os.urandom(_SIZE))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The installation key in the state folder can't be used: {why}",
        remedy="Make the folder writable, or set SAFELLM_HOME to one that is.",
    )
