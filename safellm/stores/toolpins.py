"""Definitions of tools as they were when somebody looked at them: digests by the name of a list, in a file of the state folder."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safellm.errors import GuardFailure, Reason
from safellm.stores.durable import locked, open_private, private_folder, read_range, write_all

_NAME = "tool-pins.json"
_MOST_BYTES = 1 << 24


def pinned(state: Path, name: str, found: Mapping[str, str], *, again: bool) -> list[str]:
    """Compare a list of tools with what is pinned under its name; pin it where nothing is, or when it is to be pinned again.

    Args:
        state: The user's state folder.
        name: Of the list.
        found: Digest of each tool's definition, by its name.
        again: What is found now counts from now on.

    Returns:
        Names of tools that were changed, or are new, since; empty when all is as it was.

    Raises:
        GuardFailure: the file can't be read or written.
    """
    try:
        private_folder(state)
        descriptor = open_private(state / _NAME, os.O_RDWR | os.O_CREAT)
        try:
            with locked(descriptor):
                return _compare(descriptor, name, dict(found), again=again)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise GuardFailure(
            f"The pins of tools can't be used ({type(error).__name__})",
            guard="tools",
            reason=Reason.GUARD_ERROR,
            remedy=f"Look at {_NAME} in the state folder; without it, all lists are pinned anew.",
        ) from None


def _compare(descriptor: int, name: str, found: dict[str, str], *, again: bool) -> list[str]:
    size = os.fstat(descriptor).st_size
    if size > _MOST_BYTES:
        raise ValueError
    known = json.loads(read_range(descriptor, 0, size)) if size else {}
    if not isinstance(known, dict) or not all(isinstance(one, dict) for one in known.values()):
        raise ValueError
    before = known.get(name)
    if before is not None and not again:
        return [tool for tool, digest in found.items() if before.get(tool) != digest]
    if before != found:
        known[name] = found
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.ftruncate(descriptor, 0)
        write_all(descriptor, json.dumps(known, indent=1, sort_keys=True).encode())
        os.fsync(descriptor)
    return []
