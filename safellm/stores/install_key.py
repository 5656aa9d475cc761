"""The key of this installation: placeholders and content digests are made with it, so both survive a restart.

It protects no provider key. Who has it can check a guess of a hidden value against a placeholder or a digest, so it is kept
like a private file all the same.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

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
    from safellm.stores.durable import private_key  # noqa: PLC0415 - platform calls only when a client is made

    path = state / _NAME
    try:
        return private_key(path, _SIZE)
    except ValueError as error:
        raise _unusable(str(error), path) from None
    except OSError as error:
        raise _unusable(error.strerror or type(error).__name__, state) from None


def _unusable(why: str, path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"The installation key in the state folder can't be used: {why}",
        remedy="Make the folder writable for you alone (chmod 700), or set SAFELLM_HOME to one that is.",
        where=str(path),
    )
