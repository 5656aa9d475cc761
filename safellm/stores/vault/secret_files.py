"""Keys that a container or a service manager hands over as files, read-only.

| where | from | asked for |
|---|---|---|
| `$CREDENTIALS_DIRECTORY` | systemd (`LoadCredential=`, `SetCredentialEncrypted=`) | the key's name, or the variable's name |
| `/run/secrets` | Docker, Podman, Kubernetes | the same |
| `$OPENAI_API_KEY_FILE` | many images' convention; an absolute path; not in strict mode | that file |

A file that other users may read is refused, and so is one that a link leads out of its folder: it is no secret.
Source: systemd.exec(5), "Credentials"; Docker, "Manage sensitive data with Docker secrets".
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from safellm._core.secret import Secret
from safellm.errors import ConfigurationError
from safellm.stores import durable

CONTAINER_FOLDER: Final = Path("/run/secrets")
_LARGEST: Final = 64 * 1024


def find_secret_file(
    names: tuple[str, ...], *, variable: str | None, environ: Mapping[str, str], container: Path = CONTAINER_FOLDER
) -> Path | None:
    """Return the file that holds a key, or None.

    Args:
        names: What it may be called, the most wanted first.
        variable: The variable that may name a file (`OPENAI_API_KEY_FILE`); None: none may.
        environ: The process's variables.
        container: The folder of container secrets.

    Raises:
        ConfigurationError: the variable names a relative path or a file that isn't there.
    """
    named = environ.get(variable, "").strip() if variable else ""
    if named:
        path = Path(named)
        if not path.is_absolute() or not path.exists():
            raise ConfigurationError(
                f"{variable} names no file by its absolute path",
                remedy="Mend or remove it.",
                where=f"variable {variable}",
            )
        return path
    return next((path for path in _candidates(names, environ, container) if path.exists()), None)


def read_secret_file(path: Path) -> Secret:
    """Return the text of a secret file without blanks and line ends around it.

    Raises:
        ConfigurationError: it can't be read, is too large, others may read it, or a link leads out of its folder.
    """
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(path.parent.resolve(strict=True)):  # Kubernetes links within the folder
            raise _bad(path, "is a link that leads elsewhere", "Give the file itself.")
        descriptor = durable.open_private(target, os.O_RDONLY)
        try:
            found = os.fstat(descriptor)
            if sys.platform != "win32":
                if found.st_uid not in {os.geteuid(), 0}:
                    raise _bad(path, "belongs to another user", "Have it belong to the user of this process.")
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise _bad(path, "can be read by other users", "Give it the mode 0400.")
            if found.st_size > _LARGEST:
                raise _bad(path, "is too large for a key", "Give the file that holds the key.")
            return Secret(durable.read_range(descriptor, 0, found.st_size).decode("utf-8").strip())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _bad(path, f"can't be read ({error.strerror})", "Mend its permissions.") from None
    except UnicodeDecodeError:
        raise _bad(path, "is not text", "Give the file that holds the key.") from None


def _candidates(names: tuple[str, ...], environ: Mapping[str, str], container: Path) -> Iterator[Path]:
    systemd = environ.get("CREDENTIALS_DIRECTORY", "")
    folders = (*((Path(systemd),) if systemd and Path(systemd).is_absolute() else ()), container)
    for folder in folders:
        for name in names:
            yield folder / name


def _bad(path: Path, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"The secret file {problem}", remedy=remedy, where=str(path))
