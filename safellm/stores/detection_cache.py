"""Keeps the compiled detection rules in the user's cache folder, so that a program's first call is quick.

The file is `SHA-256 of the image, image`. It is used only if this user (or root) owns it, nobody else may write to it, and its
checksum fits; anything else counts as "not there". The cache only saves time: without it the same scanner is compiled, in about a
quarter of a second.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from safellm._core.detection.image import image_key, make_image, read_image
from safellm._core.detection.scanner import RuleScanner
from safellm.errors import GuardFailure
from safellm.stores.durable import open_private, private_folder, read_range, replace

_DIGEST = 32  # bytes
_LARGEST = 64 << 20  # bytes; an image has about one million
_PREFIX = "detection-"


@lru_cache(maxsize=4)
def cached_scanner(folder: Path) -> RuleScanner:
    """Return the scanner over the package's rules, from the cache if it is there; one per process.

    Args:
        folder: The cache folder; it is made if the image has to be written.

    Raises:
        GuardFailure: The engine rejects the rules, or does not find the planted value.
    """
    path = folder / f"{_PREFIX}{_machine()}-{image_key()[:32]}.bin"
    image = _read(path)
    if image is not None:
        try:
            return read_image(image)
        except (ValueError, TypeError, GuardFailure):
            pass  # of another engine after all: compiled anew below, and whatever is wrong with the engine shows there
    scanner, made = make_image()
    _write(path, made)
    return scanner


def _machine() -> str:
    """Return the name of this machine's kind; one home folder may serve several."""
    if hasattr(os, "uname"):
        return os.uname().machine
    import platform  # noqa: PLC0415 - takes a millisecond to load

    return platform.machine() or "any"


def _read(path: Path) -> memoryview | None:
    try:
        descriptor = open_private(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if found.st_size > _LARGEST or not _is_ours(found):
            return None
        data = memoryview(read_range(descriptor, 0, found.st_size))  # two megabytes aren't copied for each part
    except OSError:
        return None
    finally:
        os.close(descriptor)
    digest, image = data[:_DIGEST], data[_DIGEST:]
    return image if hmac.compare_digest(hashlib.sha256(image).digest(), digest) else None


def _is_ours(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return True  # the user's own folder is private there
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _write(path: Path, image: bytes) -> None:
    """Write the file at once or not at all; a full disk or a folder that can't be written only costs time."""
    with suppress(OSError):
        private_folder(path.parent)
        replace(path, hashlib.sha256(image).digest() + image, sync=False)  # a short one is noticed by its digest
        for old in path.parent.glob(f"{_PREFIX}*.bin"):  # of earlier versions
            if old != path:
                old.unlink(missing_ok=True)
