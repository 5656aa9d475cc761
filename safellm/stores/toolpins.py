"""Definitions of tools as they were when somebody looked at them: digests by the name of a list, in a file of the state folder."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safellm.errors import GuardFailure, Reason
from safellm.stores.durable import locked, open_private, private_folder, read_private, replace

_NAME = "tool-pins.json"
_LOCK = "tool-pins.lock"  # a file of its own: the other is replaced, and a lock stays with what was replaced
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
        descriptor = open_private(state / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            with locked(descriptor):
                return _compare(state / _NAME, name, dict(found), again=again)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise GuardFailure(
            f"The pins of tools can't be used ({type(error).__name__})",
            guard="tools",
            reason=Reason.GUARD_ERROR,
            remedy=f"Look at {_NAME} in the state folder; without it, all lists are pinned anew.",
        ) from None


def _compare(path: Path, name: str, found: dict[str, str], *, again: bool) -> list[str]:
    try:
        text = read_private(path, _MOST_BYTES + 1)
    except FileNotFoundError:
        text = b"{}"
    # An empty file is damage as any other: taken for a new one, it would have every list pinned anew, changed as it may be.
    known = json.loads(text) if len(text) <= _MOST_BYTES else None
    if not isinstance(known, dict) or not all(isinstance(one, dict) for one in known.values()):
        raise ValueError
    before = known.get(name)
    if before is not None and not again:
        return [tool for tool, digest in found.items() if before.get(tool) != digest]
    if before != found:
        known[name] = found
        replace(path, json.dumps(known, indent=1, sort_keys=True).encode())
    return []
