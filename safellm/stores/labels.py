"""What a program says of its calls: `with safellm.labels(team="search", user="u-17"):`.

Labels decide which limits count and whose account is charged. They hold in this task or thread and in tasks that it starts. A
thread that is started inside has them when it gets the context: `asyncio.to_thread` does, a pool with `copy_context().run`.
A call without a label that a limit counts by is counted on the account of those without one.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

from safellm._core.limits import KNOWN

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LONGEST: Final = 1024
_EMPTY: Final[Mapping[str, str]] = {}

_current: ContextVar[Mapping[str, str]] = ContextVar("safellm_labels", default=_EMPTY)


@contextmanager
def labels(**named: str | int) -> Iterator[None]:
    """Label the calls made inside; labels of an outer block stay, unless they are given again.

    Args:
        named: Names in small letters, and their values.

    Raises:
        ValueError: a name is none, or is known of every call (`model`, `provider`, `operation`, `key`, `process`, `grant`).
    """
    for name, value in named.items():
        if not _NAME.fullmatch(name) or name in KNOWN:
            msg = f"{name!r} can't be a label: it is known of every call" if name in KNOWN else f"{name!r} is no label"
            raise ValueError(msg)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or len(str(value)) > _LONGEST:
            msg = f"the label {name!r} needs a text of at most {_LONGEST} characters"
            raise ValueError(msg)
    token = _current.set({**_current.get(), **{name: str(value) for name, value in named.items()}})
    try:
        yield
    finally:
        _current.reset(token)


def current_labels(policy: Mapping[str, str], *, uid: int | None = None) -> dict[str, str]:
    """Return the labels of a call that begins now: the system's, the policy's and the program's.

    Args:
        policy: Those that the policy sets.
        uid: Of the user who asks, where that isn't this process's.
    """
    return {"user": system_user(uid), **policy, **_current.get(), "process": str(os.getpid())}


@lru_cache(maxsize=64)
def system_user(uid: int | None = None) -> str:
    """Return the name of a user of this system, by default of the one whose process this is."""
    if uid is not None and uid != getattr(os, "getuid", lambda: uid)():
        try:
            import pwd  # noqa: PLC0415 - POSIX, and only where others ask

            return pwd.getpwuid(uid).pw_name
        except (ImportError, KeyError):
            return str(uid)
    import getpass  # noqa: PLC0415 - at the first call

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in some containers
        return str(os.getuid()) if hasattr(os, "getuid") else ""
