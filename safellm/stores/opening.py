"""Files below a folder, opened so that no link leads out of it: checked while it is opened, not before (THREATS A.3).

| | Linux, macOS | Windows |
|---|---|---|
| each folder on the way | opened from the one before, `O_NOFOLLOW` | looked at: no link, no junction |
| the file | `O_NOFOLLOW`, a regular one | the same, and it is the file that the path names after it was opened |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import IO, Any

from safellm._core.tools.arguments import path_problem, under_root

_WAYS = {
    "r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}  # fmt: skip
_ALWAYS = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_under(root: str | os.PathLike[str], path: str, mode: str = "r", *, encoding: str = "utf-8") -> IO[Any]:
    """Open a regular file below a folder; no part of the path below it may be a link.

    Args:
        root: The folder; absolute.
        path: Relative to it, or beginning with it.
        mode: r, w, a or x, with b for bytes.
        encoding: Of text.

    Raises:
        ValueError: the path may lead elsewhere by its text, or the mode is another one.
        OSError: it can't be opened; ELOOP: a part of it is a link. EINVAL: it is no regular file.
    """
    base = os.fspath(root)
    below = under_root(base, path)
    problem = path_problem(below)
    if problem is not None or not Path(base).is_absolute():
        raise ValueError(problem or "the root must be an absolute folder")
    flags = _WAYS.get(mode.replace("b", "").replace("t", ""))
    if flags is None:
        raise ValueError("the mode is one of r, w, a, x, with b for bytes")
    steps = [step for step in below.replace("\\", "/").split("/") if step not in ("", ".")]
    if not steps:
        raise ValueError("the path names no file")
    truncates = bool(flags & os.O_TRUNC)
    flags = (flags & ~os.O_TRUNC) | _ALWAYS  # nothing is emptied before it is known to be the file that is meant
    descriptor = (
        _open_by_steps(base, steps, flags) if os.open in os.supports_dir_fd else _open_checked(base, steps, flags)
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if truncates:
            os.ftruncate(descriptor, 0)
        if hasattr(os, "set_blocking") and sys.platform != "win32":
            os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, mode, encoding=None if "b" in mode else encoding)
    except BaseException:
        os.close(descriptor)
        raise


def _open_by_steps(root: str, steps: list[str], flags: int) -> int:
    folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    folder = os.open(root, folder_flags)
    try:
        for step in steps[:-1]:
            inner = os.open(step, folder_flags | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(steps[-1], flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)


def _open_checked(root: str, steps: list[str], flags: int) -> int:
    place = Path(root)
    for step in steps:
        place = place / step
        if os.path.lexists(place) and (place.is_symlink() or _is_junction(place)):
            raise OSError(errno.ELOOP, "is a link", str(place))
    descriptor = os.open(place, flags, 0o600)
    expected = os.path.join(os.path.realpath(root), *steps)  # noqa: PTH118 - text is compared
    if os.path.normcase(os.path.realpath(place)) != os.path.normcase(expected) or not os.path.samestat(
        os.fstat(descriptor), os.lstat(place)
    ):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "was changed while it was opened", str(place))
    return descriptor


def _is_junction(path: Path) -> bool:
    reparse = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
    return bool(getattr(os.lstat(path), "st_file_attributes", 0) & reparse)
