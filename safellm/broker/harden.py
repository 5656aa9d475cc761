"""What a process can do so that others of the same user can't read its memory (THREATS K.6): one small seam.

| | Linux | macOS | Windows |
|---|---|---|---|
| memory, environment | `PR_SET_DUMPABLE 0`: EACCES for the same user | debuggers need the user's consent | not protected |
| core dumps | none (`RLIMIT_CORE`) | none | - |
| new files | umask 077 | umask 077 | the folder's own access list |

Root can read everything everywhere. Source: prctl(2), ptrace(2), proc(5).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import os
import sys

from safellm.errors import ConfigurationError

_PR_SET_DUMPABLE = 4
_PR_GET_DUMPABLE = 3


def harden() -> list[str]:
    """Protect this process as far as the system can, and return what was done.

    Raises:
        ConfigurationError: the system could, and refuses.
    """
    done = []
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        os.umask(0o077)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        done += ["umask", "no-core"]
        _more_files(resource)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise ConfigurationError(
                "The system doesn't let this process hide its memory (PR_SET_DUMPABLE)",
                remedy="Allow prctl in the sandbox that it runs in.",
            )
        done.append("not-dumpable")
    return done


def _more_files(resource: object) -> None:
    """Allow as many open connections as the system lets this user have."""
    limit = resource.RLIMIT_NOFILE  # type: ignore[attr-defined]  # the module is a parameter
    soft, hard = resource.getrlimit(limit)  # type: ignore[attr-defined]
    if soft != hard:
        try:
            resource.setrlimit(limit, (min(hard, 65_536) if hard > 0 else 65_536, hard))  # type: ignore[attr-defined]
        except (ValueError, OSError):
            return  # what it has is enough for hundreds
